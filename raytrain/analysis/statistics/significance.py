"""Statistics of comparing trained models: intervals, tests and ranks.

Plain functions on numbers. Accuracies are fractions in [0, 1]. `scipy.stats` is not imported: it takes four times as
long as `scipy.special`, which has the distribution functions, and every command that shows a table would wait for it.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raytrain.analysis.statistics.p_values import LEAST

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
COIN = 1 / 4
"""Variance of being right on an image where a coin decides: the largest that there is."""
AT_ONCE = 65_536
"""Images of which `mcnemar_of_all` counts at a time: those of 200 classifiers take 100 MB."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def wilson(correct: int, total: int) -> Interval:
    """Return Wilson's interval of an accuracy that was measured on `total` images, for one training run.

    It does not include the variation over seeds. E. B. Wilson, JASA 22 (1927).

    Raises:
        ValueError: There are no images, or more correct ones than images.
    """
    if not 0 <= correct <= total or not total:
        raise ValueError(f"{correct} of {total} images are no accuracy")
    z, rate = float(special.ndtri((1 + CONFIDENCE) / 2)), correct / total
    middle = rate + z**2 / (2 * total)
    half = z * math.sqrt(rate * (1 - rate) / total + z**2 / (4 * total**2))
    low, high = ((middle + side) / (1 + z**2 / total) for side in (-half, half))
    return Interval(low if correct else 0.0, high if correct < total else 1.0)


def mean_interval(values: Sequence[float], *, floor: float = 0.0, images: float = 0.0) -> Interval:
    """Return the interval of the mean of a metric of a configuration, over seeds and, with `images`, over test images.

    Student's t for the seeds; the two variances are added, as by F. E. Satterthwaite, Biometrics Bulletin 2 (1946).
    Of accuracies whose predictions are known, `accuracy_interval` is the interval.

    Args:
        values: Metric of each seed.
        floor: Least variance over seeds.
        images: Variance of the mean over test sets of this size; 0 for these images alone.

    Raises:
        ValueError: There are fewer than two values.
    """
    mean, seeds = _mean_and_variance(values, floor)
    half = _quantile(len(values), over_seeds=seeds, over_images=images) * math.sqrt(seeds + images)
    return Interval(mean - half, mean + half)


def accuracy_interval(values: Sequence[float], correct: NDArray[np.bool_]) -> Interval:
    """Return the interval of the mean accuracy of a configuration, over seeds and over test images.

    It holds each accuracy p that is not too far from the mean by the variance at p, as Wilson's interval does. With the
    variance at the mean it would vanish near 100 %. The variance over images is p (1 - p) / N, multiplied by the
    correlation of two seeds on an image: what they vary by alone belongs to the seeds. If all seeds are right on the
    same images, the interval is about Wilson's of one seed.

    Intervals of this form for variances of several sources: P. S. Kott, Survey Methodology 43 (2017); C. Franco,
    R. J. A. Little, T. A. Louis and E. V. Slud, Journal of Survey Statistics and Methodology 7 (2019). Theirs take the
    whole variance as a multiple of p (1 - p); here the part of the seeds stays what it was measured to be.

    Args:
        values: Accuracy of each seed.
        correct: (seeds, N) bool, whether each seed is right on each image; at least two seeds.
    """
    images, apart = correct.shape[1], _apart(correct) / correct.shape[1]
    mean, seeds = _mean_and_variance(values, variance_floor(correct))
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    middle = (mean + z**2 / (2 * images)) / (1 + z**2 / images)  # of Wilson's interval: it varies even if mean is 1
    whole = middle * (1 - middle)
    correlation = max(0.0, 1 - apart / whole)
    t = _quantile(len(values), over_seeds=seeds, over_images=correlation * whole / images)
    # from root to root of (mean - p)² = t² (seeds + correlation p (1 - p) / images)
    share = t**2 * correlation / images
    half = math.sqrt(share * mean * (1 - mean) + share**2 / 4 + (1 + share) * t**2 * seeds)
    low, high = ((mean + share / 2 + side) / (1 + share) for side in (-half, half))
    return Interval(max(0.0, low), min(1.0, high))


