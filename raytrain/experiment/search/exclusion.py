"""The entries of `exclude`: checked when an experiment is read, and matched with the recipes of the grid."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from raytrain.errors import ExperimentError, did_you_mean, unknown
from raytrain.experiment.search.arguments import COMPONENTS, is_argument
from raytrain.experiment.search.grid import Grid, values_of
from raytrain.training.choices import canonical
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of, parsed, value_text
from raytrain.user_code.reference import without_digest


def canonical_options(field: str, wanted: Any) -> Any:
    """Return the value in an entry of `exclude`, or each of those that it lists.

    Raises:
        ValueError: The field does not take one: nothing would match it.
    """
    if is_argument(field):
        return wanted
    several = isinstance(wanted, list) and (field != "augment" or any(isinstance(one, list) for one in wanted))
    if several:
        return [_canonical_option(field, one) for one in wanted]
    return _canonical_option(field, wanted)


def _canonical_option(field: str, wanted: Any) -> Any:
    if field not in Recipe.model_fields:
        raise ValueError(unknown(field, Recipe.model_fields, "recipe field"))
    option = canonical(field, wanted, strict=True)
    try:
        Recipe.model_validate({field: option})
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if found["loc"][:1] == (field,):  # not that it does not go with the other fields of the default recipe
                raise ValueError(f"{field}: {found['msg'].removeprefix('Value error, ')}, given {wanted!r}") from None
    return option


def matches(recipe: Recipe, entry: Mapping[str, Any]) -> bool:
    """Return whether a recipe has, in every field of an entry, the value of the entry or one of those it lists.

    A default counts: `arch.depth: 2` matches a component without arguments whose `depth` is 2 by default.
    """
    return all(
        _argument_equals_any(getattr(recipe, field.partition(".")[0]), field, wanted)
        if is_argument(field)
        else _equals_any(getattr(recipe, field), wanted)
        for field, wanted in entry.items()
    )


def values_match(values: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Return whether values of recipe fields and arguments, which need not be a valid recipe, match an entry."""
    return all(
        _argument_equals_any(values[field.partition(".")[0]], field, wanted, given=values)
        if is_argument(field)
        else _equals_any(canonical(field, values[field]), wanted)
        for field, wanted in entry.items()
    )


def _argument_equals_any(component: str, axis: str, wanted: Any, *, given: Mapping[str, Any] | None = None) -> bool:
    """Return whether an argument, of a combination or of a component, by default too, has a value or one of a list.

    Args:
        component: The component.
        axis: Name of the argument: "arch.depth".
        wanted: The value or values.
        given: Values of the combination by axis; they go before those of the component.
    """
    field, _, argument = axis.partition(".")
    try:
        name, arguments = parsed(component, what=field)
    except ValueError:
        return False
    if not isinstance(arguments, Mapping):  # of no recipe: a recipe names its arguments
        return False
    arguments = {**arguments, **({argument: given[axis]} if given and axis in given else {})}
    found = value_text(arguments[argument]) if argument in arguments else _defaults(field, name).get(argument)
    options = [wanted, *(wanted if isinstance(wanted, list | tuple) else [])]
    return found is not None and found in map(value_text, options)


def _defaults(field: str, name: str) -> Mapping[str, str | None]:
    return COMPONENTS[field].defaults(name) or {}


def _equals_any(value: object, wanted: object) -> bool:
    if isinstance(value, tuple):  # `augment` is itself a list: [crop] is a value, [[crop], []] are two
        options: list[Any] = wanted if isinstance(wanted, list) else [wanted]
        return any(list(value) == list(option) for option in options if isinstance(option, list | tuple))
    if isinstance(wanted, list | tuple):
        return value in wanted
    return value == wanted


def refuse_unknown_arguments(entries: Iterable[Mapping[str, Any]], grid: Grid, recipe: Recipe) -> None:
    """Refuse arguments in entries of `exclude` that no component of the grid takes: they would exclude nothing.

    Args:
        entries: The entries.
        grid: Axes of the experiment.
        recipe: Recipe that the combinations of the grid change.

    Raises:
        ExperimentError: There is such an argument.
    """
    for axis in dict.fromkeys(axis for entry in entries for axis in entry if is_argument(axis)):
        field = axis.partition(".")[0]
        # of the axis, not of what is drawn: few samples need not have all of them
        components = [*values_of(grid, field), *([] if field in grid else [getattr(recipe, field)])]
        named = {name_of(str(canonical(field, one))) for one in components}
        taken = [COMPONENTS[field].defaults(name) for name in named]
        known = {f"{field}.{one}" for arguments in taken if arguments is not None for one in arguments}
        if None not in taken and axis not in known:
            shown = ", ".join(sorted(map(without_digest, named)))
            said = did_you_mean(axis, known) or f"they take {', '.join(sorted(known)) or 'none'}"
            raise ExperimentError(f"exclude: {axis} is no argument of {shown}; {said}")
