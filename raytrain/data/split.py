"""The fixed split of the training images into training and validation."""

import logging
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raytrain.data.images import ImageDataset, LabelledImages, Splits, image_dataset
from raytrain.data.mapped import Images, chunks, joined, rows_of
from raytrain.errors import DataError, counted

log = logging.getLogger(__name__)

TEST_SIZE = 0.2
"""Share of the images to test on where a source has no test part and nothing else is said."""

# One split for every recipe and seed, so that trials are compared on the same validation images.
SPLIT_SEED = 0


def refuse_no_size(size: float, *, name: str) -> None:
    """Raise DataError where a `val_size` or a `test_size` is neither a share nor a number of images."""
    if not math.isfinite(size) or size < 0 or (size > 1 and size != int(size)):
        raise DataError(f"{name} is {size}; give 0 for none, a share below 1, or a whole number of images")


def with_test(dataset: ImageDataset, test_size: float) -> ImageDataset:
    """Return the data set with test images: its own, or else `test_size` of its training images, stratified by class.

    Args:
        dataset: What a source returned.
        test_size: A share of the images below 1, or a count.

    Raises:
        DataError: The images cannot be split that way.
    """
    if len(dataset.test):
        return dataset
    count = _count(dataset.train, test_size, name="test_size")
    if count == 0:
        raise DataError(f"there is no test part, and test_size is {test_size:g}; give a share or a number of images")
    train_rows, test_rows = stratified(dataset.train.labels, count, classes=dataset.classes, part="test")
    train, test = _take(dataset.train, train_rows), _take(dataset.train, test_rows)
    if names := dataset.origin.names.get("train"):
        parts = {"train": [names[row] for row in train_rows], "test": [names[row] for row in test_rows]}
        dataset.origin.names.update(parts)
    dataset.origin.remarks.append(f"there is no test part, so {count:,} images are set aside for the test")
    found = image_dataset(train, test, classes=dataset.classes, val=dataset.val, origin=dataset.origin)
    return replace(found, test_set_aside=True)


def refuse_no_classes(dataset: ImageDataset, *, name: str) -> None:
    """Raise DataError where a data set has fewer than two classes.

    Args:
        dataset: What a source returned.
        name: Its name, for the message.
    """
    if (count := len(dataset.classes)) < 2:
        classes = "1 class" if count == 1 else "no class"
        raise DataError(f"{name!r} has {classes}; give a data set with at least two")


def refuse_unsplittable(dataset: ImageDataset, val_size: float) -> None:
    """Raise DataError where `split` would; nothing is computed of the pixels."""
    if dataset.val is None and (count := _count(dataset.train, val_size, name="val_size")):
        stratified(dataset.train.labels, count, classes=dataset.classes)


def split(dataset: ImageDataset, val_size: float) -> Splits:
    """Return the data set with its validation images, or `val_size` of its training images set aside for them.

    A source with a validation part of its own keeps it, unless `val_size` is 0: then it is trained on. Otherwise the
    images that are set aside are stratified by class. Both parts keep the order of the source. The mean and the
    standard deviation are those of the images left for training, never of the validation or test images.

    Args:
        dataset: What a source returned.
        val_size: 0 for no validation images, a share of the training images below 1, or a count.

    Raises:
        DataError: The training images cannot be split that way.
    """
    count = 0 if dataset.val else _count(dataset.train, val_size, name="val_size")
    if dataset.val and val_size:
        train, val = dataset.train, dataset.val
    elif dataset.val:
        train, val = _together(dataset.train, dataset.val), _take(dataset.val, np.empty(0, dtype=np.int64))
    elif count == 0:
        train, val = dataset.train, _take(dataset.train, np.empty(0, dtype=np.int64))
    else:
        train_rows, val_rows = stratified(dataset.train.labels, count, classes=dataset.classes)
        train, val = _take(dataset.train, train_rows), _take(dataset.train, val_rows)
    mean, std = channel_statistics(train.images)
    return Splits(
        train=train,
        val=val,
        test=dataset.test,
        classes=dataset.classes,
        mean=mean,
        std=std,
        fingerprint=dataset.fingerprint,
        test_set_aside=dataset.test_set_aside,
    )


