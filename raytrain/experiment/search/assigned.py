"""An argument of a component that has one value in all trials: `--set arch.depth=3`."""

from collections.abc import Mapping
from typing import Any

from raytrain.experiment.search.arguments import with_argument
from raytrain.experiment.search.written_grid import names
from raytrain.training.recipe import Recipe


def with_argument_set(values: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    """Return an experiment as a file says it, in which an argument has one value in all trials.

    It stands with the component that it is of: where the grid or an entry of `include` names it, else in the recipe.

    Args:
        values: Top-level keys; what is no grid or no recipe is left for others to refuse. An axis of that name has the
            value already.
        axis: Name of the argument: "arch.depth".
        value: Its value.

    Raises:
        ExperimentError: The component takes no arguments.
    """
    changed = dict(values)
    field = axis.partition(".")[0]
    grid, include, recipe = (values.get(section) or {} for section in ("grid", "include", "recipe"))
    axes = names(grid) if isinstance(grid, dict) else frozenset[str]()
    entries: list[Any] = include if isinstance(include, list) else []
    in_grid = axis in axes or field in axes
    if field in axes and axis not in axes:
        changed["grid"] = {**grid, axis: [value]}
    # without a grid, the recipe is a trial of its own only where nothing is included
    in_recipe = not in_grid and (
        bool(grid) or not all(isinstance(one, dict) and field in one for one in entries or [{}])
    )
    if in_recipe and isinstance(recipe, dict):
        before = recipe.get(field, Recipe.model_fields[field].default)
        changed["recipe"] = {**recipe, field: with_argument(before, axis, value)}
    if entries:
        changed["include"] = [
            _with_value(one, axis, value) if isinstance(one, dict) and (field in one or not in_recipe) else one
            for one in entries
        ]
    return changed


def _with_value(entry: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    """Return an entry of `include` with the value of an argument, in the component where the entry names it."""
    field = axis.partition(".")[0]
    if field not in entry:
        return {**entry, axis: value}
    others = {name: one for name, one in entry.items() if name != axis}
    return {**others, field: with_argument(entry[field], axis, value)}
