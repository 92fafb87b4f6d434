"""A combination of a grid, or an entry of `include`, as a recipe: the experiment's own one with some values changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from raytrain.errors import ExperimentError
from raytrain.experiment.search.arguments import with_arguments
from raytrain.experiment.search.exclusion import matches, values_match
from raytrain.training.field_rules import inert
from raytrain.training.recipe import Recipe


class CombinationError(ExperimentError):
    """A combination of the grid, or an entry of `include`, is no valid recipe."""

    def __init__(self, changes: dict[str, Any], cause: ValidationError) -> None:
        self.changes = changes
        self.cause = cause
        first = cause.errors()[0]
        super().__init__(f"{changes}: {'.'.join(map(str, first['loc']))} {first['msg']}".strip())


def combined(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with the values of a combination.

    Args:
        recipe: Recipe that all trials start from.
        values: Values by recipe field, or by an argument of its component.

    Raises:
        CombinationError: They make no valid recipe.
        ExperimentError: A component takes no arguments.
    """
    try:
        return recipe.replace(**with_arguments(values, recipe))
    except ValidationError as error:
        raise CombinationError(dict(values), error) from error


def combined_unless_excluded(
    recipe: Recipe, values: Mapping[str, Any], *, exclude: Sequence[Mapping[str, Any]]
) -> Recipe | None:
    """Return a recipe with the values of a combination; None if it is excluded, and it then need not be valid.

    Args:
        recipe: Recipe that all trials start from.
        values: Values by recipe field, or by an argument of its component.
        exclude: Combinations to leave out.

    Raises:
        CombinationError: The values make no valid recipe.
        ExperimentError: A component takes no arguments.
    """
    try:
        made = combined(recipe, values)
    except ExperimentError:
        changed = recipe.model_dump() | dict(values)
        if any(values_match(changed, entry) for entry in exclude):
            return None
        raise
    return None if any(matches(made, entry) for entry in exclude) else made


def why_the_same(recipes: Sequence[Recipe], *, listed: str) -> str:
    """Return why some of the recipes train the same as another: a reason for each field in which these differ.

    Args:
        recipes: The recipes.
        listed: How they came about, for those that are equal: "drawn" or "listed".
    """
    by_effect: dict[tuple[Any, ...], list[Recipe]] = {}
    for recipe in recipes:
        by_effect.setdefault(recipe.effect, []).append(recipe)
    several = [same for same in by_effect.values() if len(same) > 1]
    reasons: set[str] = set()
    for same in several:
        differing = {name for name, value in vars(same[0]).items() if any(getattr(one, name) != value for one in same)}
        found = (pair for one in same for pair in inert(vars(one)).items())
        reasons |= {f"{field} has no effect where {reason}" for field, reason in found if field in differing}
    equal = any(len(set(same)) < len(same) for same in several)
    return "; ".join([*sorted(reasons), *([f"the same values are {listed} more than once"] if equal else [])])


def plain(recipe: Recipe, *, like: Recipe) -> Recipe:
    """Return a recipe that trains the same, in which fields without effect have the values that another one has.

    Args:
        recipe: The recipe.
        like: Recipe whose values are taken; where they would be no valid recipe, or train otherwise, none are.
    """
    fields, values = vars(recipe), vars(like)
    # again: a field may have no effect only where another one has the new value, as mix_prob beside mix: none
    while changed := {name: values[name] for name in inert(fields) if fields[name] != values[name]}:
        fields = fields | changed
    if fields == vars(recipe):
        return recipe
    try:
        made = recipe.replace(**fields)
    except ValidationError:
        return recipe
    return made if made.effect == recipe.effect else recipe
