"""How sure a comparison of trained models is: intervals, tests, shared ranks, and what a design can resolve.

Plain functions on numbers; they know no trial. Accuracies are fractions in [0, 1].
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
"""Probability with which a gap of the size that `resolvable_gap` gives is found."""
MOST_SEEDS = 1000
"""Where the search for a number of seeds ends."""
QUANTILES = 200
"""Quantiles at which a distribution is taken where there is no closed form."""


@dataclass(frozen=True)
class Interval:
    """Where the true value lies, with the confidence that was asked for."""

    low: float
    high: float


def wilson(correct: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of an accuracy that `total` images gave: how sure the test set is, for one training run.

    It says nothing about another seed. E. B. Wilson, JASA 22 (1927).

    Raises:
        ValueError: There are no images, or more correct ones than images.
    """
    low, high = stats.binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(low), float(high))


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return Student's t interval of the mean over seeds.

    Raises:
        ValueError: Of a single value nothing can be said.
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
        first: [n] Whether the first is right on each image.
        second: [n] The same of the second.

    Raises:
        ValueError: They were asked about different numbers of images.
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
        ValueError: One of them has a single seed.
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
    """Return p-values that hold for all of the comparisons at once, in the same order.

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

    Of all pairs and not of those with the leader alone: who leads is seen in the same data, and the best of many
    equals is easily found better than the worst of them.
    """
    pairs = list(itertools.combinations(range(count), 2))
    return dict(zip(pairs, holm([p_value(*pair) for pair in pairs]), strict=True))


def shared_ranks(p_values: dict[tuple[int, int], float], count: int, *, alpha: float = ALPHA) -> list[str]:
    """Return the rank of each of `count` configurations, which stand in the order of their means.

    Those that cannot be told apart from the first of their group share its rank: "1", "1=", "3".

    Args:
        p_values: As `pairwise` returns them.
        count: How many there are.
        alpha: Below it a pair is told apart.
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

    For normal accuracies with equal deviations. The usual formula with the quantiles of two t distributions promises
    too much for few seeds: at its gap for 3 seeds the test has a power of 68 %, not 80 %.

    Args:
        deviation: Standard deviation over seeds, in the unit of the answer.
        seeds: Of each of the two configurations, at least 2.
        alpha: Significance level, two-sided.
        power: Probability of finding it.
    """
    highest = 4.0
    while welch_power(highest, seeds, alpha=alpha) < power:
        highest *= 2
    shift: Any = optimize.brentq(lambda shift: welch_power(shift, seeds, alpha=alpha) - power, 0.0, highest)
    return float(shift) * deviation * math.sqrt(2 / seeds)


def welch_power(shift: float, seeds: int, *, alpha: float = ALPHA) -> float:
    """Return the probability that Welch's test finds a difference, for two equal deviations.

    Two things vary: the pooled variance, which has a chi-squared distribution, and the share of it that the first
    sample shows, which has a Beta distribution and decides by how many degrees of freedom the test judges. Both are
    taken at `QUANTILES` quantiles.

    Args:
        shift: The difference in standard errors, deviation x sqrt(2 / seeds).
        seeds: Of each of the two, at least 2.
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
        power: Probability of finding it.
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
