"""Images that are in the training part and in the test part, by their decoded content."""

import hashlib
import logging

from raytrain.data.images import ImageDataset, LabelledImages
from raytrain.errors import DataError

log = logging.getLogger(__name__)


def check_overlap(dataset: ImageDataset, *, address: str) -> ImageDataset:
    """Return `dataset`; warn where some test images are training images too.

    Args:
        dataset: What was decoded.
        address: Path or URI of it, for messages.

    Raises:
        DataError: The test images are the training images.
    """
    train, test = _contents(dataset.train), _contents(dataset.test)
    shared = len(test & train)
    if shared and test == train:
        raise DataError(
            f"{address}: the {len(dataset.test):,} test images are the training images; give images to test on that no "
            "network has seen"
        )
    if shared:
        log.warning("%s: %d different test images are training images too", address, shared)
    return dataset


def _contents(images: LabelledImages) -> set[bytes]:
    return {hashlib.blake2b(image.data, digest_size=16).digest() for image in images.images}
