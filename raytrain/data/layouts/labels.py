"""Labels that nothing names: each value is a class, and too many different values are an id."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError

MOST_CLASSES = 10_000
"""Most classes; labels with more different values are none."""
FEW_CLASSES = 100
"""Most classes of which each may have a single image: more such are an id."""


def refuse_ids(labels: NDArray[Any], *, where: str) -> None:
    """Raise DataError where labels have so many different values that they are none.

    Args:
        labels: (N,) of the training images, integers or text.
        where: What holds them, for the message.
    """
    values = np.unique(labels)
    if len(values) > MOST_CLASSES or len(values) == len(labels) > FEW_CLASSES:
        raise DataError(
            f"{where}: the labels of {len(labels):,} training images have {len(values):,} different values, such as "
            f"{some(values.tolist(), most=5)}; that is an id, not a class"
        )


def gap_warning(values: list[Any]) -> str:
    """Return what a person should know of labels that are not 0, 1, ... without a gap; empty for others.

    Args:
        values: The different labels, in ascending order.
    """
    if not values or not isinstance(values[0], int) or values[-1] == len(values) - 1:
        return ""
    return f"the labels do not count from 0; the classes are {some(values)}"


def some(values: list[Any], *, most: int = 10) -> str:
    """Return the first values as text, and how many more there are."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
