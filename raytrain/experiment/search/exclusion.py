"""The entries of `exclude`: checked when an experiment is read, and matched with the recipes of the grid."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from raytrain.training.choices import canonical
from raytrain.training.recipe import Recipe


def canonical_options(field: str, wanted: Any) -> Any:
    """Return the value in an entry of `exclude`, or each of those that it lists.

    Raises:
        ValueError: The field does not take one: nothing would match it.
    """
    several = isinstance(wanted, list) and (field != "augment" or any(isinstance(one, list) for one in wanted))
    if several:
        return [_canonical_option(field, one) for one in wanted]
    return _canonical_option(field, wanted)


def _canonical_option(field: str, wanted: Any) -> Any:
    option = canonical(field, wanted, strict=True)
    try:
        Recipe.model_validate({field: option})
    except ValidationError as error:
        for found in error.errors(include_url=False):
            if found["loc"][:1] == (field,):  # not that it does not go with the other fields of the default recipe
                raise ValueError(f"{field}: {found['msg'].removeprefix('Value error, ')}, given {wanted!r}") from None
    return option


def matches(recipe: Recipe, entry: Mapping[str, Any]) -> bool:
    """Return whether a recipe has, in every field of an entry, the value of the entry or one of those it lists."""
    return all(_equals_any(getattr(recipe, field), wanted) for field, wanted in entry.items())


def values_match(values: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Return whether values of recipe fields, which need not be a valid recipe together, match an entry."""
    return all(_equals_any(canonical(field, values[field]), wanted) for field, wanted in entry.items())


def _equals_any(value: object, wanted: object) -> bool:
    if isinstance(value, tuple):  # `augment` is itself a list: [crop] is a value, [[crop], []] are two
        options: list[Any] = wanted if isinstance(wanted, list) else [wanted]
        return any(list(value) == list(option) for option in options if isinstance(option, list | tuple))
    if isinstance(wanted, list | tuple):
        return value in wanted
    return value == wanted
