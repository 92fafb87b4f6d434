"""Images of a data set that are the same, and images that look alike."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raytrain.data.images import ImageDataset
from raytrain.data.inspection.overlap import contents
from raytrain.data.layouts.decode import resized
from raytrain.data.mapped import Images

NEAR = 3
"""Largest number of bits, of 64, in which the hashes of two images that look alike differ."""
HASHED_SIZE = 32
"""Height and width in pixels at which images are hashed."""
BITS_A_SIDE = 8
"""Number of the lowest frequencies in each direction that make the hash."""
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Share of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
BLOCK = 512
"""Number of images that are compared with all others at a time: 120 MB for 60,000 images."""


class Row(NamedTuple):
    """An image of a data set.

    Attributes:
        part: "train", "val" or "test".
        number: Its row in the part.
        label: Its class.
    """

    part: str
    number: int
    label: int


def duplicates(dataset: ImageDataset) -> list[list[Row]]:
    """Return the groups of images with the same decoded pixels, each with two images or more."""
    groups: defaultdict[bytes, list[Row]] = defaultdict(list)
    hashes = [one for part in dataset.parts.values() for one in contents(part)]
    for row, content in zip(_rows(dataset), hashes, strict=True):
        groups[content].append(row)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicates(dataset: ImageDataset) -> Iterator[tuple[Row, Row]]:
    """Yield the pairs of images that look alike and are not the same: their hashes differ in at most `NEAR` bits.

    The hash is that of Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section
    3.2.1: the signs of the 64 lowest frequencies about their median. Differs from it: the constant term is left out of
    the median and always 1, as no brightness is to tell images apart. Of images that are the same, the first is
    compared. Time grows with the square of the number of images; CIFAR-10 took 17 s of processor time, with the rest of
    `raytrain data verify`.
    """
    first: dict[bytes, int] = {}
    for index, content in enumerate(one for part in dataset.parts.values() for one in contents(part)):
        first.setdefault(content, index)
    different = list(first.values())
    signs = np.concatenate([perceptual_signs(part.images) for part in dataset.parts.values()])
    rows, signs = list(_rows(dataset)), signs[different]
    for start in range(0, len(signs), BLOCK):
        block = signs[start : start + BLOCK]
        alike = block @ signs[start:].T >= block.shape[1] - 2 * NEAR  # a bit that differs takes 2 from the product
        for one, other in zip(*np.nonzero(np.triu(alike, k=1)), strict=True):
            yield rows[different[start + one]], rows[different[start + other]]


def perceptual_signs(images: Images) -> NDArray[np.float32]:
    """Return the perceptual hash of each image, as numbers whose products count equal bits.

    Args:
        images: (N, H, W, 3) uint8.

    Returns:
        (N, 64) float32, each 1 or -1.
    """
    from scipy.fft import dctn

    signs = np.empty((len(images), BITS_A_SIDE**2), dtype=np.float32)
    for start in range(0, len(images), BLOCK):
        block = resized(images[start : start + BLOCK], image_size=HASHED_SIZE)
        frequencies: NDArray[np.float32] = np.asarray(dctn(block @ GREY, axes=(1, 2)))
        low = frequencies[:, :BITS_A_SIDE, :BITS_A_SIDE].reshape(len(block), -1)
        above = low > np.median(low[:, 1:], axis=1, keepdims=True)
        above[:, 0] = True
        signs[start : start + BLOCK] = np.where(above, 1, -1)
    return signs


def _rows(dataset: ImageDataset) -> Iterator[Row]:
    for name, part in dataset.parts.items():
        for index, label in enumerate(part.labels.tolist()):
            yield Row(name, index, label)
