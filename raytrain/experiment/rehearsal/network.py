"""The user's network, or a library's, on images of noise."""

import copy
from collections.abc import Sequence
from typing import Any

from raytrain.training.choices import build_network
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of

IMAGES = 2
"""Number of images of a rehearsal: BatchNorm needs more than one."""
NAMED = 5
"""Most parameters that a message names."""
LARGEST = 100_000_000
"""Most parameters of a network whose logits are computed, 400 MB; of a larger one only their shape is looked at."""
NO_VIEW = "view size is not compatible"
"""What PyTorch says where `view` is asked for what the memory order does not allow."""
WITHOUT_VIEW = "images lie in channels_last memory: use reshape or flatten, or set channels_last: false"


class _CopyError(Exception):
    """A network cannot be copied."""


def network_fault(recipe: Recipe, classes: int, sizes: list[tuple[int, int]], *, several_workers: bool) -> str | None:
    """Build the network of a recipe and call it; return what is wrong with it, None where nothing is.

    Args:
        recipe: The recipe.
        classes: Number of classes.
        sizes: Height and width of the images that it is given, each once.
        several_workers: Whether several workers train all of it; each of its parameters then needs a gradient.
    """
    import torch

    from raytrain.models.sync_batchnorm import not_synchronisable

    unused: dict[str, None] = {}  # names in the order of the network

    def tried() -> tuple[Any, list[Any]]:
        network: Any = build_network(recipe.arch, num_classes=classes, width=recipe.width, image_size=recipe.image_size)
        logits: list[Any] = []
        unused.clear()
        if recipe.ema_decay and isinstance(network, torch.nn.Module):
            _copied(network)
        for size in sizes if isinstance(network, torch.nn.Module) else ():
            logits.append(_logits(network, recipe, *size))
            if several_workers:
                unused.update(dict.fromkeys(_without_gradient(network, logits[-1])))
        return network, logits

    def tried_on_the_processor() -> tuple[Any, list[Any]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return tried()

    try:
        with torch.device("meta"):
            network, logits = tried()
    except Exception:  # noqa: BLE001 (some code needs numbers; what is wrong with it shows on the CPU)
        try:
            network, logits = tried_on_the_processor()
        except _CopyError as error:
            return str(error)
    if not isinstance(network, torch.nn.Module):
        return f"makes {kind(network)}; it must make a torch.nn.Module that maps (N, 3, H, W) to (N, num_classes)"
    for found, size in zip(logits, sizes, strict=True):
        if problem := _no_logits(found, (IMAGES, 3, *size), classes):
            return problem
    if recipe.sync_batchnorm and (problem := not_synchronisable(network)):
        return problem
    parameters = list(network.parameters())
    if not any(one.requires_grad for one in parameters):
        return "has no parameters to train; make layers with weights attributes of the network"
    if reference_of(name_of(recipe.arch)) and not all(one.requires_grad for one in logits):
        return "returns logits without a gradient; leave out detach() and torch.no_grad()"
    if reference_of(name_of(recipe.arch)) and sum(one.numel() for one in parameters) <= LARGEST:
        numbers = tried_on_the_processor()[1] if logits[0].is_meta else logits
        if not all(one.isfinite().all() for one in numbers):
            return "returns numbers that are not finite for images of noise; it must return finite logits"
    return _without_use(list(unused)) if unused else None


def _copied(network: Any) -> None:
    """Copy a network as it is before it is called, which is when the moving average is made."""
    try:
        copy.deepcopy(network)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "").partition(". ")[0].rstrip(".")
        raise _CopyError(
            f"cannot be copied, which ema_decay needs for the moving average ({type(error).__name__}: {reason}). Where "
            "it uses torch.nn.utils.weight_norm or spectral_norm, take those of torch.nn.utils.parametrizations, which "
            "can be copied; or set ema_decay: 0"
        ) from error


def _without_gradient(network: Any, logits: Any) -> list[str]:
    """Return the names of the trainable parameters that logits, or a loss of them, give no gradient."""
    import torch

    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point() or not logits.requires_grad:
        return []  # which is said of the logits themselves
    network.zero_grad()
    logits.sum().backward()
    return [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]


def _without_use(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"has trainable parameters that its logits do not depend on: {', '.join(names[:NAMED])}{more}. With several "
        "workers, each needs a gradient in every step: leave them out of the network, set their requires_grad to "
        "False, or train with one worker"
    )


def _logits(network: Any, recipe: Recipe, height: int, width: int) -> Any:
    """Return what a network says of images of noise, both in the memory order of training."""
    import torch

    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    placed = network.to(memory_format=layout)
    try:
        return placed(torch.randn(IMAGES, 3, height, width).to(memory_format=layout))
    except (Exception, SystemExit) as error:
        if height != recipe.image_size or width != recipe.image_size:
            field = "resolution" if recipe.resolution else "augment"
            error.add_note(f"the images have {height} x {width} pixels in training, as {field} makes them")
        if recipe.channels_last and NO_VIEW in str(error):
            error.add_note(WITHOUT_VIEW)
        raise


def _no_logits(found: Any, shape: tuple[int, ...], classes: int) -> str | None:
    import torch

    wanted = (IMAGES, classes)
    if not isinstance(found, torch.Tensor):
        return f"returns {kind(found)} for images of {shape}; it must return one tensor, {wanted}"
    if tuple(found.shape) != wanted:
        return (
            f"returns {tuple(found.shape)} for images of {shape}; it must return "
            f"{wanted}: a number for each of the {classes} classes, which it is given as num_classes"
        )
    if not found.is_floating_point():
        return f"returns {found.dtype}; it must return floats, the logits: argmax and the like come after it"
    return None


def kind(value: object) -> str:
    """Return what a value is, in words."""
    return "nothing" if value is None else f"a {type(value).__name__}"
