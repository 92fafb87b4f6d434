"""An axis that a combination would have at two places of a grid, of which one would be dropped."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from raytrain.experiment.search.grid import Grid, branches, is_range
from raytrain.user_code.reference import without_digest

Below = tuple[tuple[str, Any], ...]
"""The values that an axis depends on, each with its field, from the top: (("optimizer", "sgd"),)."""


class Repeated(NamedTuple):
    """An axis at two places that go together.

    Attributes:
        path: Keys from the top of the grid to the second place, such as ("optimizer", "sgd", "lr").
        message: What is wrong, and what to do.
    """

    path: tuple[str, ...]
    message: str


def repeated_axis(grid: Grid) -> Repeated | None:
    """Return the first axis that a combination would have at two places, or None where there is none.

    Below two values of one axis it may stand twice, because no combination has both values.
    """
    places: dict[str, list[Below]] = {}
    for field, below in _places(grid):
        places.setdefault(field, []).append(below)
    for field, found in places.items():
        for first, second in itertools.combinations(sorted(found, key=len), 2):
            if _go_together(first, second):
                path = (*(str(step) for pair in second for step in pair), field)
                return Repeated(
                    path,
                    f"a grid takes an axis once, and {field} is one both {_shown(first)} and {_shown(second)}, so that "
                    "a combination would have two values of it; remove one of the two",
                )
    return None


def _places(grid: Grid, below: Below = ()) -> Iterator[tuple[str, Below]]:
    for field, axis in grid.items():
        yield field, below
        if not is_range(axis):
            for value, axes in branches(axis):
                yield from _places(axes, (*below, (field, value)))


def _go_together(first: Below, second: Below) -> bool:
    values = dict(second)
    return all(values.get(field, value) == value for field, value in first)


def _shown(below: Below) -> str:
    if not below:
        return "of its own"
    field, value = below[-1]
    return f"below {field}: {without_digest(str(value))}"
