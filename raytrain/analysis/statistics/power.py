"""Which differences a test can find: gaps, their power, and the seeds that they need."""

import bisect
import math
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import special

from raytrain.analysis.statistics.significance import ALPHA

POWER = 0.8
"""Probability with which a test finds a difference of the size that `resolvable_gap` returns."""
MOST_SEEDS = 1000
"""Largest number of seeds that `seeds_for` tries."""
QUANTILES = 200
"""Number of quantiles at which a distribution without a closed form is evaluated."""


def resolvable_gap(deviation: float, seeds: int, *, alpha: float = ALPHA) -> float:
    """Return the smallest difference of two means that Welch's test finds with probability `POWER`.

    It assumes normal accuracies with equal deviations. The usual formula with the quantiles of two t distributions is
    too optimistic for small numbers of seeds: with 3 seeds, the test finds its gap with a power of 68 %, not 80 %.

    Args:
        deviation: Standard deviation over seeds, in the unit of the result.
        seeds: Number of seeds of each of the two configurations, at least 2.
        alpha: Significance level, two-sided.
    """
    highest = 4.0
    while welch_power(highest, seeds, alpha=alpha) < POWER:
        highest *= 2
    shift: Any = scipy.optimize.brentq(lambda shift: welch_power(shift, seeds, alpha=alpha) - POWER, 0.0, highest)
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
    share = special.betaincinv(freedom / 2, freedom / 2, levels)
    critical = -special.stdtrit(freedom / (share**2 + (1 - share) ** 2), alpha / 2)
    needed = np.outer(critical, np.sqrt(special.gammaincinv(freedom, levels) / freedom))  # (QUANTILES, QUANTILES)
    return float(np.mean(special.ndtr(shift - needed) + special.ndtr(-shift - needed)))


def resolvable_gap_of_images(disagreement: float, images: int, *, alpha: float = ALPHA) -> float | None:
    """Return the smallest difference of two accuracies that McNemar's test finds with probability `POWER`.

    Args:
        disagreement: Share of the images on which one of two equally good networks is right and the other wrong; of two
            that differ by a gap, it is larger by the gap.
        images: Size of the test set.
        alpha: Significance level, two-sided.

    Returns:
        The difference, a fraction; None where no difference is found with that probability.
    """
    low, high = 0.0, 1.0 - disagreement
    if mcnemar_power(high, disagreement, images, alpha=alpha) < POWER:
        return None
    while high - low > 0.01 / images:
        middle = (low + high) / 2
        if mcnemar_power(middle, disagreement, images, alpha=alpha) < POWER:
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
    likely = _binomial(counts, images, differ)
    counts, likely = counts[likely > 1e-12], likely[likely > 1e-12]
    most = _most_of_fewer(counts, alpha=alpha)
    share = (disagreement / 2 + gap) / differ
    found = special.bdtr(most, counts, share) + special.bdtr(most, counts, 1 - share)
    return float(np.sum(likely * np.where(most >= 0, found, 0.0)))


def _binomial(counts: NDArray[np.int_], images: int, share: float) -> NDArray[np.float64]:
    """Return the probability of each count out of so many images, each of which counts with probability `share`."""
    ways = special.gammaln(images + 1) - special.gammaln(counts + 1) - special.gammaln(images - counts + 1)
    return np.exp(ways + special.xlogy(counts, share) + special.xlog1py(images - counts, -share))


def _most_of_fewer(counts: NDArray[np.int_], *, alpha: float) -> NDArray[np.float64]:
    """Return the most images that one of two may have for itself where the test tells the two apart.

    Args:
        counts: Numbers of images on which one of the two is right and the other wrong.
        alpha: Significance level of McNemar's exact test, two-sided.

    Returns:
        A number for each count; -1 where it tells them apart in no case.
    """
    near = np.nan_to_num(np.floor(special.bdtrik(alpha / 2, counts, 0.5)), nan=-1.0)
    tried = np.maximum(near[:, None] + np.array([-1.0, 0.0, 1.0]), 0.0)  # rounding may be off by one
    found = 2 * special.bdtr(tried, np.maximum(counts, 1)[:, None], 0.5) <= alpha
    return np.where(found, tried, -1.0).max(axis=1)


def seeds_for(gap: float, deviation: float, *, alpha: float = ALPHA) -> int | None:
    """Return how many seeds of each of two configurations find a difference of `gap`; None if over `MOST_SEEDS`."""

    def enough(seeds: int) -> bool:
        return resolvable_gap(deviation, seeds, alpha=alpha) <= gap

    counts = range(2, MOST_SEEDS + 1)
    position = bisect.bisect_left(counts, True, key=enough)  # noqa: FBT003 (the value that is looked for)
    return counts[position] if position < len(counts) else None
