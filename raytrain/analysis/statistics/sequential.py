"""A test of paired differences that may be looked at after every seed: one-sided, always valid, of unknown variance.

Plain functions on numbers. Differences are of accuracies, fractions in [-1, 1], in the order in which their seeds came.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raytrain.analysis.statistics.significance import ALPHA, Interval

SCALE = 2.0
"""Typical size of a difference that is not 0, in standard deviations: the scale of the half-normal mixture. It decides
on the power alone. Of 0.5, 1, 2 and 3, this one needs the fewest seeds for differences of 1 to 2 deviations."""
MOST_AHEAD = 100
"""Largest number of further seeds that `seeds_until` looks ahead."""


@dataclass(frozen=True)
class Differences:
    """The differences of two configurations, a seed each.

    Attributes:
        values: Accuracy of the one minus that of the other, by seed, a fraction.
        floors: Least variance of the values up to each seed, from `floors_of`; zeros where it is not known.
    """

    values: NDArray[np.float64]
    floors: NDArray[np.float64]

    def __neg__(self) -> "Differences":
        """Return the differences the other way round."""
        return Differences(-self.values, self.floors)

    def __len__(self) -> int:
        """Return the number of seeds."""
        return int(self.values.shape[-1])

    @property
    def mean(self) -> float:
        """The mean over all seeds."""
        return float(self.values.mean())


def floors_of(differences: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the variance over seeds that differences have at least, for the first 1, 2, ... of the seeds.

    The images on which a difference varies from seed to seed give it, as in `significance.variance_floor`. What comes
    on top is less than there: not the variance of one more image, but that of rounding to multiples of 1 / N, which is
    1 / 12 of a squared step. It counts twice, because a difference is one of two accuracies.

    Args:
        differences: (seeds, N) -1, 0 or 1: whether the one is right on each image minus whether the other is.
    """
    seeds, images = differences.shape
    count = np.arange(1, seeds + 1)
    total, squares = np.cumsum(differences, axis=0, dtype=float), np.cumsum(np.abs(differences), axis=0, dtype=float)
    apart = (squares - total**2 / count[:, None]).sum(axis=1) / np.maximum(count - 1, 1)
    return (apart + 1 / 6) / images**2


def e_values(differences: Differences, *, null: float = 0.0) -> NDArray[np.float64]:
    """Return the evidence, after each seed, that the mean difference is larger than `null`.

    If it is not, the chance that the value ever reaches 1 / alpha is at most alpha, whenever one looks and whatever one
    does next: the betting of a t-test, mixed over effect sizes of a half-normal distribution of scale `SCALE`. The
    values under the null hypothesis, divided by their root mean square, have the same distribution for every variance,
    so the ratio of their densities is a martingale of mean 1, and Ville's inequality bounds its maximum. A mean below
    `null` moves all values and so only lowers the ratio. A floor of the variance lowers every ratio above 1.

    T. L. Lai, Annals of Statistics 4 (1976); H. Wang and A. Ramdas, Anytime-valid t-tests and confidence sequences,
    arXiv:2310.03722. Their mixture is two-sided; ours is one-sided, in closed form with Student's t distribution.

    Args:
        differences: Differences of normal accuracies, in their order; `values` and `floors` may be (..., seeds).
        null: Mean difference that is to be exceeded, a fraction.

    Returns:
        (..., seeds) float, an e-value for the first 1, 2, ... seeds.
    """
    shifted = differences.values - null
    count = np.arange(1, shifted.shape[-1] + 1)
    return _evidence(count, np.cumsum(shifted, axis=-1) / count, _variances(shifted, differences.floors))