def stratified(
    labels: NDArray[np.int64], count: int, *, classes: tuple[str, ...], part: str = "validation"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted rows kept and the sorted rows set aside, each class in proportion, and both with every class.

    Args:
        labels: (N,) int64.
        count: How many rows to set aside.
        classes: The name of each label, for messages.
        part: What the rows are set aside for, for messages: "validation" or "test".

    Raises:
        DataError: A part cannot hold every class, or a class has fewer than two images.
    """
    present, sizes = np.unique(labels, return_counts=True)
    if count < len(present) or len(labels) - count < len(present):
        raise DataError(
            f"{counted(count, f'{part} image')} of {counted(len(labels), 'training image')} cannot be stratified over "
            f"{len(present)} classes; {_advice(part)} so that both parts have {len(present)} images or more"
        )
    if sizes.min() < 2:
        name = classes[int(present[sizes.argmin()])]
        raise DataError(
            f"class {name!r} has 1 training image; a class needs 2 or more to be in both training and {part}: add "
            f"images{', drop the class, or set val_size to 0' if part == 'validation' else ' or drop the class'}"
        )
    given = _shares(sizes, count)
    generator = np.random.default_rng(SPLIT_SEED)
    aside = np.concatenate(
        [
            generator.permutation(np.flatnonzero(labels == label))[:number]
            for label, number in zip(present, given, strict=True)
        ]
    )
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), aside), np.sort(aside)


def _shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many images each class gives, in proportion: at least one, and not all of them.

    Args:
        sizes: (C,) int64, images of each class, at least 2.
        count: Sum of what is returned; at least C, and C images or more are left.
    """
    # Each class gives its share rounded down, and those that lost most to rounding give one more. Not scikit-learn's
    # train_test_split, which does the same: its import takes 1.2 s of every start.
    given, lost = np.divmod(count * sizes, sizes.sum())
    given[np.argsort(-lost, kind="stable")[: count - given.sum()]] += 1
    given = np.clip(given, 1, sizes - 1)  # balanced accuracy of 95 cats and no dog would be that of the cats
    while excess := int(given.sum()) - count:
        room = given - 1 if excess > 0 else sizes - 1 - given
        given[room.argmax()] -= 1 if excess > 0 else -1
    return given


def _advice(part: str) -> str:
    return "set val_size to 0, or choose it" if part == "validation" else "choose test_size"


def channel_statistics(images: Images) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and population standard deviation per channel of `images` / 255.

    Computed in integers from one histogram per channel, so exact up to the last rounding. A channel of one
    single value gets the deviation 1, so that normalising it gives zeros.

    Args:
        images: (N, H, W, 3) uint8, N at least 1.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for some in chunks(images):  # bincount widens uint8 to int64: all of CIFAR-10 at once would take 1.2 GB
        pixels = some.reshape(-1, 3)
        for channel in range(3):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    red, green, blue = (_moments(row) for row in counts)
    return (red[0], green[0], blue[0]), (red[1], green[1], blue[1])


def _moments(counts: NDArray[np.int64]) -> tuple[float, float]:
    values = np.arange(256, dtype=np.int64)
    pixels, total, squares = int(counts.sum()), int(counts @ values), int(counts @ values**2)
    spread = pixels * squares - total * total  # of Python integers: exceeds 64 bits on CIFAR-10
    return total / (255 * pixels), math.sqrt(spread) / (255 * pixels) if spread else 1.0


def _count(train: LabelledImages, size: float, *, name: str) -> int:
    """Return how many images a `val_size` or a `test_size` is of some training images.

    A share that is fewer images than there are classes is one image of each class.
    """
    refuse_no_size(size, name=name)
    count = round(size * len(train)) if size < 1 else int(size)
    if count >= len(train):
        raise DataError(
            f"{name} {size} leaves nothing to train on: the data set has {counted(len(train), 'training image')}; "
            "give a smaller number, or a share below 1"
        )
    if size > 0 and count == 0:
        raise DataError(
            f"{name} {size} of {len(train)} training images is no image; give a larger share, or 0 for none"
        )
    classes = len(np.unique(train.labels))
    if size < 1 and 0 < count < classes <= len(train) // 2:
        of = f"{name} {size:g} of {len(train)} training images is {count}"
        log.info("%s, fewer than there are classes; %s are set aside, one of each class", of, classes)
        return classes
    return count


def _together(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    return LabelledImages(joined(first.images, second.images), np.concatenate([first.labels, second.labels]))


def _take(images: LabelledImages, rows: NDArray[np.int64]) -> LabelledImages:
    return LabelledImages(images=rows_of(images.images, rows), labels=images.labels[rows])
