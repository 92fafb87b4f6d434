"""Statistics of comparing trained models: intervals, tests, ranks, and the smallest difference a run can show.

Plain functions on numbers. Accuracies are fractions in [0, 1].
"""

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
"""Probability with which a test finds a difference of the size that `resolvable_gap` returns."""
MOST_SEEDS = 1000
"""Largest number of seeds that `seeds_for` tries."""
QUANTILES = 200
"""Number of quantiles at which a distribution without a closed form is evaluated."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def wilson(correct: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval of an accuracy that was measured on `total` images, for one training run.

    It does not include the variation over seeds. E. B. Wilson, JASA 22 (1927).

    Raises:
        ValueError: There are no images, or more correct ones than images.
    """
    low, high = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(low), float(high))


def mean_interval(
    values: Sequence[float], *, floor: float = 0.0, images: float = 0.0, confidence: float = CONFIDENCE
) -> Interval:
    """Return the interval of the mean accuracy of a configuration, over seeds and, with `images`, over test images.

    Student's t for the seeds; the two variances are added, with the degrees of freedom of F. E. Satterthwaite,
    Biometrics Bulletin 2 (1946).

    Args:
        values: Accuracy of each seed.
        floor: Least variance over seeds, from `variance_floor`.
        images: Variance of the mean over test sets of this size, from `image_variance`; 0 for these images alone.
        confidence: Probability with which the interval holds the true mean.

    Raises:
        ValueError: There are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("an interval over seeds needs at least two of them")
    mean, freedom = float(np.mean(values)), len(values) - 1
    seeds = max(float(np.var(values, ddof=1)), floor) / len(values)
    freedom = freedom * ((seeds + images) / seeds) ** 2 if seeds else freedom
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(seeds + images)
    return Interval(mean - half, mean + half)


def variance_floor(correct: NDArray[np.bool_]) -> float:
    """Return the variance over seeds that an accuracy has at least, from the images on which the seeds differ.

    If whether an image is right varied from seed to seed independently of the other images, this would be the whole
    variance; images that vary together only add to it. It is averaged over all images, so a few seeds whose accuracies
    agree by chance do not make it 0. An accuracy is a multiple of 1 / N: the variance of that rounding comes on top.

    Args:
        correct: (seeds, N) bool, whether each seed is right on each image; at least two seeds.
    """
    images = correct.shape[1]
    return _apart(correct) / images**2 + 1 / (12 * images**2)


def image_variance(correct: NDArray[np.bool_]) -> float:
    """Return the variance of the mean accuracy over test sets of the same size, what the seeds vary by left out.

    The variance over images of the probability that a seed is right on one, divided by their number.

    Args:
        correct: (seeds, N) bool, whether each seed is right on each image; at least two seeds.
    """
    images, accuracy = correct.shape[1], float(correct.mean())
    return max(0.0, accuracy * (1 - accuracy) - _apart(correct) / images) / images


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
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    # the cumulative binomial distribution of a fair coin, both sides; stats.binomtest takes 100 times as long
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


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
    return 2 * float(special.stdtr(freedom, -abs(fmean(first) - fmean(second)) / math.sqrt(whole)))


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
    variance = _variance(others, floor)
    if not variance:
        return 1.0
    distance = abs(value - fmean(others)) / math.sqrt(variance * (1 + 1 / len(others)))
    return 2 * float(special.stdtr(len(others) - 1, -distance))


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


def rank_intervals(
    p_values: Mapping[tuple[int, int], float], count: int, *, alpha: float = ALPHA
) -> list[tuple[int, int]]:
    """Return the first and last rank that each of `count` configurations may have: (1, 2), (1, 3), (2, 3).

    A configuration is behind those that are better by the test, and ahead of those that are worse. Whether two differ
    is not transitive: the first may differ from the third, and the second from neither. So each has its own interval.
    Two that do not differ have a rank in common.

    Args:
        p_values: Corrected p-values by pair of indices, from `pairwise`; the configurations stand in the order of their
            means.
        count: Number of configurations.
        alpha: Significance level; a pair with a smaller p-value differs.
    """
    differ = {pair for pair, p_value in p_values.items() if p_value < alpha}
    first = [1 + sum((other, index) in differ for other in range(index)) for index in range(count)]
    last = [count - sum((index, other) in differ for other in range(index + 1, count)) for index in range(count)]
    for better, worse in itertools.combinations(range(count), 2):
        # possible where one between them, measured more exactly, differs from both
        if (better, worse) not in differ and first[worse] > last[better]:
            first[worse] = last[better]
    return list(zip(first, last, strict=True))


def resolvable_gap(deviation: float, seeds: int, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest difference of two means that Welch's test finds with probability `power`.

    It assumes normal accuracies with equal deviations. The usual formula with the quantiles of two t distributions is
    too optimistic for small numbers of seeds: with 3 seeds, the test finds its gap with a power of 68 %, not 80 %.

    Args:
        deviation: Standard deviation over seeds, in the unit of the result.
        seeds: Number of seeds of each of the two configurations, at least 2.
        alpha: Significance level, two-sided.
        power: Probability of finding the difference.
    """
    highest = 4.0
    while welch_power(highest, seeds, alpha=alpha) < power:
        highest *= 2
    shift: Any = optimize.brentq(lambda shift: welch_power(shift, seeds, alpha=alpha) - power, 0.0, highest)
    return float(shift) * deviation * math.sqrt(2 / seeds)


