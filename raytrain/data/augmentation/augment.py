"""Random augmentation of whole batches on their device; `AUGMENTS` names it.

An augmentation takes a batch of images and, by keyword, its own arguments and whichever of these it names:
`generator`, a random generator on the images' device; `index`, the (N,) int64 numbers of the images in the training
split; `epoch`, from 0; `seed`, that of the recipe. It keeps nothing from one batch to the next.

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
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le

from raytrain.data.augmentation.resized_crop import random_resized_crop

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Pixels = Annotated[int, Ge(0), Le(1024)]
"""A length in pixels."""
Share = Annotated[float, Ge(0), Le(1)]
"""A probability, or a share of the whole, in [0, 1]."""
Spread = Annotated[float, Ge(0), Le(10)]
"""How far a factor may lie from 1."""

# Columns of `factors` and values in `order`; brightness is 0.
_CONTRAST, _SATURATION = 1, 2


def random_crop(
    images: Tensor,
    *,
    padding: Pixels = 4,
    mode: Literal["constant", "reflect"] = "constant",
    generator: torch.Generator,
) -> Tensor:
    """Pad each image and cut a random window of the old size out of it.

    As He et al. 2016, arXiv:1512.03385, section 4.2, with zeros; with the mirrored border as K. Jordan 2024,
    arXiv:2404.00498.

    Args:
        images: (N, 3, H, W) uint8 or float.
        padding: Width in pixels of the border on each side, less than the image; each offset is uniform over
            0..2 padding.
        mode: "constant" for a border of zeros, "reflect" for the image mirrored at its edge, whose own pixels are not
            repeated.
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
    if mode == "reflect":
        # by row numbers: PyTorch pads images of bytes with zeros only
        rows, columns = (_reflected(size, padding, images.device) for size in (height, width))
        padded = pixels.index_select(1, rows).index_select(2, columns)
    else:
        padded = torch.nn.functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (N, 2p+1, 2p+1, 3, H, W), a view
    crops = windows.permute(0, 1, 2, 4, 5, 3)[samples, shifts[0], shifts[1]]  # (N, H, W, 3)
    return crops.permute(0, 3, 1, 2)


def _reflected(size: int, padding: int, device: torch.device) -> Tensor:
    """Return (size + 2 padding,) int64 positions: 2 1 0 1 2 3 2 1 for 4 positions and a padding of 2."""
    import torch

    positions = torch.arange(-padding, size + padding, device=device).abs()
    return size - 1 - (size - 1 - positions).abs()


def horizontal_flip(images: Tensor, *, probability: Share = 0.5, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with the given probability.

    Args:
        images: (N, 3, H, W) uint8 or float.
        probability: Probability that an image is mirrored, in [0, 1].
        generator: Random generator on the images' device.

    Returns:
        (N, 3, H, W) of the same dtype, channels_last.
    """
    import torch

    return _mirrored(images, torch.rand(len(images), generator=generator, device=images.device) < probability)


def alternating_flip(images: Tensor, *, index: Tensor, epoch: int, seed: int) -> Tensor:
    """Mirror a random half of the images in the first epoch, and in each later one the other half of the one before.

    So any two epochs in a row show both sides of every image. K. Jordan 2024, arXiv:2404.00498, section 3.6.

    Args:
        images: (N, 3, H, W) uint8 or float.
        index: (N,) int64, the number of each image in the training split.
        epoch: Number of the epoch, from 0.
        seed: Seed of the recipe, which chooses the half.

    Returns:
        (N, 3, H, W) of the same dtype, channels_last.
    """
    return _mirrored(images, (_coin(index, seed=seed) + epoch) % 2 == 1)


def _coin(index: Tensor, *, seed: int) -> Tensor:
    """Return a fair random bit for each number, (N,) int64, always the same for a seed.

    Shifts and products that spread each bit of the input over all of the output, as finalisers of hash functions do, on
    31 bits: products stay below 64 bits.
    """
    bits = (index * 0x9E3779B1 + seed * 0x85EBCA6B % 2**31) % 2**31
    for factor in (0x45D9F3B, 0x45D9F3B):
        bits = ((bits ^ (bits >> 16)) * factor) % 2**31
    return (bits >> 15) & 1


def _mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Return the images, those of which (N,) `which` is true mirrored left to right, channels_last."""
    import torch

    count = len(images)
    samples = torch.arange(count, device=images.device)
    pixels = images.permute(0, 2, 3, 1)
    both = torch.stack((pixels, pixels.flip(2)))  # (2, N, H, W, 3)
    # a selection of whole images: a third of the time of torch.where, which asks for each pixel
    return both.flatten(0, 1).index_select(0, samples + count * which).permute(0, 3, 1, 2)


def cutout(images: Tensor, *, size: Pixels = 16, generator: torch.Generator) -> Tensor:
    """Blank a random square of each image.

    DeVries & Taylor 2017, arXiv:1708.04552: the centre is uniform over the image, so the square may reach over the
    edge. Its value is 0 before normalisation, black, where the paper has the mean of the images.

    Args:
        images: (N, 3, H, W) uint8 or float.
        size: Height and width of the square in pixels.
        generator: Random generator on the images' device.

    Returns:
        (N, 3, H, W) of the same dtype, channels_last.
    """
    import torch

    count, _, height, width = images.shape
    inside: list[Tensor] = []
    for length in (height, width):
        centres = torch.randint(length, (count, 1), generator=generator, device=images.device)
        positions = torch.arange(length, device=images.device)
        first = centres - size // 2
        inside.append((positions >= first) & (positions < first + size))  # (N, length)
    square = inside[0][:, :, None, None] & inside[1][:, None, :, None]  # (N, H, W, 1)
    return images.permute(0, 2, 3, 1).masked_fill(square, 0).contiguous().permute(0, 3, 1, 2)


def color_jitter(
    images: Tensor,
    *,
    brightness: Spread = 0.4,
    contrast: Spread = 0.4,
    saturation: Spread = 0.4,
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
    "random_resized_crop": random_resized_crop,
    "flip": horizontal_flip,
    "alternating_flip": alternating_flip,
    "cutout": cutout,
    "jitter": color_jitter,
}
