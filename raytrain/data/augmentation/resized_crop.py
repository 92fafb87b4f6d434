"""A random part of each image, resized: the augmentation of ImageNet, on whole batches.

PyTorch is imported only where it computes, as in `raytrain.data.augmentation.augment`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le

if TYPE_CHECKING:
    import torch
    from torch import Tensor

AreaShare = Annotated[float, Gt(0), Le(1)]
"""A share of an image's area, in (0, 1]."""
SideRatio = Annotated[float, Ge(0.01), Le(100)]
"""Width over height."""
Size = Annotated[int, Ge(0), Le(1024)]
"""A length in pixels; 0 for that of the images."""

TRIES = 10
"""Number of boxes that are drawn for an image; if none of them fits into it, the largest at its centre is taken."""


def random_resized_crop(
    images: Tensor,
    *,
    scale: tuple[AreaShare, AreaShare] = (0.08, 1.0),
    ratio: tuple[SideRatio, SideRatio] = (3 / 4, 4 / 3),
    size: Size = 0,
    generator: torch.Generator,
) -> Tensor:
    """Cut a random box out of each image and resize it: bilinear, with antialiasing where it shrinks.

    As torchvision's RandomResizedCrop, after Szegedy et al. 2014, arXiv:1409.4842, section 6; every image of a batch
    has a box of its own.

    Args:
        images: (N, 3, H, W) uint8 or float.
        scale: Least and largest share of the image's area that the box has before it is rounded to pixels.
        ratio: Least and largest width over height of the box.
        size: Height and width of the results in pixels, 0 for those of the images. Images that are stored larger than
            the network needs give boxes with more detail.
        generator: Random generator on the images' device.

    Returns:
        (N, 3, size, size) of the same dtype, channels_last.
    """
    height, width = images.shape[2:]
    boxes = draw_boxes(len(images), height, width, scale=scale, ratio=ratio, generator=generator)
    return crop_and_resize(images, boxes, height=size or height, width=size or width)


def draw_boxes(
    count: int,
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Return random boxes within an image.

    Args:
        count: Number of boxes.
        height: Height of the image in pixels.
        width: Its width in pixels.
        scale: Least and largest share of its area.
        ratio: Least and largest width over height.
        generator: Random generator.

    Returns:
        (count, 4) int64 on the generator's device: top, left, height, width, in pixels.
    """
    import torch

    from raytrain.data.batches import exact_dtype

    device = generator.device
    draws = torch.rand(4, count, TRIES, generator=generator, device=device, dtype=exact_dtype(device))
    areas = height * width * (min(scale) + draws[0] * (max(scale) - min(scale)))
    low, high = math.log(min(ratio)), math.log(max(ratio))
    ratios = (low + draws[1] * (high - low)).exp()
    widths, heights = (areas * ratios).sqrt().round().long(), (areas / ratios).sqrt().round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    tops = (draws[2] * (height - heights + 1)).long()
    lefts = (draws[3] * (width - widths + 1)).long()
    tried = torch.stack([tops, lefts, heights, widths], dim=2)  # (count, TRIES, 4)
    first = fits.byte().argmax(dim=1)  # the first of those that fit: argmax of equal values is the first
    chosen = tried.gather(1, first[:, None, None].expand(-1, 1, 4))[:, 0]
    return torch.where(fits.any(dim=1)[:, None], chosen, chosen.new_tensor(_central(height, width, ratio)))


def _central(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return the largest box at the centre whose width over height is allowed: top, left, height, width."""
    least, largest = min(ratio), max(ratio)
    tall, wide = height, width
    if width / height < least:
        tall = round(width / least)
    elif width / height > largest:
        wide = round(height * largest)
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def crop_and_resize(images: Tensor, boxes: Tensor, *, height: int, width: int) -> Tensor:
    """Return a box of each image at one size: bilinear, with antialiasing where it shrinks.

    Args:
        images: (N, 3, H, W) uint8 or float.
        boxes: (N, 4) int64: top, left, height, width, in pixels, within the image.
        height: Height of the results in pixels.
        width: Their width in pixels.

    Returns:
        (N, 3, height, width) of the same dtype, channels_last; uint8 is rounded.
    """
    import torch

    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    tops, lefts, heights, widths = boxes.unbind(dim=1)
    rows = _weights(tops, heights, length=images.shape[2], size=height)[:, None]  # (N, 1, height, H)
    columns = _weights(lefts, widths, length=images.shape[3], size=width)[:, None]  # (N, 1, width, W)
    resized = rows @ planes @ columns.transpose(2, 3)
    if not images.is_floating_point():
        resized = resized.round_().clamp_(0, 255)
    return resized.to(images.dtype).contiguous(memory_format=torch.channels_last)


def _weights(starts: Tensor, lengths: Tensor, *, length: int, size: int) -> Tensor:
    """Return what each pixel of a line contributes to each pixel of the resized part of it.

    A triangle about the centre of the new pixel, as wide as a new pixel where the part shrinks and as an old one where
    it grows, within the part.

    Args:
        starts: (N,) int64, first pixel of the part.
        lengths: (N,) int64, number of its pixels.
        length: Number of pixels of the line.
        size: Number of new pixels.

    Returns:
        (N, size, length) float32; each row adds up to 1.
    """
    import torch

    device = starts.device
    first, count = starts[:, None, None].float(), lengths[:, None, None].float()
    step = count / size
    centres = first + (torch.arange(size, device=device)[:, None] + 0.5) * step  # (N, size, 1)
    pixels = torch.arange(length, device=device)
    distance = (pixels + 0.5 - centres) / step.clamp(min=1)
    inside = (pixels >= first) & (pixels < first + count)
    weights = (1 - distance.abs()).clamp_(min=0) * inside
    return weights / weights.sum(dim=2, keepdim=True)
