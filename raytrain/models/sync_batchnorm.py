"""BatchNorm over the images of all workers: the layers of a network replaced by PyTorch's SyncBatchNorm."""

import sys
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from raytrain.errors import ModelError


def synchronised(network: nn.Module) -> nn.Module:
    """Return the network with BatchNorm over all workers, with the same names and numbers; it is changed in place.

    Layers of timm that also compute the activation go on doing so.

    Raises:
        ModelError: It has a BatchNorm that cannot be replaced.
    """
    if problem := not_synchronisable(network):
        raise ModelError(f"the network {problem}")
    return _replaced(network)


def not_synchronisable(network: nn.Module) -> str | None:
    """Return what is wrong where a network has a BatchNorm with a computation of its own; else None.

    PyTorch would replace it by one without that computation, and say nothing.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and not _is_synchronised(module) and _converter(module) is None:
            kind = type(module).__name__
            return f"has the layer {name or kind}, a {kind}: its forward is its own, so set sync_batchnorm: false"
    return None


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return module if _is_synchronised(module) else _converter(module)(module)
    for name, child in module.named_children():
        module.add_module(name, _replaced(child))
    return module


def _is_synchronised(module: nn.Module) -> bool:
    return isinstance(module, nn.SyncBatchNorm)


def _converter(module: nn.Module) -> Any:
    """Return the function that replaces a layer of this kind; None where there is none."""
    if type(module).forward is _BatchNorm.forward:
        return nn.SyncBatchNorm.convert_sync_batchnorm
    timm: Any = sys.modules.get("timm.layers")  # whoever has built a layer of timm has imported it
    if timm and type(module).forward is timm.BatchNormAct2d.forward:
        return timm.convert_sync_batchnorm
    return None
