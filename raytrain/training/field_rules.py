"""What the fields of a recipe mean beside each other: which contradict each other, and which change nothing."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from raytrain.models.architectures import WITHOUT_RESIDUAL_BLOCKS
from raytrain.models.libraries import LIBRARIES, library_model
from raytrain.training.choices import AUGMENT_CHOICES
from raytrain.training.initial.sources import NONE, PRETRAINED
from raytrain.user_code.calls import name_of
from raytrain.user_code.component import accepted
from raytrain.user_code.modules import imported
from raytrain.user_code.reference import reference_of, without_digest
from raytrain.user_code.source import kept

if TYPE_CHECKING:
    from raytrain.training.recipe import Recipe


_OWN_MOMENTUM = frozenset({"adam", "adamw"})
"""Optimizers that have momentum of their own: a recipe's `momentum` and `nesterov` have no effect."""
_OFFERED = {
    "arch": {"width": "width"},
    "mix": {"mix_alpha": "alpha"},
    "optimizer": {"momentum": "momentum", "nesterov": "nesterov"},
}
"""Fields whose values are offered to code of the user's, each with the parameter's name, by the field that names the
code."""


def contradictions(recipe: "Recipe") -> Iterator[str]:
    """Yield what is wrong with fields of a recipe that are valid each by itself: a sentence for each contradiction."""
    if recipe.decoupled_weight_decay and recipe.optimizer == "adam":
        yield "decoupled_weight_decay: true is for sgd, adamw and muon; adam divides the decay away"
    if recipe.nesterov and recipe.momentum == 0 and name_of(recipe.optimizer) not in _OWN_MOMENTUM:
        yield "nesterov: true needs a momentum above 0; momentum is 0"
    if recipe.warmup_epochs >= recipe.epochs:
        yield (
            f"warmup_epochs: {recipe.warmup_epochs:g} leaves no epoch after it; it must be below "
            f"epochs: {recipe.epochs}"
        )
    if recipe.schedule == "onecycle" and recipe.warmup_epochs:
        yield f"schedule: onecycle warms up by itself; set warmup_epochs: 0, given {recipe.warmup_epochs:g}"
    if recipe.mix_off_epochs > recipe.epochs:
        yield f"mix_off_epochs: {recipe.mix_off_epochs} is more than epochs: {recipe.epochs}"
    if recipe.freeze_epochs > recipe.epochs:
        yield f"freeze_epochs: {recipe.freeze_epochs} is more than epochs: {recipe.epochs}"
    if recipe.layer_decay != 1 and recipe.backbone_lr_factor != 1:
        yield (
            f"layer_decay: {recipe.layer_decay:g} and backbone_lr_factor: {recipe.backbone_lr_factor:g} both say how "
            "fast the backbone learns; give one of them (in a grid over both, `exclude` the pair)"
        )
    if recipe.layer_decay != 1 and name_of(recipe.optimizer) == "muon":
        yield (
            f"layer_decay: {recipe.layer_decay:g} is for sgd, adam, adamw and optimizers of your own, given "
            f"optimizer: {recipe.optimizer}; give backbone_lr_factor"
        )
    for name, arguments in map(AUGMENT_CHOICES.parsed, recipe.augment):
        if name == "crop" and arguments.get("mode") == "reflect" and arguments.get("padding", 4) >= recipe.image_size:
            yield (
                f"augment: crop with mode: reflect needs a padding below image_size: {recipe.image_size}, "
                f"given {arguments.get('padding', 4)}"
            )
    if recipe.class_weights == "balanced" and recipe.sampler == "balanced":
        yield (
            "class_weights: balanced and sampler: balanced would each make up for rare classes, together twice; "
            "give one of them (in a grid over both, `exclude` the pair)"
        )
    if recipe.class_weights != "none" and recipe.loss != "cross_entropy":
        yield f"class_weights: {recipe.class_weights} is for loss: cross_entropy, given {recipe.loss}"
    if recipe.init == PRETRAINED and not library_model(name_of(recipe.arch)):
        yield (
            f"init: pretrained is for networks of {' and '.join(sorted(LIBRARIES))}, given arch: {recipe.arch}; give "
            "such a network, or a file of weights"
        )
    if recipe.normalize == "weights" and not library_model(name_of(recipe.arch)):
        yield (
            f"normalize: weights is for networks of {' and '.join(sorted(LIBRARIES))}, given arch: {recipe.arch}; "
            "give data or imagenet"
        )
    if recipe.accumulate > recipe.batch_size:
        yield f"accumulate: {recipe.accumulate} is more than batch_size: {recipe.batch_size}"
    if recipe.mix != "none" and recipe.batch_size < 2:
        yield f"mix: {recipe.mix} needs a batch_size of 2 or more, given {recipe.batch_size}"


