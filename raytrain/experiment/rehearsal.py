"""Code that is not raytrain's, called once before anything starts, on images of noise: what does not fit is said."""

import io
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.models.libraries import library_model
from raytrain.training.choices import (
    ARCHS,
    AUGMENTATIONS,
    LOSS_CHOICES,
    MIX_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
    build_network,
)
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.component import Components, accepted
from raytrain.user_code.isolation import isolated
from raytrain.user_code.modules import definition, explained, imported
from raytrain.user_code.reference import reference_of
from raytrain.user_code.source import kept

IMAGES = 2
"""Number of images of a rehearsal: BatchNorm needs more than one."""
STEPS = 100
"""Number of equal steps from 0 to 1 at whose ends a schedule is called."""
BRIGHTEST = 10.0
"""Largest float in an augmented image: noise may go beyond [0, 1]; pixels that were not divided by 255 go further."""
LARGEST = 100_000_000
"""Most parameters of a network whose logits are computed, 400 MB; of a larger one only their shape is looked at."""

NO_VIEW = "view size is not compatible"
"""What PyTorch says where `view` is asked for what the memory order does not allow."""
WITHOUT_VIEW = "images lie in channels_last memory: use reshape or flatten, or set channels_last: false"


def rehearse(recipes: Iterable[tuple[Recipe, int]]) -> None:
    """Call each piece of the user's code that recipes name, each once for the shapes that it will meet.

    Args:
        recipes: Recipes, each with its number of classes.

    Raises:
        ExperimentError: It fails, or returns something else than it must; the message names file and line.
    """
    done: set[tuple[object, ...]] = set()
    for recipe, classes in recipes:
        library = library_model(name_of(recipe.arch))
        if not recipe.user_code and not library:
            continue
        calls: list[tuple[Components, str, Callable[[], str | None]]] = [
            (ARCHS, recipe.arch, partial(_network, recipe, classes)),
            *((AUGMENTATIONS, one, partial(_augmentation, one, recipe)) for one in recipe.augment),
            (MIX_CHOICES, recipe.mix, partial(_mix, recipe, classes)),
            (OPTIMIZER_CHOICES, recipe.optimizer, partial(_optimizer, recipe)),
            (SCHEDULE_CHOICES, recipe.schedule, partial(_schedule, recipe)),
            (LOSS_CHOICES, recipe.loss, partial(_loss, recipe, classes)),
        ]
        for components, text, call in calls:
            mixed = (recipe.mix != "none", recipe.mix_alpha)  # a loss then meets mixed targets
            sizes = (classes, recipe.width, recipe.image_size, recipe.channels_last)
            key = (components.what, text, *sizes, recipe.label_smoothing, mixed, recipe.sync_batchnorm)
            if key in done:
                continue
            done.add(key)
            if reference_of(name_of(text)):
                _called(components.what, text, call)
            elif library and components is ARCHS:
                _built(text, call)


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


def _built(text: str, call: Callable[[], str | None]) -> None:
    try:
        problem = call()
    except ExperimentError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        raise ExperimentError(f"architecture {text}: {type(error).__name__}: {_with_notes(reason, error)}") from error
    if problem:
        raise ExperimentError(f"architecture {text} {problem}")


def _with_notes(reason: str, error: BaseException) -> str:
    return "; ".join([reason.rstrip("."), *notes]) if (notes := getattr(error, "__notes__", [])) else reason


