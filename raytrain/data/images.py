"""Labelled images: what a source returns and what training reads."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raytrain.data.mapped import Images, chunks
from raytrain.data.origin import Origin
from raytrain.errors import counted

_PART_WORDS = {"train": "training", "val": "validation", "test": "test"}


def part_words(part: str) -> str:
    """Return what a part is called in sentences: "training" for "train"."""
    return _PART_WORDS[part]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and their labels, row by row.

    Attributes:
        images: Pixels, (N, H, W, 3) uint8, C-contiguous, or mapped where they do not fit into memory.
        labels: Classes, (N,) int64, each an index into the class names.
    """

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """A data set as its source delivers it.

    Attributes:
        train: All training images; the validation images are still among them.
        test: The test images, read once at the end of a run; none where the source has no test part.
        classes: The name of each label.
        fingerprint: The first 16 hex digits of the SHA-256 of the decoded content.
        val: The validation images of a source that has a part for them; None where they are split off.
        origin: What reading its files met; empty where there are none.
        test_set_aside: Whether the test images were set aside from the others, because the source has no test part:
            then they are other ones as soon as an image is added or removed.
    """

    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    fingerprint: str
    val: LabelledImages | None = None
    origin: Origin = field(default_factory=Origin)
    test_set_aside: bool = False

    @property
    def parts(self) -> dict[str, LabelledImages]:
        """The parts that have images, by name: "train", "val", "test"."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part}

    @property
    def summary(self) -> str:
        """The data set in a line: how many images of which part, and what was decided or changed to get them."""
        *first, last = [f"{len(part):,} {part_words(name)}" for name, part in self.parts.items()]
        whole = f"{', '.join(first)} and {last}" if first else last
        origin, applied = self.origin, list(self.origin.remarks)
        if origin.turned:
            are, its = ("1 is", "its") if origin.turned == 1 else (f"{origin.turned:,} are", "their")
            applied.append(f"{are} turned as {its} EXIF data says")
        if origin.transparent:
            have = "1 has" if origin.transparent == 1 else f"{origin.transparent:,} have"
            applied.append(f"{have} transparent pixels, which are {origin.background}")
        images = "image" if [*map(len, self.parts.values())] == [1] else "images"
        return "; ".join([f"{whole} {images} in {counted(len(self.classes), 'class', 'classes')}", *applied])


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set split for training; pickle protocol 5 sends the arrays out of band.

    Attributes:
        train: The images that train the model.
        val: The images that choose the epoch and the trial; may be empty.
        test: The images that judge the model.
        classes: The name of each label.
        mean: Mean of each channel of `train`, on the scale [0, 1].
        std: Population standard deviation of each channel of `train`, on the scale [0, 1].
        fingerprint: The fingerprint of the data set, which does not depend on the split.
        test_set_aside: Whether the test images were set aside from the others, because the source has no test part.
    """

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fingerprint: str
    test_set_aside: bool = False

    @property
    def bytes_in_memory(self) -> int:
        """Number of bytes that the images take in memory; those that stay in files take none."""
        parts = (self.train.images, self.val.images, self.test.images)
        return sum(images.nbytes for images in parts if isinstance(images, np.ndarray))


def image_dataset(
    train: LabelledImages,
    test: LabelledImages,
    *,
    classes: tuple[str, ...],
    val: LabelledImages | None = None,
    origin: Origin | None = None,
) -> ImageDataset:
    """Return the data set with the fingerprint of its content."""
    digest = hashlib.sha256(repr(classes).encode())
    for part in (train, test, *([val] if val else [])):
        digest.update(f"{part.images.dtype.str}{part.images.shape}".encode())
        for some in chunks(part.images):
            digest.update(np.ascontiguousarray(some).data)
        digest.update(f"{part.labels.dtype.str}{part.labels.shape}".encode())
        digest.update(np.ascontiguousarray(part.labels).data)
    fingerprint = digest.hexdigest()[:16]
    return ImageDataset(train, test, classes=classes, fingerprint=fingerprint, val=val, origin=origin or Origin())
