"""Images that are the same as others, by their decoded content."""

import hashlib

import numpy as np

from raytrain.data.images import ImageDataset, LabelledImages, part_words
from raytrain.data.mapped import chunks

NAMED = 10
"""Most classes that a warning names."""
_SET_ASIDE = "or leave the validation images out: then some training images are set aside for validation"
ADVICE = {
    ("test", "train"): "give images to test on that no network has seen",
    ("val", "train"): f"give images to validate on that no network has trained on, {_SET_ASIDE}",
    ("test", "val"): f"give images to test on that no network was chosen by, {_SET_ASIDE}",
}
"""What to do where the images of a part are those of another one."""


def compare_parts(dataset: ImageDataset) -> ImageDataset:
    """Return `dataset`; note in its origin which images two parts share, and classes with one image only.

    Training is to be refused where the images of two parts are the same. Icons may be one picture for each class: then
    there are no others.

    Args:
        dataset: What was decoded.
    """
    hashes = contents(dataset.train)
    of = {
        "train": set(hashes),
        **{part: set(contents(dataset.parts[part])) for part in dataset.parts if part != "train"},
    }
    same = same_classes(dataset.train, hashes)
    icons = len(same) == len(np.unique(dataset.train.labels))
    for (part, other), advice in ADVICE.items():
        shared = len(of.get(part, set()) & of.get(other, set()))
        if shared and of[part] == of[other] and not icons:
            found = f"the {len(dataset.parts[part]):,} {part_words(part)} images are the {part_words(other)} images"
            dataset.origin.refusal = dataset.origin.refusal or f"{found}; {advice}"
        elif shared:
            dataset.origin.warnings.append(in_both(shared, part, other))
    repeats = len(hashes) - len(of["train"])
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
