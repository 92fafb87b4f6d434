"""Which columns of Parquet files hold the images and the labels."""

from collections.abc import Mapping
from typing import Any, NamedTuple

FORM = "write {image: photo, label: species}, or image=photo,label=species: one of the two, or both"


class Columns(NamedTuple):
    """Names of columns; one that is empty is looked for under the names that are usual.

    Attributes:
        image: Column of the encoded images.
        label: Column of the labels.
    """

    image: str = ""
    label: str = ""


def canonical_columns(given: object) -> str:
    """Return the text of columns: `image=photo,label=species`, "" for none.

    Args:
        given: A mapping with the keys image and label, or the text.

    Raises:
        ValueError: It is something else, or a name holds a comma or an equals sign.
    """
    if given in ("", None):
        return ""
    try:
        listed = list(given.items()) if isinstance(given, Mapping) else _pairs(given)
        pairs: dict[Any, Any] = dict(listed)
    except TypeError:
        raise ValueError(f"{given!r} does not name columns; {FORM}") from None
    if len(listed) > len(pairs):
        raise ValueError(f"{given!r} names a column twice; {FORM}")
    names = list(pairs.values())
    if not pairs or not {*pairs} <= {*Columns._fields} or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{given!r} does not name columns; {FORM}")
    if any("," in name or "=" in name for name in names):
        raise ValueError(f"{given!r}: a column whose name holds ',' or '=' cannot be named; rename it")
    return ",".join(f"{what}={pairs[what]}" for what in Columns._fields if what in pairs)


def columns_of(text: str) -> Columns:
    """Return the columns of a text from `canonical_columns`."""
    return Columns(**dict(_pairs(text)))


def _pairs(text: object) -> list[tuple[str, str]]:
    if not isinstance(text, str):
        raise TypeError
    return [(what.strip(), name.strip()) for part in text.split(",") if part for what, _, name in [part.partition("=")]]
