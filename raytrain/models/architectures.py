"""Networks for small images; `ARCHITECTURES` names them.

PyTorch, which takes 1.5 s to import, is imported only where a network is built: an experiment is checked without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Protocol, cast, runtime_checkable

from annotated_types import Ge, Le

if TYPE_CHECKING:
    import torch
    from torch import nn

Size = Annotated[int, Ge(1), Le(64)]
"""A small number of things: convolutions, or multiples of a width."""


def resnet18(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-18: 11.17 M parameters, 1.11 GFLOP forward for a 32x32 image."""
    return _basic((2, 2, 2, 2), num_classes=num_classes, width=width)


def resnet34(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-34: 21.28 M parameters, 2.32 GFLOP forward for a 32x32 image."""
    return _basic((3, 4, 6, 3), num_classes=num_classes, width=width)


def resnet50(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-50: 23.52 M parameters, 2.60 GFLOP forward for a 32x32 image."""
    return _bottleneck((3, 4, 6, 3), num_classes=num_classes, width=width)


def resnet101(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-101: 42.51 M parameters, 5.02 GFLOP forward for a 32x32 image."""
    return _bottleneck((3, 4, 23, 3), num_classes=num_classes, width=width)


def resnet152(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-152: 58.16 M parameters, 7.44 GFLOP forward for a 32x32 image."""
    return _bottleneck((3, 8, 36, 3), num_classes=num_classes, width=width)


def resnet9(num_classes: int = 10, *, width: int = 64) -> nn.Module:
    """Build ResNet-9: 6.57 M parameters, 0.76 GFLOP forward for a 32x32 image.

    The shape of the winners of DAWNBench's CIFAR-10 contest (D. Page, davidcpage/cifar10-fast, 2018): few wide
    layers, pooled early, residual blocks where the map has just shrunk.
    """
    from raytrain.models.resnet import ResNet9

    return ResNet9((width, 2 * width, 4 * width, 8 * width), num_classes=num_classes)


def airbench(
    num_classes: int = 10,
    *,
    width: int = 64,
    multiples: tuple[Size, Size, Size] = (1, 4, 4),
    depth: Size = 2,
) -> nn.Module:
    """Build the network of airbench: 1.97 M parameters, 0.24 GFLOP forward for a 32x32 image.

    K. Jordan 2024, arXiv:2404.00498. Its first layer is computed from training images: `init_from`. The paper's larger
    networks are `width: 128` with `{airbench: {multiples: [1, 3, 3]}}` for 95 %, and with
    `{airbench: {multiples: [1, 3, 4], depth: 3}}` and `bn_momentum: 0.1` for 96 %.

    Args:
        num_classes: Number of outputs.
        width: Channels that `multiples` are multiples of.
        multiples: Channels of the three groups, in multiples of `width`.
        depth: Convolutions in each group; from 3 on, those after the first have a shortcut around them.
    """
    from raytrain.models.airbench import Airbench

    first, second, third = (width * multiple for multiple in multiples)
    return Airbench(num_classes, channels=(first, second, third), depth=depth)


def _basic(depths: tuple[int, int, int, int], *, num_classes: int, width: int) -> nn.Module:
    from raytrain.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, depths, num_classes=num_classes, width=width)


def _bottleneck(depths: tuple[int, int, int, int], *, num_classes: int, width: int) -> nn.Module:
    from raytrain.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, depths, num_classes=num_classes, width=width)


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "resnet9": resnet9,
    "airbench": airbench,
}
WITHOUT_RESIDUAL_BLOCKS = frozenset({"airbench"})
"""Networks of which `zero_init_residual` changes nothing."""


@runtime_checkable
class DataInitialised(Protocol):
    """A network whose initial weights are computed from training images."""

    def init_from(self, images: torch.Tensor) -> None:
        """Set weights from (N, 3, H, W) float32 images, normalised, on the network's device.

        It must be a function of the images alone, so that all workers of a trial start with the same weights.
        """
        ...


@runtime_checkable
class ResidualBlock(Protocol):
    """A block with a shortcut, which can be made to start as that shortcut alone."""

    def zero_init_residual(self) -> None:
        """Set the last scale of the residual branch to 0, in place."""
        ...


def zero_init_residual(model: nn.Module) -> None:
    """Make each residual block of `model` start as its shortcut.

    Goyal et al. 2017, arXiv:1706.02677, section 5.1.

    Args:
        model: Changed in place; a model without residual blocks stays as it is.
    """
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            module.zero_init_residual()


def why_no_single_image(model: nn.Module, image_size: int) -> str:
    """Return why `model` cannot be trained on one image at a time, "" if it can.

    BatchNorm takes its statistics over images and pixels, so where a map has shrunk to one pixel, one image is not
    enough: PyTorch refuses it.

    Args:
        model: Takes (N, 3, H, W); its running statistics change, where it has numbers and not just shapes.
        image_size: Height and width in pixels.
    """
    import torch

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            model.train()(torch.zeros(1, 3, image_size, image_size, device=device))
    except ValueError as error:
        return str(error).partition("\n")[0]
    return ""


def parameter_count(model: nn.Module) -> int:
    """Count the trainable numbers of `model`; BatchNorm's running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def forward_flops(model: nn.Module, image_size: int) -> int:
    """Count the floating-point operations of the forward pass of one image, a multiply-add as two.

    Convolutions and matrix products only: BatchNorm, activations and additions are left out, as PyTorch's own
    FlopCounterMode does, which a test compares with. That one imports PyTorch's compiler, a second of every start.

    Args:
        model: Takes (N, 3, H, W); it stays as it is, on whatever device and in whatever mode.
        image_size: Height and width in pixels.
    """
    import torch
    from torch import nn

    operations = 0

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal operations
        # each number of the output is a sum over the weights of one output channel
        operations += 2 * output.numel() * cast("torch.Tensor", module.weight)[0].numel()

    stand_in = copy.deepcopy(model).eval()
    for module in list(stand_in.modules()):
        # zeros that share one number's memory: nothing is allocated, and it runs on this machine
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.zeros((), dtype=buffer.dtype).expand(buffer.shape))
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        stand_in(torch.zeros(1, 3, image_size, image_size))
    return operations