def welch_power(shift: float, seeds: int, *, alpha: float = ALPHA) -> float:
    """Return the probability that Welch's test finds a difference, for two equal deviations.

    Two quantities vary: the pooled variance, which has a chi-squared distribution, and the first sample's share of it,
    which has a Beta distribution and determines the degrees of freedom of the test. Both are evaluated at `QUANTILES`
    quantiles.

    Args:
        shift: Difference in units of its standard error, deviation x sqrt(2 / seeds).
        seeds: Number of seeds of each of the two configurations, at least 2.
        alpha: Significance level, two-sided.
    """
    freedom = seeds - 1
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    share = stats.beta.ppf(levels, freedom / 2, freedom / 2)
    critical = stats.t.isf(alpha / 2, freedom / (share**2 + (1 - share) ** 2))
    needed = np.outer(critical, np.sqrt(stats.chi2.ppf(levels, 2 * freedom) / (2 * freedom)))  # (QUANTILES, QUANTILES)
    return float(np.mean(special.ndtr(shift - needed) + special.ndtr(-shift - needed)))


def resolvable_gap_of_images(
    disagreement: float, images: int, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """Return the smallest difference of two accuracies that McNemar's test finds with probability `power`.

    Args:
        disagreement: Share of the images on which one of two equally good networks is right and the other wrong; of two
            that differ by a gap, it is larger by the gap.
        images: Size of the test set.
        alpha: Significance level, two-sided.
        power: Probability of finding the difference.

    Returns:
        The difference, a fraction; None where no difference is found with that probability.
    """
    low, high = 0.0, 1.0 - disagreement
    if mcnemar_power(high, disagreement, images, alpha=alpha) < power:
        return None
    while high - low > 0.01 / images:
        middle = (low + high) / 2
        if mcnemar_power(middle, disagreement, images, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def mcnemar_power(gap: float, disagreement: float, images: int, *, alpha: float = ALPHA) -> float:
    """Return the probability that McNemar's exact test finds a difference of two accuracies.

    Exact: over the number of images on which the two differ, which is binomial, and how they fall given that number.

    Args:
        gap: Difference of the accuracies, a fraction.
        disagreement: Share of the images on which two equally good networks differ; these two differ on `gap` more.
        images: Size of the test set.
        alpha: Significance level, two-sided.
    """
    differ = disagreement + gap
    if not differ:
        return 0.0
    counts = np.arange(images + 1)
    likely = stats.binom.pmf(counts, images, differ)
    counts, likely = counts[likely > 1e-12], likely[likely > 1e-12]
    # most images that one may have for itself where the test finds a difference; -1 for none
    most = stats.binom.ppf(alpha / 2, counts, 0.5)
    most = np.where(2 * special.bdtr(most, counts, 0.5) <= alpha, most, most - 1)
    share = (disagreement / 2 + gap) / differ
    found = np.where(most >= 0, special.bdtr(most, counts, share) + special.bdtr(most, counts, 1 - share), 0.0)
    return float(np.sum(likely * found))


def seeds_for(gap: float, deviation: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Return how many seeds of each of two configurations find a difference of `gap`; None if over `MOST_SEEDS`."""

    def enough(seeds: int) -> bool:
        return resolvable_gap(deviation, seeds, alpha=alpha, power=power) <= gap

    counts = range(2, MOST_SEEDS + 1)
    position = bisect.bisect_left(counts, True, key=enough)  # noqa: FBT003 (the value that is looked for)
    return counts[position] if position < len(counts) else None
