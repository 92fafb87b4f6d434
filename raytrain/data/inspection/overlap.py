"""Images that are the same as others, by their decoded content."""

import hashlib

import numpy as np

from raytrain.data.images import ImageDataset, LabelledImages, part_words
from raytrain.data.mapped import chunks

NAMED = 10
"""Most classes that a warning names."""


def compare_parts(dataset: ImageDataset) -> ImageDataset:
    """Return `dataset`; note in its origin which test images are training images, and classes with one image only.

    Training is to be refused where the test images are the training images. Icons may be one picture for each class:
    then there is no other test set.

    Args:
        dataset: What was decoded.
    """
    hashes = contents(dataset.train)
    train, test = set(hashes), set(contents(dataset.test))
    same = same_classes(dataset.train, hashes)
    shared = len(test & train)
    if shared and test == train and len(same) < len(np.unique(dataset.train.labels)):
        dataset.origin.refusal = (
            f"the {len(dataset.test):,} test images are the training images; give images to test on that no network "
            "has seen"
        )
    elif shared:
        dataset.origin.warnings.append(in_both(shared, "test", "train"))
    repeats = len(hashes) - len(train)
    if repeats and not dataset.test:
        what = "1 image repeats" if repeats == 1 else f"{repeats:,} images repeat"
        dataset.origin.warnings.append(f"{what} another one, and may be in training and test alike")
    if same:
        some = ", ".join(dataset.classes[label] for label in same[:NAMED])
        more = f" and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
        dataset.origin.warnings.append(f"all training images are the same in the class {some}{more}")
    return dataset


def in_both(count: int, part: str, other: str) -> str:
    """Return a sentence on images that two parts share: "2 different test images are training images too"."""
    one, two = part_words(part), part_words(other)
    if count == 1:
        return f"1 {one} image is a {two} image too"
    return f"{count:,} different {one} images are {two} images too"


def contents(images: LabelledImages) -> list[bytes]:
    """Return a hash of the pixels of each image, 16 bytes."""
    return [hashlib.blake2b(image.data, digest_size=16).digest() for some in chunks(images.images) for image in some]


def same_classes(images: LabelledImages, hashes: list[bytes]) -> list[int]:
    """Return the labels of which there are several images that are all the same.

    Args:
        images: The images.
        hashes: What `contents` returns of them.
    """
    several: dict[int, set[bytes]] = {}
    for label, content in zip(images.labels.tolist(), hashes, strict=True):
        several.setdefault(label, set()).add(content)
    counts = np.bincount(images.labels, minlength=1)
    return sorted(label for label, different in several.items() if len(different) == 1 < counts[label])