def is_same_course(recipe: "Recipe") -> bool:
    """Return whether the first epochs of a recipe are the same however many it has in all."""
    return bound_to_the_end(recipe) is None


def bound_to_the_end(recipe: "Recipe") -> str | None:
    """Return a field by which the first epochs depend on how many there are, as "schedule: cosine"; None without one.

    A learning rate that falls towards the end, mixing that ends some epochs before it, slow weights that are taken over
    there, and a resolution that changes after a share of the epochs, depend on where the end is.
    """
    if recipe.schedule != "constant":
        return f"schedule: {without_digest(recipe.schedule)}"
    if recipe.lookahead != "none":
        return f"lookahead: {recipe.lookahead}"
    if recipe.resolution:
        return f"resolution: {recipe.resolution}"
    if recipe.mix != "none" and recipe.mix_off_epochs:
        return f"mix_off_epochs: {recipe.mix_off_epochs}"
    return None


def not_taken(recipe: "Recipe") -> dict[str, str]:
    """Return the fields of a recipe that code of the user's does not take, each with the field that names the code.

    Asked where an experiment is read. They are not among those of `inert`, which is also asked of runs whose code may
    not be imported: which trials a run has must not depend on that.
    """
    found: dict[str, str] = {}
    for field, offered in _OFFERED.items():
        reference = reference_of(name_of(getattr(recipe, field)))
        if reference and kept(reference.digest):
            names = accepted(imported(reference))
            found |= {name: field for name, parameter in offered.items() if parameter not in names}
    return found


def inert(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a recipe that change nothing beside its others, each with the reason: "mix is none".

    Args:
        recipe: Every field of the recipe, by name.
    """
    optimizer = name_of(recipe["optimizer"])
    found: dict[str, str] = {}
    if optimizer in _OWN_MOMENTUM:
        found["momentum"] = found["nesterov"] = f"optimizer is {optimizer}, which has its own"
    found |= _inert_beside_mix(recipe)
    if recipe["weight_decay"] == 0:
        found["decoupled_weight_decay"] = "weight_decay is 0"
    if recipe["init"] == NONE:
        found["init_strict"] = "init is none"
    elif recipe["init_strict"]:
        found["zero_init_residual"] = "init gives these weights"
    arch = name_of(recipe["arch"])
    of_library = library_model(arch)
    if of_library:
        found["width"] = f"arch is {arch}, whose library sets it"
    if of_library or arch in WITHOUT_RESIDUAL_BLOCKS:
        found["zero_init_residual"] = f"arch is {arch}, which starts as it is built"
    if recipe["tta"] == "none":
        found["tta_below"] = "tta is none"
    if recipe["freeze_epochs"] == recipe["epochs"]:
        found["backbone_lr_factor"] = found["layer_decay"] = "the backbone is frozen throughout"
    return found


def _inert_beside_mix(recipe: Mapping[str, Any]) -> dict[str, str]:
    if recipe["mix"] == "none":
        return dict.fromkeys(("mix_alpha", "mix_prob", "mix_off_epochs", "mix_smoothing"), "mix is none")
    found: dict[str, str] = {}
    if recipe["label_smoothing"] == 0:
        found["mix_smoothing"] = "label_smoothing is 0"
    if recipe["mix_prob"] == 1 and recipe["mix_off_epochs"] == 0 and not recipe["mix_smoothing"]:
        found["label_smoothing"] = "every batch is mixed, and mix_smoothing is false"
    # no batch is mixed: then the kind of mixing has no effect either
    if recipe["mix_prob"] == 0:
        found |= dict.fromkeys(("mix", "mix_alpha", "mix_off_epochs", "mix_smoothing"), "mix_prob is 0")
    if recipe["mix_off_epochs"] == recipe["epochs"]:
        found |= dict.fromkeys(("mix", "mix_alpha", "mix_prob", "mix_smoothing"), "mix_off_epochs covers all epochs")
    return found
