"""Arguments of a component as axes of a grid: `arch.depth: [3, 5]` beside `arch: my_net.py:MyNet`.

So they stand in entries of `include` and `exclude`, and in `--set arch.depth=3`, too.
"""

from collections.abc import Mapping
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.training.choices import (
    ARCH_CHOICES,
    DATASET_CHOICES,
    LOOKAHEAD_CHOICES,
    LOSS_CHOICES,
    MIX_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
    is_user_code,
)
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of, parsed
from raytrain.user_code.component import Components
from raytrain.user_code.reference import without_digest

COMPONENTS: Mapping[str, Components] = {
    "arch": ARCH_CHOICES,
    "optimizer": OPTIMIZER_CHOICES,
    "schedule": SCHEDULE_CHOICES,
    "lookahead": LOOKAHEAD_CHOICES,
    "loss": LOSS_CHOICES,
    "mix": MIX_CHOICES,
    "dataset": DATASET_CHOICES,
}
"""Recipe fields that name one component, which may have arguments."""
FIELDS = tuple(COMPONENTS)
ONLY_USER_CODE = ("mix", "dataset")
"""Recipe fields in which only code of the user's own takes arguments."""


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
        field = axis.partition(".")[0]
        if axis not in fields:
            fields[field] = with_argument(fields.get(field, getattr(recipe, field)), axis, value)
    return fields


def with_argument(component: Any, axis: str, value: Any) -> Any:
    """Return a component with a further argument; one that cannot be read stays as it is, for others to refuse.

    Args:
        component: Name, text, or a mapping of the name to its arguments.
        axis: Name of the argument: "arch.depth".
        value: Its value.

    Raises:
        ExperimentError: The component takes no arguments.
    """
    field, _, argument = axis.partition(".")
    if field in ONLY_USER_CODE and not is_user_code(component):
        raise ExperimentError(f"{axis}: {field} {component} takes no arguments; leave {axis} out")
    try:
        name, arguments = parsed(component, what=field)
    except ValueError:
        return component
    if not isinstance(arguments, Mapping):
        raise ExperimentError(
            f"{axis}: {without_digest(name_of(name))} has an argument without a name; give it as "
            f"{{argument: {arguments}}}"
        )
    return {name: {**arguments, argument: value}}
