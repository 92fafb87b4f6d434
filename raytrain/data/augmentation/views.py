"""Views of images that test-time augmentation averages over.

`mirror` and `shifts` are the two levels of K. Jordan 2024, arXiv:2404.00498, section 3.5, with its weights. There
images have 32 pixels; here they may have any size.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def _mirror(images: Tensor) -> list[tuple[float, Tensor]]:
    """Return an image and its mirror image, with their weights."""
    return [(1 / 2, images), (1 / 2, images.flip(3))]


def _shifts(images: Tensor) -> list[tuple[float, Tensor]]:
    """Return an image and two copies that are shifted by a pixel up and left, and down and right, each and mirrored.

    What a shift uncovers is the mirrored border. The image itself has half of the weight.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    corners = (padded[:, :, :height, :width], padded[:, :, 2:, 2:])
    views = [(1 / 4, view) for view in (images, images.flip(3))]
    return views + [(1 / 8, view) for corner in corners for view in (corner, corner.flip(3))]


VIEWS: dict[str, Callable[[Tensor], list[tuple[float, Tensor]]]] = {"mirror": _mirror, "shifts": _shifts}
"""Views of an image that test-time augmentation averages over, with their weights, which add up to 1. The first is the
image itself."""
VIEW_COUNT = {"none": 0, "mirror": 2, "shifts": 6}
"""Number of views of each value of the recipe's `tta`, of which the first is the image itself."""
