"""What commands print with `--json`: one JSON document, an object with `schema_version`."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

SCHEMA_VERSION = 1
"""Version of the documents; one whose keys change their meaning or are removed gets a higher number of its own."""


def document(values: Mapping[str, Any]) -> str:
    """Return values as a JSON document in ASCII, with a line break at its end.

    NaN and infinities become null: JSON has no numbers for them.

    Args:
        values: Values by name; their own `schema_version`, if there is one, takes the place of the usual one.
    """
    return json.dumps(_finite({"schema_version": SCHEMA_VERSION, **values}), indent=1, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, str | int | None):  # most of what a document holds
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("list[object]", value)]
    return value
