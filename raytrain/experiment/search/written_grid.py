"""A grid as a file or a command line says it, before its axes are checked."""

from collections.abc import Collection, Mapping
from typing import Any

from raytrain.experiment.search.grid import RANGES, Axis, value_of_key


def names(grid: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the axes of a grid as a file says it, dependent ones too."""
    below = [
        names(axes)
        for axis in grid.values()
        if _has_axes_below(axis)
        for axes in axis.values()
        if isinstance(axes, Mapping)
    ]
    return frozenset(grid).union(*below)


def as_written(grid: Mapping[str, Any]) -> dict[str, Axis]:
    """Return a grid in the form that experiments keep, with its values as a file says them.

    Args:
        grid: Axes as the file says them, which have been checked.
    """
    return {str(field): _axis_as_written(axis) for field, axis in grid.items()}


def _axis_as_written(axis: Any) -> Axis:
    if _has_axes_below(axis):
        return {value: as_written(below or {}) for value, below in axis.items()}
    if isinstance(axis, Mapping):
        return tuple(axis["choice"]) if "choice" in axis else dict(axis)
    return tuple(axis)


def _has_axes_below(axis: object) -> bool:
    return isinstance(axis, Mapping) and not (set(axis) <= {*RANGES, "choice"})


def without_dependent(grid: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a grid as a file says it, without the axes of some fields where they depend on another one."""
    return {
        field: {
            value: without_dependent({name: one for name, one in below.items() if name not in names}, names)
            if isinstance(below, Mapping)
            else below
            for value, below in axis.items()
        }
        if _has_axes_below(axis)
        else axis
        for field, axis in grid.items()
    }


def with_values(grid: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a grid as a file says it, with the axes of some fields replaced by a single value, dependent ones too.

    Args:
        grid: Axes as the file says them; what is no axis is left for `checked_axis` to refuse.
        values: Value of each field.
    """
    fixed: dict[str, Any] = {}
    for field, axis in grid.items():
        conditional = _has_axes_below(axis)
        given = [key for key in axis if _same(value_of_key(field, key), values.get(field))] if conditional else []
        if given:  # the axes below that value stay
            below = axis[given[0]]
            fixed[field] = {given[0]: with_values(below, values) if isinstance(below, Mapping) else below}
        elif field in values:
            fixed[field] = [values[field]]
        elif conditional:
            fixed[field] = {
                value: with_values(below, values) if isinstance(below, Mapping) else below
                for value, below in axis.items()
            }
        else:
            fixed[field] = axis
    return fixed


def _same(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)  # 1 is not true
