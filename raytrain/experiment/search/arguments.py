"""Arguments of a component as axes of a grid: `arch.depth: [3, 5]` beside `arch: my_net.py:MyNet`."""

from collections.abc import Mapping
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.training.choices import is_user_code
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of, parsed
from raytrain.user_code.reference import without_digest

FIELDS = ("arch", "optimizer", "schedule", "loss", "mix", "dataset")
"""Recipe fields that name one component, which may have arguments."""
ONLY_USER_CODE = ("mix", "dataset")
"""Those in which only code of the user's own takes arguments."""


def is_argument(axis: str) -> bool:
    """Return whether the name of an axis is that of an argument, such as `arch.depth`."""
    field, _, argument = axis.partition(".")
    return field in FIELDS and argument.isidentifier()


def with_arguments(changes: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Return changes of recipe fields, with the values of arguments put into the components that they are of.

    Args:
        changes: Values by recipe field or argument: {"arch.depth": 3}.
        recipe: Recipe that is changed, whose components the arguments are of where the changes name no other.

    Raises:
        ExperimentError: A component takes no arguments.
    """
    fields = {name: value for name, value in changes.items() if not is_argument(name)}
    for axis, value in changes.items():
        if axis in fields:
            continue
        field, _, argument = axis.partition(".")
        component = fields.get(field, getattr(recipe, field))
        if field in ONLY_USER_CODE and not is_user_code(component):
            raise ExperimentError(f"{axis}: {field} {component} takes no arguments; remove the axis")
        name, arguments = parsed(component, what=field)
        if not isinstance(arguments, Mapping):
            raise ExperimentError(
                f"{axis}: {without_digest(name_of(name))} has an argument without a name; give it as "
                f"{{argument: {arguments}}}"
            )
        fields[field] = {name: {**arguments, argument: value}}
    return fields