def _evidence(count: NDArray[np.int_], mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the e-value of `count` values of this mean and variance that the true mean is above 0."""
    squares = (count - 1) * variance + count * mean**2
    # the sum over the root of the sum of squares: all that values say, together with their signs, whatever their scale
    share = np.divide(count * mean, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    share /= np.sqrt(count + SCALE**-2)  # below 1
    rest = 1 - share**2
    below = special.stdtr(count, share * np.sqrt(count / rest))
    values = 2 * below * rest ** (-count / 2) / np.sqrt(1 + count * SCALE**2)
    return np.where(squares > 0, values, 1.0)


def _variances(values: NDArray[np.float64], floors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of the first 1, 2, ... values, at least the floor; 0 for one value."""
    count = np.arange(1, values.shape[-1] + 1)
    centred = values - values[..., :1]  # the sums of squares of small differences stay exact
    total, squares = np.cumsum(centred, axis=-1), np.cumsum(centred**2, axis=-1)
    variance = np.maximum(squares - total**2 / count, 0.0) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.maximum(variance, floors), 0.0)


def seeds_until_larger(differences: Differences, *, null: float, level: float) -> int | None:
    """Return after how many seeds the mean difference was shown to be larger than `null`; None if it is not shown.

    Args:
        differences: Differences in their order.
        null: Mean difference that is to be exceeded, a fraction.
        level: Probability with which a mean that is not larger is ever taken for larger, at most.
    """
    shown = np.flatnonzero(e_values(differences, null=null) >= 1 / level)
    return int(shown[0]) + 1 if shown.size else None


def fewest_seeds(level: float) -> int:
    """Return the number of seeds below which no differences, however equal, show anything at a level."""
    return next(n for n in range(2, MOST_AHEAD) if _value(n, 1.0, 0.0) >= 1 / level)


def seeds_ahead(differences: Differences, *, null: float, level: float) -> int | None:
    """Return how many more seeds would show the mean difference larger than `null`, if all went on as it is now.

    The mean and the variance stay as they are; None where that takes more than `MOST_AHEAD` seeds, or the mean is not
    above `null`. One seed has no variance: then it is the number below which nothing can be shown.
    """
    count, mean = len(differences), differences.mean - null
    if mean <= 0:
        return None
    if count < 2:
        return fewest_seeds(level) - count
    variance = float(_variances(differences.values, differences.floors)[-1])
    ahead = range(1, MOST_AHEAD + 1)
    return next((more for more in ahead if _value(count + more, mean, variance) >= 1 / level), None)


def _value(count: int, mean: float, variance: float) -> float:
    return float(_evidence(np.array(count), np.array(mean), np.array(variance)))


def mean_sequence(differences: Differences) -> Interval | None:
    """Return the interval that holds the mean difference after this and every other seed, with probability 1 - `ALPHA`.

    A confidence sequence: the means that the two-sided mixture does not reject. Wang and Ramdas, arXiv:2310.03722.

    Returns:
        The interval, of fractions; None while there are too few seeds for one.
    """
    count = len(differences)
    # the share of the squares that the mean may have: the largest that the mixture does not reject
    share = (count + SCALE**-2) * (1 - (ALPHA / math.sqrt(1 + count * SCALE**2)) ** (2 / count))
    if share >= count:
        return None
    deviation = math.sqrt(_variances(differences.values, differences.floors)[-1])
    half = deviation * math.sqrt((count - 1) * share / (count - share) / count)
    return Interval(differences.mean - half, differences.mean + half)


def online_level(position: int, kept: int) -> float:
    """Return the level at which the next of many candidates is tested, so that few of those that are kept are false.

    The share of false ones among those kept is at most `ALPHA` on average, and so is the chance of any where no
    candidate is better: the levels of all candidates add up to `ALPHA` until one is kept. The rule of LOND for
    e-values: Z. Xu and A. Ramdas, Online multiple testing with e-values, AISTATS 2024 (e-LOND); A. Javanmard and
    A. Montanari, Annals of Statistics 46 (2018). The levels fall as position^(-5/4), which is the slowest for the first
    hundred candidates.

    Args:
        position: Position of the candidate among all, from 1.
        kept: Number of candidates that were kept before it was first judged.
    """
    return ALPHA * (kept + 1) * position**-1.25 / float(special.zeta(1.25))
