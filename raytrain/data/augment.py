"""Random augmentation of whole batches on their device; `AUGMENTS` and `MIXES` name it.

Images are (N, 3, H, W), uint8 in [0, 255] or float in [0, 1], in any memory format. They are never written
to: they may be a view of memory that other processes read. Results are new tensors. No shape and no branch
depends on a drawn number, so the CPU never waits for an accelerator.

On one core of an AMD EPYC (Zen 4; torch 2.14.1), batches of 128 uint8 32x32 images in channels_last, median
of 200, machine shared: crop and flip 240,000 images/s, with jitter 29,000 to 44,000, and 70,000 with
MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ at 256 MiB: the difference is page faults.

PyTorch, which takes 1.5 s to import, is imported only where it computes: an experiment is checked without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Columns of `factors` and values in `order`; brightness is 0.
_CONTRAST, _SATURATION = 1, 2


def random_crop(images: Tensor, *, padding: int = 4, generator: torch.Generator) -> Tensor:
    """Pad with zeros and cut a random window of the old size out of each image.

    As He et al. 2016, arXiv:1512.03385, section 4.2.

    Args:
        images: (N, 3, H, W) uint8 or float.
        padding: Width in pixels of the border on each side; each offset is uniform over 0..2 padding.
        generator: Random generator on the images' device.

    Returns:
        (N, 3, H, W) of the same dtype, channels_last.
    """
    import torch

    count, _, height, width = images.shape
    shifts = torch.randint(2 * padding + 1, (2, count), generator=generator, device=images.device)
    samples = torch.arange(count, device=images.device)
    # pixels before channels: gathering whole rows of RGB takes half the time of gathering three planes
    pixels = images.permute(0, 2, 3, 1)
    padded = torch.nn.functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, 2p+1, 2p+1, 3, H, W), a view
    crops = windows.permute(0, 1, 2, 4, 5, 3)[samples, shifts[0], shifts[1]]  # (N, H, W, 3)
    return crops.permute(0, 3, 1, 2)


def horizontal_flip(images: Tensor, *, probability: float = 0.5, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with the given probability.

    Args:
        images: (N, 3, H, W) uint8 or float.
        probability: Probability that an image is mirrored, in [0, 1].
        generator: Random generator on the images' device.

    Returns:
        (N, 3, H, W) of the same dtype, channels_last.
    """
    import torch

    count = len(images)
    flipped = torch.rand(count, generator=generator, device=images.device) < probability
    samples = torch.arange(count, device=images.device)
    pixels = images.permute(0, 2, 3, 1)
    both = torch.stack((pixels, pixels.flip(2)))  # (2, N, H, W, 3)
    # a selection of whole images: a third of the time of torch.where, which asks for each pixel
    return both.flatten(0, 1).index_select(0, samples + count * flipped).permute(0, 3, 1, 2)


def color_jitter(
    images: Tensor,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    generator: torch.Generator,
) -> Tensor:
    """Change brightness, contrast and saturation of each image by random factors, in a random order.

    As torchvision's ColorJitter on tensors, without hue, except that every sample has its own factors and order.
    torchvision differs for PIL images, which it rounds to 8 bits after each operation.

    Args:
        images: (N, 3, H, W) uint8 or float in [0, 1].
        brightness: Spread b of the factor of brightness, which is uniform over [max(0, 1 - b), 1 + b].
        contrast: Spread of the factor of contrast, in the same way.
        saturation: Spread of the factor of saturation, in the same way.
        generator: Random generator on the images' device.

    Returns:
        (N, 3, H, W) float32 in [0, 1], channels_last.
    """
    import torch

    count, device = len(images), images.device
    columns = [
        torch.empty(count, device=device).uniform_(max(0.0, 1 - spread), 1 + spread, generator=generator)
        for spread in (brightness, contrast, saturation)
    ]
    order = torch.rand(count, 3, generator=generator, device=device).argsort(dim=1)
    return apply_color_jitter(images, factors=torch.stack(columns, dim=1), order=order)


def apply_color_jitter(images: Tensor, *, factors: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of each image by the given factors, in the given order.

    Args:
        images: (N, 3, H, W) uint8 or float in [0, 1].
        factors: (N, 3) float32: of brightness, contrast, saturation; at least 0, and 1 changes nothing.
        order: (N, 3) int64: in each row a permutation of 0 brightness, 1 contrast, 2 saturation; the first is
            applied first.

    Returns:
        (N, 3, H, W) float32 in [0, 1], channels_last.
    """
    import torch

    # planes: a pixel's grey meets its three channels in long rows, not three numbers at a time
    planes = images.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    if not images.is_floating_point():
        planes.div_(255)
    # Each operation blends with a reference: black, the image's mean grey, or the grey of the pixel. With the
    # reference chosen by weights, one pass serves all samples, whatever their operation at this position.
    for operation in order.unbind(dim=1):
        factor = factors.gather(1, operation[:, None]).view(-1, 1, 1, 1)
        operation = operation.view(-1, 1, 1, 1)
        grey = _grey(planes)
        mean = grey.mean(dim=(2, 3), keepdim=True).mul_(operation == _CONTRAST)
        reference = grey.mul_(operation == _SATURATION).add_(mean)
        planes.lerp_(reference, 1 - factor).clamp_(0, 1)
    return planes.contiguous(memory_format=torch.channels_last)


def _grey(planes: Tensor) -> Tensor:
    """Return the luminance of ITU-R BT.601 with torchvision's digits, (N, 1, H, W)."""
    red, green, blue = planes.split(1, dim=1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)


AUGMENTS: dict[str, Callable[..., Tensor]] = {
    "crop": random_crop,
    "flip": horizontal_flip,
    "jitter": color_jitter,
}


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