def _mean_and_variance(values: Sequence[float], floor: float) -> tuple[float, float]:
    """Return the mean over seeds, and the variance of that mean."""
    if len(values) < 2:
        raise ValueError("an interval over seeds needs at least two of them")
    return float(np.mean(values)), max(float(np.var(values, ddof=1)), floor) / len(values)


def _quantile(seeds: int, *, over_seeds: float, over_images: float) -> float:
    """Return Student's t for an interval, from the number of seeds and the two variances of their mean.

    Satterthwaite's degrees of freedom square the ratio of the variances. A variance of two seeds that is low by chance
    then counts as well known, and the interval is too narrow. Here the ratio is taken to the power of 1.5, which comes
    nearest to 95 % where images and seeds vary about as much (docs/statistics.md has what was simulated).
    """
    freedom = (seeds - 1) * ((over_seeds + over_images) / over_seeds) ** 1.5 if over_seeds else seeds - 1
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def variance_floor(correct: NDArray[np.bool_]) -> float:
    """Return the variance over seeds that an accuracy has at least, from the images on which the seeds differ.

    If whether an image is right varied from seed to seed independently of the other images, this would be the whole
    variance; images that vary together only add to it. It is averaged over all images, so a few seeds whose accuracies
    agree by chance do not make it 0. Seeds may also agree on an image that varies: where a coin decides, three do in a
    quarter of cases. So the variance of one such image comes on top.

    Args:
        correct: (seeds, N) bool, whether each seed is right on each image; at least two seeds.
    """
    return (_apart(correct) + COIN) / correct.shape[1] ** 2


def _apart(correct: NDArray[np.bool_]) -> float:
    """Return the sum over images of the variance over seeds of being right, from how many seeds are right on each."""
    seeds, right = len(correct), np.count_nonzero(correct, axis=0)
    return float((right * (seeds - right)).sum()) / (seeds * (seeds - 1))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value that two classifiers are right equally often on the same images.

    Only images on which one is right and the other wrong count. Q. McNemar, Psychometrika 12 (1947).

    Args:
        first: (N,) bool, whether the first classifier is right on each image.
        second: (N,) bool, whether the second classifier is right on each image.

    Raises:
        ValueError: The shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"predictions of {first.size} and of {second.size} images cannot be paired")
    only_first, only_second = np.count_nonzero(first > second), np.count_nonzero(second > first)
    # the cumulative binomial distribution of a fair coin, both sides; scipy.stats.binomtest takes 100 times as long
    p_value = 2 * float(special.bdtr(min(only_first, only_second), only_first + only_second, 0.5))
    return min(1.0, max(LEAST, p_value))


