"""What the fields of a recipe that name components may say, and the form in which a recipe keeps it.

The network that `arch` names is built here, and its size is counted.

The functions themselves live where their kind does: architectures in `raytrain.models`, augmentations in
`raytrain.data.augmentation.augment`, optimizers and schedules in `raytrain.optim`, losses in `raytrain.optim.losses`.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from raytrain.data.augmentation.augment import AUGMENTS
from raytrain.data.augmentation.mixing import MIXES
from raytrain.data.augmentation.resolution import canonical_resolution
from raytrain.data.layouts.background import canonical_background
from raytrain.data.layouts.columns import canonical_columns
from raytrain.data.named import DATASETS
from raytrain.models.architectures import ARCHITECTURES, forward_flops, parameter_count
from raytrain.models.libraries import LIBRARIES
from raytrain.optim.lookahead import LOOKAHEADS
from raytrain.optim.losses import LOSSES
from raytrain.optim.optimizers import OPTIMIZERS, OptimizerEntry
from raytrain.optim.schedules import SCHEDULES
from raytrain.training.initial.sources import canonical_init
from raytrain.user_code.calls import name_of
from raytrain.user_code.component import Components, one_of
from raytrain.user_code.reference import reference_of

if TYPE_CHECKING:
    from torch import nn

    from raytrain.training.recipe import Recipe

USER_MOMENTS = 3
"""Numbers for each parameter that an optimizer of the user's is taken to keep at most, to see whether the disk is large
enough."""

ARCH_CHOICES = Components(
    "architecture",
    ARCHITECTURES,
    supplied=frozenset({"width"}),
    supplied_to_user_code=frozenset({"num_classes", "image_size", "in_channels"}),
    libraries=LIBRARIES,
)
AUGMENT_CHOICES = Components(
    "augmentation", AUGMENTS, supplied=frozenset({"generator", "index", "epoch", "seed"}), leading=1
)
MIX_CHOICES = Components("mix", MIXES, supplied=frozenset({"num_classes", "alpha", "generator"}), leading=2)
OPTIMIZER_CHOICES = Components(
    "optimizer",
    OPTIMIZERS,
    supplied=frozenset({"lr", "momentum", "nesterov"}),
    leading=1,
    entry_of=lambda function: OptimizerEntry(function, moments=USER_MOMENTS),
)
SCHEDULE_CHOICES = Components("schedule", SCHEDULES, leading=1)
LOOKAHEAD_CHOICES = Components("lookahead", LOOKAHEADS, leading=1)
LOSS_CHOICES = Components("loss", LOSSES, supplied=frozenset({"num_classes", "label_smoothing"}), leading=2)
DATASET_CHOICES = Components("data set", {}, supplied=frozenset({"image_size"}))


def build_network(arch: str, *, num_classes: int, width: int, image_size: int) -> "nn.Module":
    """Return the network of an architecture, its weights at random from PyTorch's generator of this process.

    Args:
        arch: Text of the architecture, as a recipe keeps it.
        num_classes: Number of outputs.
        width: The recipe's `width`.
        image_size: Height and width of the images in pixels.
    """
    return ARCH_CHOICES.call(arch, num_classes=num_classes, width=width, image_size=image_size, in_channels=3)


@dataclass(frozen=True)
class ModelSize:
    """The size of a model.

    Attributes:
        parameters: Number of trainable parameters.
        forward_flops: Number of floating-point operations in the forward pass of one image.
    """

    parameters: int
    forward_flops: int


def model_size(recipe: "Recipe", num_classes: int) -> ModelSize:
    """Return the size of a recipe's model, without building its weights."""
    return _model_size(recipe.arch, recipe.width, recipe.image_size, num_classes)


@cache
def _model_size(arch: str, width: int, image_size: int, num_classes: int) -> ModelSize:
    import torch  # takes 1.5 s, and commands that only read results need no size

    def sized() -> ModelSize:
        with torch.device("meta"):
            model = build_network(arch, num_classes=num_classes, width=width, image_size=image_size)
        # out of the context, within which PyTorch imports its compiler
        return ModelSize(parameter_count(model), forward_flops(model, image_size))

    if name_of(arch) in ARCH_CHOICES.entries:
        return sized()
    with contextlib.suppress(Exception):  # whatever a network of others does when it is built
        return sized()
    model = build_network(arch, num_classes=num_classes, width=width, image_size=image_size)
    parameters = parameter_count(model)
    # in a linear layer each parameter is multiplied and added once
    return ModelSize(parameters, max(1, 2 * parameters))


def as_tuple(value: object) -> object:
    """Return a list as a tuple, and anything else as it is: YAML has lists, frozen models have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _augment_text(value: object) -> object:
    if isinstance(value, str | Mapping) or not isinstance(value, list | tuple):
        return value  # no list: pydantic says so
    return tuple(AUGMENT_CHOICES.canonical(each) for each in value)


def _mix_text(value: object) -> object:
    return value if value == "none" else MIX_CHOICES.canonical(value) if is_user_code(value) else value


def _lookahead_text(value: object) -> object:
    """Return the text of a Lookahead; code of the user's is refused as any other unknown name."""
    if is_user_code(value):
        name = str(next(iter(value)) if isinstance(value, Mapping) else name_of(str(value)))
        return one_of(name, LOOKAHEADS, what="lookahead")
    return LOOKAHEAD_CHOICES.canonical(value)


def _dataset_text(value: object) -> object:
    """Return the text of a function of the user's; a name, a path or a URI stays as it is."""
    return DATASET_CHOICES.canonical(value) if is_user_code(value) else value


def is_user_code(value: object) -> bool:
    """Return whether the value of a field, text or a mapping from a name to arguments, names code of the user's own."""
    name = next(iter(value), "") if isinstance(value, Mapping) else name_of(value) if isinstance(value, str) else ""
    return reference_of(str(name)) is not None


CANONICAL: dict[str, Callable[[Any], Any]] = {
    "arch": ARCH_CHOICES.canonical,
    "augment": _augment_text,
    "optimizer": OPTIMIZER_CHOICES.canonical,
    "schedule": SCHEDULE_CHOICES.canonical,
    "lookahead": _lookahead_text,
    "resolution": canonical_resolution,
    "mix": _mix_text,
    "dataset": _dataset_text,
    "loss": LOSS_CHOICES.canonical,
    "columns": canonical_columns,
    "background": canonical_background,
    "init": canonical_init,
}

TAKE_USER_CODE = ("arch", "augment", "mix", "optimizer", "schedule", "loss", "dataset")
"""Recipe fields in which a name may stand for code of the user's own."""

BUILT_IN: Mapping[str, Collection[str]] = {
    "arch": ARCHITECTURES,
    "augment": AUGMENTS,
    "dataset": DATASETS,
    "loss": LOSSES,
    "mix": ("none", *MIXES),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "lookahead": LOOKAHEADS,
}
"""Names of raytrain's own, by recipe field; a package may give others."""


def canonical(field: str, value: Any, *, strict: bool = False) -> Any:
    """Return the value of a recipe field in the form that recipes keep: components with arguments as text.

    Args:
        field: Name of the field.
        value: Value as a file gives it.
        strict: Whether a value that the field does not take is an error; else it is returned as it is.

    Raises:
        ValueError: With `strict`, the field does not take the value.
    """
    try:
        return CANONICAL[field](value) if field in CANONICAL else value
    except ValueError:
        if strict:
            raise
        return value
