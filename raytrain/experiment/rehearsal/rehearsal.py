"""Code that is not raytrain's, called once before anything starts, on images of noise: what does not fit is said."""

from collections.abc import Callable, Iterable
from functools import partial

from raytrain.data.augmentation.resolution import resolution_of
from raytrain.errors import ExperimentError
from raytrain.experiment.rehearsal.network import IMAGES, network_fault
from raytrain.experiment.rehearsal.parts import (
    augmentation_fault,
    loss_fault,
    mix_fault,
    optimizer_fault,
    schedule_fault,
)
from raytrain.models.libraries import library_model
from raytrain.training.choices import (
    ARCH_CHOICES,
    AUGMENT_CHOICES,
    LOSS_CHOICES,
    MIX_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
)
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.component import Components
from raytrain.user_code.isolation import isolated
from raytrain.user_code.modules import definition, explained, imported
from raytrain.user_code.reference import reference_of
from raytrain.user_code.source import kept


def rehearse(recipes: Iterable[tuple[Recipe, int]], *, workers: int = 1) -> None:
    """Call each piece of the user's code that recipes name, each once for the shapes that it will meet.

    Args:
        recipes: Recipes, each with its number of classes.
        workers: Largest number of workers of one trial.

    Raises:
        ExperimentError: It fails, or returns something else than it must; the message names file and line.
    """
    done: set[tuple[object, ...]] = set()
    augmented: dict[tuple[object, ...], tuple[int, int]] = {}
    for recipe, classes in recipes:
        library = library_model(name_of(recipe.arch))
        if not recipe.user_code and not library:
            continue
        chain = (recipe.augment, recipe.image_size)
        if chain not in augmented:
            augmented[chain] = _augmented(recipe)
        sizes = _sizes(recipe, augmented[chain])
        several = workers > 1 and recipe.freeze_epochs < recipe.epochs  # a backbone that stays frozen has no gradients
        calls: list[tuple[Components, str, Callable[[], str | None]]] = [
            (ARCH_CHOICES, recipe.arch, partial(network_fault, recipe, classes, sizes, several_workers=several)),
            (MIX_CHOICES, recipe.mix, partial(mix_fault, recipe, classes)),
            (OPTIMIZER_CHOICES, recipe.optimizer, partial(optimizer_fault, recipe)),
            (SCHEDULE_CHOICES, recipe.schedule, partial(schedule_fault, recipe)),
            (LOSS_CHOICES, recipe.loss, partial(loss_fault, recipe, classes)),
        ]
        for components, text, call in calls:
            mixed = (recipe.mix != "none", recipe.mix_alpha)  # a loss then meets mixed targets
            shapes = (classes, recipe.width, recipe.image_size, recipe.channels_last, tuple(sizes))
            network = (recipe.sync_batchnorm, several, recipe.ema_decay > 0)
            key = (components.what, text, shapes, recipe.label_smoothing, mixed, network)
            if key in done:
                continue
            done.add(key)
            if reference_of(name_of(text)):
                _called(components.what, text, call)
            elif library and components is ARCH_CHOICES:
                _built(components.what, text, call)


def _augmented(recipe: Recipe) -> tuple[int, int]:
    """Call the augmentations of a recipe, each on what the one before returns; return the last height and width."""
    import torch

    shape = (IMAGES, recipe.image_size, recipe.image_size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = [pixels.permute(0, 3, 1, 2)]
    for text in recipe.augment:
        tried = _called if reference_of(name_of(text)) else _built
        tried(AUGMENT_CHOICES.what, text, partial(augmentation_fault, text, images, seed=recipe.seed))
    height, width = images[-1].shape[2:]
    return height, width


def _sizes(recipe: Recipe, augmented: tuple[int, int]) -> list[tuple[int, int]]:
    """Return height and width of the images that a network is given, in training and then in evaluation."""
    full, epochs = recipe.image_size, recipe.epochs
    trained = [augmented]
    if recipe.resolution:
        pixels = (resolution_of(recipe.resolution, epoch=one, epochs=epochs, full=full) for one in range(epochs))
        trained = [(one, one) for one in pixels]
    return list(dict.fromkeys([*trained, (full, full)]))


def _called(what: str, text: str, call: Callable[[], str | None]) -> None:
    reference = reference_of(name_of(text))
    source = kept(reference.digest) if reference else None
    assert reference, "only the user's code is rehearsed"
    function = imported(reference)
    assert source, "what was imported is kept"
    where = definition(function, reference)
    try:
        with isolated() as changed:
            problem = call()
    except (Exception, SystemExit) as error:
        reason = explained(error, source, otherwise=where)
        raise ExperimentError(f"{what} {reference.attribute}: {_with_notes(reason, error)}") from error
    if changed and not problem:
        problem = f"sets {changed[0]}; leave it out: other trials would change with it"
    if problem:
        raise ExperimentError(f"{where}: {what} {reference.attribute} {problem}")


def _built(what: str, text: str, call: Callable[[], str | None]) -> None:
    try:
        problem = call()
    except ExperimentError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ExperimentError(f"{what} {text}: {type(error).__name__}: {_with_notes(reason, error)}") from error
    if problem:
        raise ExperimentError(f"{what} {text} {problem}")


def _with_notes(reason: str, error: BaseException) -> str:
    return "; ".join([reason.rstrip("."), *notes]) if (notes := getattr(error, "__notes__", [])) else reason
