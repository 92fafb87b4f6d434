"""Labels that nothing names: each value is a class, and too many different values are an id."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError

MOST_CLASSES = 10_000
"""Most classes; labels with more different values are none."""
FEW_CLASSES = 100
"""Most classes of which each may have a single image: more such are an id."""
MISSING = ("nan", "NaN", "NaT", "None", "<NA>")
"""What Python, NumPy and pandas write for a missing value that they make text of."""
NUMBER_WIDTH = 32
"""Letters of NumPy's text that holds any float: of the words beside it, too."""
OF_A_NUMBER = np.dtype(f"U{NUMBER_WIDTH}")


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


def refuse_missing(labels: NDArray[Any], *, where: str, nan_too: bool) -> None:
    """Raise DataError where labels in words are empty, or where NumPy has made a word of a missing one.

    NumPy makes `nan` of a NaN beside names, and its text then has the width of a number, 32 letters. A class that is
    called nan has that width only by chance.

    Args:
        labels: (N,) text; integers are never missing.
        where: What holds them, for the message.
        nan_too: Whether `nan` is looked for, because no class is known to be called that.
    """
    if labels.dtype.kind != "U" or not len(labels):
        return
    if rows := [row for row, label in enumerate(labels.tolist()) if not label.strip()]:
        raise DataError(f"{where}: {_how_many(rows, labels)} empty, {in_rows(rows)}; give a name, or drop the row")
    made_of_numbers = labels.dtype.itemsize == OF_A_NUMBER.itemsize and max(map(len, labels.tolist())) < NUMBER_WIDTH
    if nan_too and made_of_numbers and (rows := np.flatnonzero(labels == "nan").tolist()):
        raise DataError(
            f"{where}: {_how_many(rows, labels)} nan, {in_rows(rows)}, which NumPy makes of a missing label; drop such "
            "rows; if a class is really called nan, return the names of all classes as classes"
        )


def refuse_repeated(names: Iterable[str], *, where: str) -> None:
    """Raise DataError where two classes have the same name: nothing could tell them apart.

    Args:
        names: Names of the classes.
        where: What gives them, for the message.
    """
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{where} gives several classes the name {some(repeated)}; give each a name of its own")


def missing_warning(labels: NDArray[Any]) -> str:
    """Return a warning of labels in words that may be missing ones, such as nan; empty where there are none.

    Args:
        labels: (N,) text or integers, of the training images.
    """
    if labels.dtype.kind != "U":
        return ""
    found = [(word, count) for word in MISSING if (count := int((labels == word).sum()))]
    if not found:
        return ""
    have = {word: "1 training image has" if count == 1 else f"{count:,} training images have" for word, count in found}
    counted = " and ".join(f"{has} the label {word}" for word, has in have.items())
    return f"{counted}: if that is a missing label, leave it out"


def in_rows(rows: list[int]) -> str:
    """Return where labels are, as text: "in rows 0, 3 (counted from 0)"."""
    return f"in row{'s' if len(rows) > 1 else ''} {some(rows)} (counted from 0)"


def _how_many(rows: list[int], labels: NDArray[Any]) -> str:
    return f"{len(rows):,} of {len(labels):,} labels {'is' if len(rows) == 1 else 'are'}"


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
