"""The user's augmentations, mixing, optimizer, schedule and loss, each called on a little noise."""

import io
import logging
import re
from functools import cache
from typing import TYPE_CHECKING

from raytrain.experiment.rehearsal.network import IMAGES, kind
from raytrain.training.choices import AUGMENT_CHOICES, LOSS_CHOICES, MIX_CHOICES, OPTIMIZER_CHOICES, SCHEDULE_CHOICES
from raytrain.training.recipe import Recipe
from raytrain.user_code.component import accepted
from raytrain.user_code.reference import without_digest

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

STEPS = 100
"""Number of equal steps from 0 to 1 at whose ends a schedule is called."""
BRIGHTEST = 10.0
"""Largest float in an augmented image: noise may go beyond [0, 1]; pixels that were not divided by 255 go further."""


def augmentation_fault(text: str, before: "list[Tensor]", *, seed: int) -> str | None:
    """Call an augmentation on the last images; return what is wrong with it, or add what it returns and return None.

    Args:
        text: The augmentation, as a recipe keeps it.
        before: Images, (N, 3, H, W), and what each augmentation before made of those before it.
        seed: Seed of the recipe.
    """
    import torch

    images = before[-1]
    offered = {"generator": torch.Generator(), "index": torch.arange(IMAGES), "epoch": 0, "seed": seed}
    returned = AUGMENT_CHOICES.call(text, images, **offered)
    if not isinstance(returned, torch.Tensor):
        return f"returns {kind(returned)}; it must return images, as it is given them"
    if returned.shape[:2] != images.shape[:2] or returned.ndim != 4:
        return f"returns {tuple(returned.shape)} for images of {tuple(images.shape)}; it must return (N, 3, H, W)"
    if returned.dtype != torch.uint8 and not returned.is_floating_point():
        return f"returns {returned.dtype}; it must return uint8 in [0, 255], or floats in [0, 1]"
    if returned.is_floating_point() and not returned.abs().max() <= BRIGHTEST:  # also where it is NaN
        return f"returns floats up to {returned.abs().max():.4g}; it must return floats in [0, 1], or uint8 in [0, 255]"
    if images.is_floating_point() and not returned.is_floating_point():
        _warn(
            f"augmentation {without_digest(text)} is given floats in [0, 1], since one before it returns floats, and "
            "returns uint8: it must multiply by 255, or return floats; else almost nothing is left of the images"
        )
    before.append(returned)
    return None


def mix_fault(recipe: Recipe, classes: int) -> str | None:
    """Call the mixing of a recipe; return what is wrong with it, None where nothing is."""
    import torch

    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    images = torch.zeros(IMAGES, 3, recipe.image_size, recipe.image_size).to(memory_format=layout)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    offered = {"num_classes": classes, "alpha": recipe.mix_alpha, "generator": torch.Generator()}
    returned = MIX_CHOICES.call(recipe.mix, images, labels, **offered)
    if not isinstance(returned, tuple) or len(returned) != 2:
        return f"returns {kind(returned)}; it must return images and targets"
    shapes = [tuple(getattr(one, "shape", ())) for one in returned]
    if shapes != [tuple(images.shape), (IMAGES, classes)]:
        return f"returns {shapes[0]} and {shapes[1]}; it must return {tuple(images.shape)} and {(IMAGES, classes)}"
    if not all(isinstance(one, torch.Tensor) for one in returned):
        return f"returns {kind(returned[0])} and {kind(returned[1])}; it must return two tensors"
    if not returned[1].is_floating_point():
        return f"returns targets of {returned[1].dtype}; it must return floats, the shares of the classes"
    return None


def optimizer_fault(recipe: Recipe) -> str | None:
    """Take a step with the optimizer of a recipe; return what is wrong with it, None where nothing is."""
    import torch

    layer = torch.nn.Linear(2, 2)
    group = {"params": list(layer.parameters()), "weight_decay": recipe.weight_decay, "lr": recipe.lr}
    given = {"lr": recipe.lr, "momentum": recipe.momentum, "nesterov": recipe.nesterov}
    returned = OPTIMIZER_CHOICES.call(recipe.optimizer, [{**group, "lr_factor": 1.0}], **given)
    if not isinstance(returned, torch.optim.Optimizer):
        return f"returns {kind(returned)}; it must return a torch.optim.Optimizer"
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


def schedule_fault(recipe: Recipe) -> str | None:
    """Call the schedule of a recipe from 0 to 1; return what is wrong with it, None where nothing is."""
    schedule = SCHEDULE_CHOICES.function(recipe.schedule)
    for progress in (step / STEPS for step in range(STEPS + 1)):
        factor = schedule(progress)
        if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            return f"returns {factor!r} at progress {progress}; it must return a factor of lr, such as 0.5"
    return None


def loss_fault(recipe: Recipe, classes: int) -> str | None:
    """Call the loss of a recipe; return what is wrong with it, None where nothing is."""
    import torch

    logits = torch.zeros(IMAGES, classes, requires_grad=True)
    targets = torch.zeros(IMAGES, dtype=torch.int64)
    soft = torch.nn.functional.one_hot(targets, classes).float()
    given = {"num_classes": classes, "label_smoothing": recipe.label_smoothing}
    for wanted in (targets, soft) if recipe.mix != "none" else (targets,):
        returned = LOSS_CHOICES.call(recipe.loss, logits, wanted, **given)
        if not isinstance(returned, torch.Tensor) or returned.ndim or returned.grad_fn is None:
            found = tuple(returned.shape) if isinstance(returned, torch.Tensor) else kind(returned)
            return f"returns {found}; it must return a scalar with a gradient, the mean over the images"
    if recipe.label_smoothing and "label_smoothing" not in accepted(LOSS_CHOICES.function(recipe.loss).func):
        return f"does not take label_smoothing, which is {recipe.label_smoothing:g}; set it to 0, or add the parameter"
    return None


@cache
def _warn(message: str) -> None:
    """Log a warning, once in a process: a search rehearses each trial that it proposes."""
    log.warning("%s", message)
