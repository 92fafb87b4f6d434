"""Statistics of comparing trained models: intervals, tests, shared ranks, and the smallest difference a run can show.

Plain functions on numbers. Accuracies are fractions in [0, 1].
"""

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return Student's t interval of the mean over seeds.

    Raises:
        ValueError: There are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("an interval over seeds needs at least two of them")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return Interval(mean - half, mean + half)


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


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p-value that two configurations have the same mean over seeds, whatever their variances.

    B. L. Welch, Biometrika 34 (1947).

    Raises:
        ValueError: A configuration has fewer than two seeds.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("Welch's test needs at least two seeds of each")
    if len({*first}) == len({*second}) == 1:  # no variance at all
        return 1.0 if first[0] == second[0] else 0.0
    # from means and deviations: of the values themselves SciPy warns where the seeds of one agree
    (mean_a, std_a), (mean_b, std_b) = ((np.mean(one), np.std(one, ddof=1)) for one in (first, second))
    test: Any = stats.ttest_ind_from_stats(mean_a, std_a, len(first), mean_b, std_b, len(second), equal_var=False)
    return float(test.pvalue)


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


def shared_ranks(p_values: dict[tuple[int, int], float], count: int, *, alpha: float = ALPHA) -> list[str]:
    """Return the rank of each of `count` configurations, which stand in the order of their means.

    Those that do not differ significantly from the first of their group share its rank: "1", "1=", "3".

    Args:
        p_values: Corrected p-values by pair of indices, from `pairwise`.
        count: Number of configurations.
        alpha: Significance level; a pair with a smaller p-value differs.
    """
    ranks: list[str] = []
    first = 0
    for index in range(count):
        if index and p_values[first, index] < alpha:
            first = index
        ranks.append(f"{first + 1}" if index == first else f"{first + 1}=")
    return ranks


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


def resolvable_gap_of_images(disagreement: float, images: int, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the smallest difference of two accuracies that McNemar's test finds with probability `power`.

    R. J. Connor, Biometrics 43 (1987), to first order in the difference.

    Args:
        disagreement: Share of the images on which one of the two is right and the other wrong.
        images: Size of the test set.
        alpha: Significance level, two-sided.
        power: Probability of finding the difference.
    """
    quantiles = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))
    return quantiles * math.sqrt(disagreement / images)


def seeds_for(gap: float, deviation: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Return how many seeds of each of two configurations find a difference of `gap`; None if over `MOST_SEEDS`."""

    def enough(seeds: int) -> bool:
        return resolvable_gap(deviation, seeds, alpha=alpha, power=power) <= gap

    counts = range(2, MOST_SEEDS + 1)
    position = bisect.bisect_left(counts, True, key=enough)  # noqa: FBT003 (the value that is looked for)
    return counts[position] if position < len(counts) else None
