"""The network of airbench: a whitening layer and three groups of convolutions, made to learn in few epochs.

K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv:2404.00498, sections 3.1 to 3.3, after
D. Page's ResNet-9 and T. Tysam's hlb-CIFAR10. Where we differ:

- The last pooling takes the maximum of the whole map, so that the images may have any size. At 32 pixels the two agree.
- The bias of the whitening layer is trained to the end; the paper stops after three epochs.
- BatchNorm has the momentum 0.4, in PyTorch's terms, at any depth. The networks for 94 and 95 % have it too; the one
  for 96 % has PyTorch's 0.1, which `bn_momentum: 0.1` in a recipe sets.

With three convolutions in a group (`depth` 3), the second and the third have a shortcut around them, as in the network
for 96 %.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 2
"""Height and width of the patches that are whitened, in pixels."""
PATCH_NUMBERS = 3 * PATCH**2
"""Numbers in a patch of an RGB image."""
WHITENING_EPS = 5e-4
"""Added to each variance before its root is divided by, so that directions without variance are not blown up."""
PIXELS_AT_ONCE = 5000 * 32 * 32
"""Pixels of the images whose patches are in memory at a time; each becomes 12 numbers of 8 bytes."""
LOGIT_SCALE = 1 / 9
"""Factor of the logits."""
BATCHNORM_MOMENTUM = 0.4
"""Weight of a batch in the running statistics: PyTorch's momentum, one less that of the paper."""


class Whitening(nn.Conv2d):
    """Patches in the basis of their principal components, each divided by its deviation, and the negatives of it.

    (N, 3, H, W) -> (N, 24, H - 1, W - 1). The filters are computed from training images by `init_from` and then fixed;
    the bias is trained.
    """

    def __init__(self) -> None:
        super().__init__(3, 2 * PATCH_NUMBERS, PATCH)
        self.weight.requires_grad_(False)  # noqa: FBT003
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def init_from(self, images: Tensor) -> None:
        """Set the filters so that their outputs are uncorrelated over `images` and have a variance of 1.

        Args:
            images: (N, 3, H, W) float, normalised as in training.
        """
        # about zero, not about the mean: the images are centred already; on the CPU, as Apple's GPUs have no float64
        images = images.cpu()
        sums, count = torch.zeros(PATCH_NUMBERS, PATCH_NUMBERS, dtype=torch.float64), 0
        at_once = max(1, PIXELS_AT_ONCE // images[0, 0].numel())
        for part in images.split(at_once):
            patches = part.double().unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (N, 3, H-1, W-1, 2, 2), a view
            patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, PATCH_NUMBERS)
            sums += patches.T @ patches
            count += len(patches)
        covariance = sums / count
        variances, directions = torch.linalg.eigh(covariance)  # ascending; a direction per column
        filters = (directions / (variances + WHITENING_EPS).sqrt()).T.flip(0).reshape(-1, 3, PATCH, PATCH)
        self.weight.copy_(torch.cat([filters, -filters]))


class _Shift(nn.BatchNorm2d):
    """BatchNorm that learns a shift and no scale, and follows the statistics of the newest batches."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=BATCHNORM_MOMENTUM)
        self.weight.requires_grad_(False)  # noqa: FBT003


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 3x3 convolution whose first `in_channels` outputs start as its inputs; the others start at random."""
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    copied = min(in_channels, out_channels)
    nn.init.dirac_(layer.weight[:copied])
    return layer


class _Group(nn.Module):
    """Convolutions at half the size: (N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int, *, depth: int) -> None:
        super().__init__()
        self.first = _convolution(in_channels, out_channels)
        self.first_norm = _Shift(out_channels)
        self.others = nn.ModuleList(_convolution(out_channels, out_channels) for _ in range(depth - 1))
        self.other_norms = nn.ModuleList(_Shift(out_channels) for _ in range(depth - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the group."""
        x = self.first(x)
        if min(x.shape[2:]) > 1:  # of images below 16 pixels the third group gets a single one
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.first_norm(x))
        shortcut = x if len(self.others) > 1 else None
        last = len(self.others) - 1
        for number, (layer, norm) in enumerate(zip(self.others, self.other_norms, strict=True)):
            x = norm(layer(x))
            x = F.gelu(x + shortcut if shortcut is not None and number == last else x)
        return x


class Airbench(nn.Module):
    """(N, 3, H, W) -> (N, num_classes) logits; H and W are 8 or more.

    Args:
        num_classes: Number of outputs.
        channels: Channels of the three groups.
        depth: Convolutions in each group; from 3 on, those after the first have a shortcut around them.
    """

    def __init__(self, num_classes: int, *, channels: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        self.whitening = Whitening()
        self.groups = nn.Sequential(
            *(
                _Group(inputs, outputs, depth=depth)
                for inputs, outputs in zip((2 * PATCH_NUMBERS, *channels), channels, strict=False)
            )
        )
        self.head = nn.Linear(channels[-1], num_classes, bias=False)

    def init_from(self, images: Tensor) -> None:
        """Compute the whitening filters from training images, (N, 3, H, W) float, normalised."""
        self.whitening.init_from(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        x = self.groups(F.gelu(self.whitening(images)))
        return self.head(x.amax(dim=(2, 3))) * LOGIT_SCALE
