"""Networks of other libraries by their names there: `torchvision:resnet18`, `timm:resnet18d`.

They are as the library builds them, with weights at random: the stem is made for photos of 224 pixels, and `width`
has no effect. `LIBRARIES` names the libraries, which are imported only where a network is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from raytrain.errors import ExperimentError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

_NAME = re.compile(r"(?P<library>[a-z]+):(?P<model>[\w.-]+)")


def timm(model: str, *, num_classes: int, in_channels: int, **arguments: Any) -> nn.Module:
    """Build a network of timm, the extra `raytrain[timm]`.

    Args:
        model: Name of the network, one of `timm.list_models()`.
        num_classes: Number of outputs.
        in_channels: Number of channels of an image.
        arguments: Further arguments of `timm.create_model`, none that names a file.

    Raises:
        ExperimentError: timm is not installed, or has no such network, or an argument names a file.
    """
    if "checkpoint_path" in arguments:  # a recipe may come from somebody else
        raise ExperimentError(f"timm:{model}: checkpoint_path names a file, which a recipe may not; leave it out")
    try:
        import timm as library
    except ImportError as error:
        raise ExperimentError(not_installed(f"timm:{model}")) from error
    if not library.is_model(model):
        raise ExperimentError(_unknown("timm", model, library.list_models()))
    return library.create_model(model, pretrained=False, num_classes=num_classes, in_chans=in_channels, **arguments)


def torchvision(model: str, *, num_classes: int, **arguments: Any) -> nn.Module:
    """Build a network of torchvision for image classification.

    Args:
        model: Name of the network, one of `torchvision.models.list_models(module=torchvision.models)`.
        num_classes: Number of outputs.
        arguments: Further arguments of the network's function.

    Raises:
        ExperimentError: torchvision has no such network.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise ExperimentError(_unknown("torchvision", model, known))
    return models.get_model(model, weights=None, num_classes=num_classes, **arguments)


LIBRARIES: dict[str, Callable[..., nn.Module]] = {"timm": timm, "torchvision": torchvision}


def library_model(name: str) -> tuple[str, str] | None:
    """Return the library and the name of the network there, of `timm:resnet18d`; None for another name."""
    match = _NAME.fullmatch(name) if ":" in name else None
    return (match["library"], match["model"]) if match and match["library"] in LIBRARIES else None


def not_installed(name: str) -> str:
    """Return the message that a name of timm needs timm."""
    return f"{name} needs timm, which is not installed; in the checkout of raytrain: pip install '.[timm]'"


def _unknown(library: str, model: str, known: Sequence[str]) -> str:
    hint = did_you_mean(model, known, most=3, shown=lambda one: f"{library}:{one}", between=", ")
    said = [hint, f"it has {len(known)} networks for image classification"]
    return f"{library} has no network {model!r}; {' '.join(filter(None, said))}"
