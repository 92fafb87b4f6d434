"""The modules of residual networks for small images.

He et al. 2016, arXiv:1512.03385, with the depths and the channel plan of its ImageNet table. Where we differ:

- The stem is one 3x3 convolution of stride 1 without max-pooling, as is common for 32x32 images: the
  paper's 7x7 stem with pooling would leave a 1x1 map. (Its own CIFAR networks are others: 16/32/64 channels.)
- A bottleneck has its stride in the 3x3 convolution; in the first 1x1 it would skip three pixels of four.
- `width` scales all four stages; 64 is the paper's.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def _convolution(in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    # no bias: the BatchNorm that follows each convolution would subtract it again
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


class _Projection(nn.Conv2d):
    """A 1x1 convolution with a stride: (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride).

    With few input channels the pixels are picked first and then convolved without a stride. The result is the same, bit
    for bit; but the gradient of the strided form writes beyond its memory on CPUs when activations are channels-last
    and there are fewer input channels than a vector has numbers (oneDNN issue 6035, seen with torch 2.14.1 on AVX2).
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolved map."""
        if self.in_channels >= VECTOR:
            return super().forward(input)
        rows, columns = self.stride
        return F.conv2d(input[:, :, ::rows, ::columns], self.weight)


VECTOR = 16
"""Single-precision numbers in the widest vector of a CPU (AVX-512)."""


def _shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    projection = _Projection(in_channels, out_channels, stride=stride)
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

    def zero_init_residual(self) -> None:
        """Set the weight of the BatchNorm whose result is added to the shortcut to 0."""
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        return F.relu(residual + self.shortcut(x), inplace=True)


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

    def zero_init_residual(self) -> None:
        """Set the weight of the BatchNorm whose result is added to the shortcut to 0."""
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(residual(x) + shortcut(x))."""
        residual = F.relu(self.bn1(self.conv1(x)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(residual))
        return F.relu(residual + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A 3x3 stem, four stages with 1, 2, 4 and 8 times `width` channels, an average pool, a linear layer.

    Convolutions start from the normal distribution of He et al. 2015, arXiv:1502.01852, by fan-out; BatchNorm
    (weight 1, bias 0) and the linear layer start as PyTorch starts them.

    Args:
        block: Class of the blocks that the stages are made of.
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
        self.stem = nn.Sequential(_convolution(3, width, kernel_size=3), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
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
        _initialize(self)

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


class _Pooled(nn.Module):
    """Convolution, maximum of each 2x2, BatchNorm, ReLU: (N, in_channels, H, W) -> (N, channels, H/2, W/2).

    The maximum comes first, so that the rest has a quarter of the numbers to go through.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, channels, kernel_size=3)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(bn(max-pool(conv(x))))."""
        return F.relu(self.bn(F.max_pool2d(self.conv(x), 2)), inplace=True)


class ResNet9(nn.Module):
    """A 3x3 stem, three stages that halve the map, a residual block after the first and the last, a linear layer.

    After D. Page's network for DAWNBench (davidcpage/cifar10-fast, 2018), eight convolutions and a linear layer.
    Where we differ: the blocks are `BasicBlock`s, with their ReLU after the sum, and the pooling comes before
    BatchNorm. As there, the logits are an eighth of what the linear layer gives, which keeps the loss of a high
    learning rate in bounds.

    Args:
        channels: Channels of the stem and of the three stages.
        num_classes: Logits per image.
    """

    def __init__(self, channels: tuple[int, int, int, int], *, num_classes: int) -> None:
        super().__init__()
        stem, first, second, third = channels
        self.stem = nn.Sequential(_convolution(3, stem, kernel_size=3), nn.BatchNorm2d(stem), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(
            _Pooled(stem, first),
            BasicBlock(first, first, stride=1),
            _Pooled(first, second),
            _Pooled(second, third),
            BasicBlock(third, third, stride=1),
        )
        self.head = nn.Linear(third, num_classes)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits.

        Args:
            images: (N, 3, H, W) float, normalised; H and W at least 8, as three stages halve them.

        Returns:
            (N, num_classes) float.
        """
        features = self.stages(self.stem(images))  # (N, C, H/8, W/8)
        features = F.adaptive_max_pool2d(features, 1).flatten(1)  # (N, C)
        return self.head(features) / 8


def _initialize(model: nn.Module) -> None:
    """Draw the weights of convolutions as He et al. 2015, arXiv:1502.01852, by fan-out."""
    for module in model.modules():
        # drawing on the meta device, where a model is only measured, would import the compiler: 1.2 s of every start
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
