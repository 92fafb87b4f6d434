"""Residual networks for small images; `ARCHITECTURES` names them.

He et al. 2016, arXiv:1512.03385, with the depths and the channel plan of its ImageNet table. Where we differ:

- The stem is one 3x3 convolution of stride 1 without max-pooling, as is common for 32x32 images: the
  paper's 7x7 stem with pooling would leave a 1x1 map. (Its own CIFAR networks are others: 16/32/64 channels.)
- A bottleneck has its stride in the 3x3 convolution; in the first 1x1 it would skip three pixels of four.
- `width` scales all four stages; 64 is the paper's.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


def _convolution(in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    # no bias: the BatchNorm that follows each convolution would subtract it again
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


def _shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    projection = _convolution(in_channels, out_channels, kernel_size=1, stride=stride)
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (N, in_channels, H, W) -> (N, channels, H/stride, W/stride)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, kernel_size=3, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, kernel_size=3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = F.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return F.relu(residual + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut: (N, in_channels, H, W) -> (N, 4 channels, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = _convolution(in_channels, channels, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _convolution(channels, channels, kernel_size=3, stride=stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _convolution(channels, out_channels, kernel_size=1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = F.relu(self.bn1(self.conv1(x)))
        residual = F.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return F.relu(residual + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem, four stages with 1, 2, 4 and 8 times `width` channels, an average pool, a linear layer.

    Convolutions start from the normal distribution of He et al. 2015, arXiv:1502.01852, by fan-out; BatchNorm
    (weight 1, bias 0) and the linear layer start as PyTorch starts them.

    Args:
        block: What the stages are made of.
        depths: Blocks in each of the four stages.
        num_classes: Logits per image.
        width: Channels of the stem and of the first stage, before a bottleneck's expansion.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        *,
        num_classes: int,
        width: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, width, kernel_size=3), nn.BatchNorm2d(width), nn.ReLU())
        stages: list[nn.Module] = []
        in_channels = width
        for index, depth in enumerate(depths):
            channels = width * 2**index
            blocks: list[nn.Module] = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(in_channels, channels, stride=stride))
                in_channels = channels * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits.

        Args:
            images: (N, 3, H, W) float, normalised; H and W at least 8, as three stages halve them.

        Returns:
            (N, num_classes) float.
        """
        features = self.stages(self.stem(images))  # (N, C, H/8, W/8)
        features = F.adaptive_avg_pool2d(features, 1).flatten(1)  # (N, C)
        return self.head(features)


def resnet18(num_classes: int = 10, *, width: int = 64) -> ResNet:
    """Build ResNet-18: 11.17 M parameters, 1.11 GFLOP forward for a 32x32 image."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, width=width)


def resnet34(num_classes: int = 10, *, width: int = 64) -> ResNet:
    """Build ResNet-34: 21.28 M parameters, 2.32 GFLOP forward for a 32x32 image."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes=num_classes, width=width)


def resnet50(num_classes: int = 10, *, width: int = 64) -> ResNet:
    """Build ResNet-50: 23.52 M parameters, 2.60 GFLOP forward for a 32x32 image."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes, width=width)


def resnet101(num_classes: int = 10, *, width: int = 64) -> ResNet:
    """Build ResNet-101: 42.51 M parameters, 5.02 GFLOP forward for a 32x32 image."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes=num_classes, width=width)


def resnet152(num_classes: int = 10, *, width: int = 64) -> ResNet:
    """Build ResNet-152: 58.16 M parameters, 7.44 GFLOP forward for a 32x32 image."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes=num_classes, width=width)


ARCHITECTURES: dict[str, Callable[..., ResNet]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
}


def parameter_count(model: nn.Module) -> int:
    """Count the trainable numbers of `model`; BatchNorm's running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def forward_flops(model: nn.Module, image_size: int) -> int:
    """Count the floating-point operations of the forward pass of one image, a multiply-add as two.

    Convolutions and matrix products only: BatchNorm, activations and additions are left out, as PyTorch's
    counter does. Nothing is computed or allocated, and `model` stays as it is, on whatever device and in
    whatever mode: its tensors are stood in for by ones on the meta device.

    Args:
        model: Takes (N, 3, H, W).
        image_size: Height and width in pixels.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    # two images: BatchNorm in training mode refuses a single 1x1 map
    images = torch.empty(2, 3, image_size, image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(model, shapes, (images,))
    return counter.get_total_flops() // 2