def _network(recipe: Recipe, classes: int) -> str | None:
    import torch

    from raytrain.models.sync_batchnorm import not_synchronisable

    size = recipe.image_size
    shape = (IMAGES, 3, size, size)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format

    def tried() -> tuple[Any, Any]:
        network: Any = build_network(recipe.arch, num_classes=classes, width=recipe.width, image_size=size)
        if not isinstance(network, torch.nn.Module):
            return network, None
        placed: Any = network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        try:
            return network, placed(torch.randn(shape).to(memory_format=layout))
        except RuntimeError as error:
            if recipe.channels_last and NO_VIEW in str(error):
                error.add_note(WITHOUT_VIEW)
            raise

    def tried_on_the_processor() -> tuple[Any, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return tried()

    try:
        with torch.device("meta"):
            network, logits = tried()
    except Exception:  # noqa: BLE001 (some code needs numbers; what is wrong with it shows on the CPU)
        network, logits = tried_on_the_processor()
    if not isinstance(network, torch.nn.Module):
        return f"makes {_kind(network)}; it must make a torch.nn.Module that maps (N, 3, H, W) to (N, num_classes)"
    if not isinstance(logits, torch.Tensor):
        return f"returns {_kind(logits)} for images of {shape}; it must return one tensor, {(IMAGES, classes)}"
    if tuple(logits.shape) != (IMAGES, classes):
        return (
            f"returns {tuple(logits.shape)} for images of {shape}; it must return "
            f"{(IMAGES, classes)}: a number for each of the {classes} classes, which it is given as num_classes"
        )
    if not logits.is_floating_point():
        return f"returns {logits.dtype}; it must return floats, the logits: argmax and the like come after it"
    if recipe.sync_batchnorm and (problem := not_synchronisable(network)):
        return problem
    parameters = list(network.parameters())
    if not any(one.requires_grad for one in parameters):
        return "has no parameters to train; make layers with weights attributes of the network"
    if reference_of(name_of(recipe.arch)) and not logits.requires_grad:
        return "returns logits without a gradient; leave out detach() and torch.no_grad()"
    if reference_of(name_of(recipe.arch)) and sum(one.numel() for one in parameters) <= LARGEST:
        numbers = tried_on_the_processor()[1] if logits.is_meta else logits
        if not numbers.isfinite().all():
            return "returns numbers that are not finite for images of noise; it must return finite logits"
    return None


def _augmentation(text: str, recipe: Recipe) -> str | None:
    import torch

    shape = (IMAGES, 3, recipe.image_size, recipe.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    offered = {"generator": torch.Generator(), "index": torch.arange(IMAGES), "epoch": 0, "seed": recipe.seed}
    returned = AUGMENTATIONS.call(text, images, **offered)
    if not isinstance(returned, torch.Tensor):
        return f"returns {_kind(returned)}; it must return images, as it is given them"
    if returned.shape[:2] != images.shape[:2] or returned.ndim != 4:
        return f"returns {tuple(returned.shape)} for images of {tuple(images.shape)}; it must return (N, 3, H, W)"
    if returned.dtype != torch.uint8 and not returned.is_floating_point():
        return f"returns {returned.dtype}; it must return uint8 in [0, 255], or floats in [0, 1]"
    if returned.is_floating_point() and not returned.abs().max() <= BRIGHTEST:  # also where it is NaN
        return f"returns floats up to {returned.abs().max():.4g}; it must return floats in [0, 1], or uint8 in [0, 255]"
    return None


def _mix(recipe: Recipe, classes: int) -> str | None:
    import torch

    images = torch.zeros(IMAGES, 3, recipe.image_size, recipe.image_size)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    offered = {"num_classes": classes, "alpha": recipe.mix_alpha, "generator": torch.Generator()}
    returned = MIX_CHOICES.call(recipe.mix, images, labels, **offered)
    if not isinstance(returned, tuple) or len(returned) != 2:
        return f"returns {_kind(returned)}; it must return images and targets"
    shapes = [tuple(getattr(one, "shape", ())) for one in returned]
    if shapes != [tuple(images.shape), (IMAGES, classes)]:
        return f"returns {shapes[0]} and {shapes[1]}; it must return {tuple(images.shape)} and {(IMAGES, classes)}"
    if not all(isinstance(one, torch.Tensor) for one in returned):
        return f"returns {_kind(returned[0])} and {_kind(returned[1])}; it must return two tensors"
    if not returned[1].is_floating_point():
        return f"returns targets of {returned[1].dtype}; it must return floats, the shares of the classes"
    return None


def _optimizer(recipe: Recipe) -> str | None:
    import torch

    layer = torch.nn.Linear(2, 2)
    group = {"params": list(layer.parameters()), "weight_decay": recipe.weight_decay, "lr": recipe.lr}
    given = {"lr": recipe.lr, "momentum": recipe.momentum, "nesterov": recipe.nesterov}
    returned = OPTIMIZER_CHOICES.call(recipe.optimizer, [{**group, "lr_factor": 1.0}], **given)
    if not isinstance(returned, torch.optim.Optimizer):
        return f"returns {_kind(returned)}; it must return a torch.optim.Optimizer"
    layer(torch.zeros(1, 2)).sum().backward()
    returned.step()
    state, stream = returned.state_dict(), io.BytesIO()
    try:
        torch.save(state, stream)
        stream.seek(0)
        loaded = torch.load(stream, weights_only=True)  # as a checkpoint is read
    except Exception as error:  # noqa: BLE001 (whatever a state may hold)
        held = re.search(r"GLOBAL ([\w.]+)", str(error))
        return (
            f"keeps {held[1] if held else 'something'} in its state_dict(), which no checkpoint can hold; it must keep "
            "tensors, numbers, text, and lists and dicts of these: float(...) makes a number of NumPy's one"
        )
    returned.load_state_dict(loaded)
    return None


def _schedule(recipe: Recipe) -> str | None:
    schedule = SCHEDULE_CHOICES.function(recipe.schedule)
    for progress in (step / STEPS for step in range(STEPS + 1)):
        factor = schedule(progress)
        if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            return f"returns {factor!r} at progress {progress}; it must return a factor of lr, such as 0.5"
    return None


def _loss(recipe: Recipe, classes: int) -> str | None:
    import torch

    logits = torch.zeros(IMAGES, classes, requires_grad=True)
    targets = torch.zeros(IMAGES, dtype=torch.int64)
    soft = torch.nn.functional.one_hot(targets, classes).float()
    given = {"num_classes": classes, "label_smoothing": recipe.label_smoothing}
    for wanted in (targets, soft) if recipe.mix != "none" else (targets,):
        returned = LOSS_CHOICES.call(recipe.loss, logits, wanted, **given)
        if not isinstance(returned, torch.Tensor) or returned.ndim or returned.grad_fn is None:
            kind = tuple(returned.shape) if isinstance(returned, torch.Tensor) else _kind(returned)
            return f"returns {kind}; it must return a scalar with a gradient, the mean over the images"
    if recipe.label_smoothing and "label_smoothing" not in accepted(LOSS_CHOICES.function(recipe.loss).func):
        return f"does not take label_smoothing, which is {recipe.label_smoothing:g}; set it to 0, or add the parameter"
    return None


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
