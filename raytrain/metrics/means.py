"""Means over seeds, which are compared with each other and with what a user writes."""

from collections.abc import Iterable
from statistics import fmean

DIGITS = 12
"""Decimal places of a mean: more than two different accuracies need, fewer than rounding errors reach."""


def mean_over_seeds(values: Iterable[float]) -> float:
    """Return the mean of at least one value, so that equal sums of as many values have equal means: to `DIGITS` places.

    Accuracies are fractions, which floats round: 141 and 144 right of 144 would differ from 142 and 143 in the last
    bit, and 0.949, 0.950 and 0.951 would have a mean below 0.95.
    """
    values = list(values)
    return values[0] if len(values) == 1 else round(fmean(values), DIGITS)