def mcnemar_of_all(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the p-value of `mcnemar` for each pair of classifiers, (classifiers, classifiers).

    Args:
        correct: (classifiers, N) bool, whether each classifier is right on each image.
    """
    only = np.zeros((len(correct), len(correct)), dtype=np.int64)  # right where the other one is wrong
    for first in range(0, correct.shape[1], AT_ONCE):
        right = correct[:, first : first + AT_ONCE].astype(np.float32)  # which counts these exactly
        only += (right @ (1 - right).T).astype(np.int64)
    return np.clip(2 * special.bdtr(np.minimum(only, only.T), only + only.T, 0.5), LEAST, 1.0)


def welch(first: Sequence[float], second: Sequence[float], *, floors: tuple[float, float] = (0.0, 0.0)) -> float:
    """Return the two-sided p-value that two configurations have the same mean over seeds, whatever their variances.

    B. L. Welch, Biometrika 34 (1947).

    Args:
        first: Accuracy of each seed of one configuration.
        second: Accuracy of each seed of the other.
        floors: Least variance over seeds of each, from `variance_floor`. Where both variances are 0, nothing tells the
            two apart.

    Raises:
        ValueError: A configuration has fewer than two seeds.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("Welch's test needs at least two seeds of each")
    # scipy.stats.ttest_ind_from_stats takes 20 times as long, and 200 configurations make 19,900 pairs
    errors = [_variance(one, floor) / len(one) for one, floor in zip((first, second), floors, strict=True)]
    if not (whole := sum(errors)):
        return 1.0
    freedom = whole**2 / (errors[0] ** 2 / (len(first) - 1) + errors[1] ** 2 / (len(second) - 1))
    return max(LEAST, 2 * float(special.stdtr(freedom, -abs(fmean(first) - fmean(second)) / math.sqrt(whole))))


def paired_t(differences: Sequence[float], *, floor: float = 0.0) -> float:
    """Return the two-sided p-value that paired differences, a seed each, have the mean 0, by Student's t.

    Args:
        differences: Difference of each seed.
        floor: Least variance of a difference, from `sequential.floors_of`. With no variance at all, nothing tells the
            two apart.

    Raises:
        ValueError: There are fewer than two differences.
    """
    if len(differences) < 2:
        raise ValueError("a paired test needs at least two seeds")
    return _student(fmean(differences), differences, share=1 / len(differences), floor=floor)


def one_against_several(value: float, others: Sequence[float], *, floor: float = 0.0) -> float:
    """Return the two-sided p-value that one seed of a configuration comes from another's distribution over seeds.

    Student's t of a further observation, in which the one seed has the variance of the others.

    Args:
        value: Accuracy of the one seed.
        others: Accuracies of the seeds of the other configuration.
        floor: Least variance of those, from `variance_floor`. With no variance at all, nothing tells them apart.

    Raises:
        ValueError: There are fewer than two others.
    """
    if len(others) < 2:
        raise ValueError("the other configuration needs at least two seeds")
    return _student(value - fmean(others), others, share=1 + 1 / len(others), floor=floor)


def _student(distance: float, values: Sequence[float], *, share: float, floor: float) -> float:
    """Return the two-sided p-value of a distance from 0, of which the variance is a share of that of some values."""
    if not (variance := _variance(values, floor) * share):
        return 1.0
    return max(LEAST, 2 * float(special.stdtr(len(values) - 1, -abs(distance) / math.sqrt(variance))))


def _variance(values: Sequence[float], floor: float) -> float:
    mean = fmean(values)
    return max(sum((value - mean) ** 2 for value in values) / (len(values) - 1), floor)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for the number of comparisons, in the same order.

    S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = highest
    return corrected


def pairwise(count: int, p_value: Callable[[int, int], float]) -> dict[tuple[int, int], float]:
    """Return Holm's p-values of all pairs of `count` configurations, by (smaller, larger) index.

    The correction counts all pairs, not only those with the leader: the same data decide which one leads, and the best
    of many equal configurations easily tests as better than the worst of them.
    """
    pairs = list(itertools.combinations(range(count), 2))
    return dict(zip(pairs, holm([p_value(*pair) for pair in pairs]), strict=True))


def rank_intervals(p_values: Mapping[tuple[int, int], float], count: int) -> list[tuple[int, int]]:
    """Return the first and last rank that each of `count` configurations may have: (1, 2), (1, 3), (2, 3).

    A configuration is behind those that are better by the test, and ahead of those that are worse. Whether two differ
    is not transitive: the first may differ from the third, and the second from neither. So each has its own interval.
    Two that do not differ have a rank in common.

    Args:
        p_values: Corrected p-values by pair of indices, from `pairwise`; the configurations stand in the order of their
            means. A pair with a smaller one than `ALPHA` differs.
        count: Number of configurations.
    """
    differ = {pair for pair, p_value in p_values.items() if p_value < ALPHA}
    first = [1 + sum((other, index) in differ for other in range(index)) for index in range(count)]
    last = [count - sum((index, other) in differ for other in range(index + 1, count)) for index in range(count)]
    for better, worse in itertools.combinations(range(count), 2):
        # possible where one between them, measured more exactly, differs from both
        if (better, worse) not in differ and first[worse] > last[better]:
            first[worse] = last[better]
    return list(zip(first, last, strict=True))
