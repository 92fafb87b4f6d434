"""The size of the training images in the course of training: small at first, which takes less time, then full.

As the progressive learning of M. Tan and Q. Le 2021, arXiv:2104.00298, who also make the augmentation stronger with the
size; ours stays as it is. H. Touvron et al. 2019, arXiv:1906.06423, train on small images and fine-tune on larger ones.
An epoch at 24 pixels takes 56 % of the arithmetic of one at 32. A schedule is kept as text, `0:24,0.4:32`: from the
share 0 of the epochs on 24 pixels, from 0.4 on 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST, LARGEST = 8, 1024
"""Limits of a size in pixels, as for `image_size`."""
FORM = "write {0: 24, 0.4: 32}, or 0:24,0.4:32: a share of the epochs in [0, 1), and the pixels from there on"


def canonical_resolution(given: object) -> str:
    """Return the text of a schedule, "" for none.

    Args:
        given: A mapping from shares of the epochs to sizes in pixels, or the text.

    Raises:
        ValueError: It is something else, a share or size is out of range, or the first share is not 0.
    """
    if given in ("", None):
        return ""
    try:
        pairs: list[tuple[Any, Any]] = list(given.items()) if isinstance(given, Mapping) else _split(given)
        steps = sorted((float(share), int(size)) for share, size in pairs if int(size) == float(size))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{given!r} is not a schedule of sizes; {FORM}") from None
    shares = [share for share, _ in steps]
    if len(steps) < len(pairs) or not all(SMALLEST <= size <= LARGEST for _, size in steps):
        raise ValueError(f"{given!r}: sizes are whole pixels from {SMALLEST} to {LARGEST}; {FORM}")
    if not steps or shares[0] != 0 or not shares[-1] < 1 or len(set(shares)) < len(shares):
        raise ValueError(f"{given!r}: shares begin at 0, differ, and are below 1; {FORM}")
    return ",".join(f"{int(share) if share.is_integer() else share!r}:{size}" for share, size in steps)


def resolution_of(schedule: str, *, epoch: int, epochs: int, full: int) -> int:
    """Return the size in pixels of the images of an epoch.

    Args:
        schedule: As `canonical_resolution` returns it.
        epoch: Number of the epoch, from 0.
        epochs: Number of epochs.
        full: Size without a schedule.
    """
    # 0.28 of 25 epochs is 7.000000000000001 in floating point
    sizes = [int(size) for share, size in _split(schedule) if epoch >= float(share) * epochs - 1e-9]
    return sizes[-1] if sizes else full


def mean_area(schedule: str, *, epochs: int, full: int) -> float:
    """Return the mean number of pixels of a training image over all epochs, as a share of those at the size `full`."""
    sizes = (resolution_of(schedule, epoch=epoch, epochs=epochs, full=full) for epoch in range(epochs))
    return sum((size / full) ** 2 for size in sizes) / epochs


def resized(images: Tensor, size: int) -> Tensor:
    """Return images at another size: bilinear, with antialiasing where they shrink.

    Args:
        images: (N, 3, H, W) float.
        size: Height and width in pixels.
    """
    from torch.nn.functional import interpolate

    if images.shape[-1] == size:
        return images
    return interpolate(images, (size, size), mode="bilinear", antialias=True)


def _split(text: object) -> list[tuple[str, str]]:
    if not isinstance(text, str):
        raise TypeError
    return [(share, size) for part in text.split(",") if part for share, _, size in [part.partition(":")]]
