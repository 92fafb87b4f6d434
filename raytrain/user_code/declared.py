"""What functions of the user's take, as text: with it a run is read as it was written, and its code is not imported.

A recipe leaves out arguments that equal their default, and has the others in the order of the signature. A process that
may not import the code knows neither, unless the run says so.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from raytrain.user_code.calls import name_of, value_text
from raytrain.user_code.modules import imported
from raytrain.user_code.reference import reference_of
from raytrain.user_code.source import kept

Declared = dict[str, dict[str, str | None]]
"""Text of the default of each parameter, None where it has none, in the order of the signature; by reference."""

_KNOWN: Declared = {}


def declared(texts: Iterable[str]) -> Declared:
    """Return what the functions take that the texts of components name, of code that this process keeps."""
    found: Declared = {}
    for name in dict.fromkeys(map(name_of, texts)):
        reference = reference_of(name)
        if reference is None or kept(reference.digest) is None:
            continue
        try:
            parameters = inspect.signature(imported(reference)).parameters.values()
        except (TypeError, ValueError):  # it has no signature, and takes no arguments
            continue
        found[name] = {
            one.name: None if one.default is one.empty else value_text(one.default)
            for one in parameters
            if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}
        }
    return found


def remember(found: Declared) -> None:
    """Keep in this process what functions take."""
    _KNOWN.update(found)


def known(name: str) -> Mapping[str, str | None] | None:
    """Return what the function of a reference takes, as `declared` does; None where this process does not know it."""
    return _KNOWN.get(name)


def as_written(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as the run wrote them: in the order of the signature, without those that equal their default.

    Args:
        name: The reference, with its digest.
        arguments: Values by name; they stay as they are where this process does not know what the function takes.
    """
    parameters = _KNOWN.get(name)
    if parameters is None:
        return dict(arguments)
    in_order = {one: arguments[one] for one in parameters if one in arguments}
    return {one: value for one, value in {**in_order, **arguments}.items() if parameters.get(one) != value_text(value)}
