"""What a combination of a grid would have two values of, of which one would be dropped: an axis, or an argument."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from raytrain.experiment.search.arguments import is_argument
from raytrain.experiment.search.grid import Axis, Grid, branches, is_range
from raytrain.user_code.calls import parsed, written
from raytrain.user_code.reference import without_digest

Below = tuple[tuple[str, Any], ...]
"""The values that an axis depends on, each with its field, from the top: (("optimizer", "sgd"),)."""


class Repeated(NamedTuple):
    """An axis, or an argument, at two places that go together.

    Attributes:
        path: Keys from the top of the grid to the axis at the second place, such as ("optimizer", "sgd", "lr").
        message: What is wrong, and what to do.
    """

    path: tuple[str, ...]
    message: str


def repeated_axis(grid: Grid) -> Repeated | None:
    """Return the first axis that a combination would have at two places, or None where there is none.

    Below two values of one axis it may stand twice, because no combination has both values.
    """
    levels: dict[str, list[Below]] = {}
    for field, _, below in _occurrences(grid):
        levels.setdefault(field, []).append(below)
    for field, found in levels.items():
        for first, second in itertools.combinations(sorted(found, key=len), 2):
            if _go_together(first, second):
                return Repeated(
                    _path(field, second),
                    f"a grid takes an axis once, and {field} is one both {_position(first)} and {_position(second)}, "
                    "so that a combination would have two values of it; remove one of the two",
                )
    return None


def repeated_argument(grid: Grid, *, apart_from: Collection[str] = ()) -> Repeated | None:
    """Return the first axis of an argument that a value beside it names, too, or None where there is none.

    Args:
        grid: Axes with their values as they were written: a recipe keeps no argument that is the default.
        apart_from: Axes that may replace what values say.
    """
    occurrences = list(_occurrences(grid))
    arguments = [one for one in occurrences if is_argument(one[0]) and one[0] not in apart_from]
    for (name, _, below), (field, axis, above) in itertools.product(arguments, occurrences):
        component, _, argument = name.partition(".")
        if field != component or is_range(axis):
            continue
        for value, _ in branches(axis):
            if argument in _named_in(value, field) and _go_together(below, (*above, (field, value))):
                text = value if isinstance(value, str) else written(str(next(iter(value))), _named_in(value, field))
                return Repeated(
                    _path(name, below),
                    f"{without_digest(text)} gives {argument} itself, and {name} would replace it; remove one of the "
                    "two",
                )
    return None


def _named_in(component: object, field: str) -> Mapping[str, Any]:
    """Return the arguments that the value of a field names; none where it cannot be read."""
    try:
        _, arguments = parsed(component, what=field)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, Mapping) else {}


def _path(field: str, below: Below) -> tuple[str, ...]:
    return (*(str(step) for pair in below for step in pair), field)


def _occurrences(grid: Grid, below: Below = ()) -> Iterator[tuple[str, Axis, Below]]:
    for field, axis in grid.items():
        yield field, axis, below
        if not is_range(axis):
            for value, axes in branches(axis):
                yield from _occurrences(axes, (*below, (field, value)))


def _go_together(first: Below, second: Below) -> bool:
    values = dict(second)
    return all(values.get(field, value) == value for field, value in first)


def _position(below: Below) -> str:
    if not below:
        return "of its own"
    field, value = below[-1]
    return f"below {field}: {without_digest(str(value))}"
