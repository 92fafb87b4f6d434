"""Pairs of images mixed into one, with soft labels; `MIXES` names the choices.

PyTorch is imported only where it computes, as in `raytrain.data.augmentation.augment`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def cutmix(
    images: Tensor, labels: Tensor, *, num_classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paste one box of each image's predecessor in the batch into it, the same box for the whole batch.

    Yun et al. 2019, arXiv:1905.04899, by torchvision; the labels follow the box as clipped at the border, not
    as drawn, and partners are neighbours in the batch, which is to be shuffled.

    Args:
        images: (N, 3, H, W) float, normalised.
        labels: (N,) int64.
        num_classes: Width of the new labels.
        alpha: Parameter of the Beta(alpha, alpha) distribution that the share of the image itself is drawn from.
        generator: Random generator on the CPU, wherever the images are: the size of the box has to be known there.

    Returns:
        Images as given, and labels (N, num_classes) float whose rows sum to 1.
    """
    from torchvision.transforms.v2 import CutMix  # its import takes over a second, which few runs need

    return _mix(CutMix(alpha=alpha, num_classes=num_classes), images, labels, generator)


def mixup(
    images: Tensor, labels: Tensor, *, num_classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image with its predecessor in the batch, in the same proportion for the whole batch.

    Zhang et al. 2018, arXiv:1710.09412, by torchvision; partners are neighbours in the batch, which is to be
    shuffled.

    Args:
        images: (N, 3, H, W) float, normalised.
        labels: (N,) int64.
        num_classes: Width of the new labels.
        alpha: Parameter of the Beta(alpha, alpha) distribution that the share of the image itself is drawn from.
        generator: Random generator on the CPU, wherever the images are.

    Returns:
        Images as given, and labels (N, num_classes) float whose rows sum to 1.
    """
    from torchvision.transforms.v2 import MixUp

    return _mix(MixUp(alpha=alpha, num_classes=num_classes), images, labels, generator)


def cutmix_or_mixup(
    images: Tensor, labels: Tensor, *, num_classes: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Apply `cutmix` or `mixup` to the batch, each with probability 1/2; arguments and results are theirs."""
    import torch

    chosen = cutmix if torch.rand((), generator=generator) < 0.5 else mixup
    return chosen(images, labels, num_classes=num_classes, alpha=alpha, generator=generator)


def _mix(
    transform: Callable[..., Any], images: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Run a transform that draws from the global CPU generator as if it drew from ours."""
    import torch

    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would also seed every accelerator, and fork_rng does not restore those
        torch.default_generator.manual_seed(seed)
        mixed, soft_labels = transform(images, labels)
    if images.is_contiguous(memory_format=torch.channels_last):
        mixed = mixed.contiguous(memory_format=torch.channels_last)  # MixUp's roll returns planes
    return mixed, soft_labels


MIXES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "cutmix": cutmix,
    "mixup": mixup,
    "cutmix_or_mixup": cutmix_or_mixup,
}
