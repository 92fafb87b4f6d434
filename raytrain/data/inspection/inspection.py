"""What a data set holds, as one document: what `raytrain data verify --json` prints, and what its page shows."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypedDict

import numpy as np

from raytrain.data.images import ImageDataset, part_words
from raytrain.data.inspection.duplicates import Row, duplicates, near_duplicates
from raytrain.data.inspection.overlap import in_both

SCHEMA_VERSION = 1
FEW = 10
"""A class with fewer training images is named in a warning."""
UNBALANCED = 10
"""How many times as many training images a class has as another one when a warning says so: of two such classes, a
network that knows only the frequent one reaches an accuracy of 91 %."""
LISTED = 1000
"""Most groups of images that a document lists; all are counted."""
MOST_PAIRS = 100_000
"""Pairs of images that look alike after which no more are looked for: then all images of a class may do."""
NAMED = 10
"""Most classes that a warning names."""


class FoundImage(TypedDict):
    """An image, by its part, its name in the files and the name of its class."""

    part: str
    name: str
    label: str


class Alike(TypedDict):
    """Images that are the same, or look alike.

    Attributes:
        within: By part, the number of images that an image before them in the part repeats; of images that look
            alike, of pairs.
        across: By two parts, such as "train, test", the number of different images that are in both; or of pairs.
        other_class: Number of groups whose images do not all have the same class.
        groups: The images, at most `LISTED` groups of them.
    """

    within: dict[str, int]
    across: dict[str, int]
    other_class: int
    groups: list[list[FoundImage]]


class Inspection(TypedDict):
    """What a data set holds.

    Attributes:
        schema_version: Version of this form.
        dataset: Name, path or URI.
        image_size: Height and width in pixels that the images are brought to.
        fingerprint: The fingerprint of the data set.
        classes: Number of images by part and class.
        files: Number of image files by format, by Pillow mode and by size in pixels ("WIDTHxHEIGHT"), and how many of
            them were `turned` by their EXIF orientation or have `transparent` pixels, which now show the colour
            `background`.
        labels: What the classes are named by: "folders", "metadata", "words" or "integers"; empty without files.
        left_out: Number of files that are no images, by what they are.
        unreadable: Name and fault of each image that cannot be read; none of them is counted in `classes`.
        duplicates: Images with the same pixels.
        near_duplicates: Images that look alike; None where they were not looked for.
        remarks: What was decided.
        warnings: What a person should look at.
        refusal: Why nothing may be trained on these images; empty where it may.
    """

    schema_version: int
    dataset: str
    image_size: int
    fingerprint: str
    classes: dict[str, dict[str, int]]
    files: dict[str, Any]
    labels: str
    left_out: dict[str, int]
    unreadable: list[dict[str, str]]
    duplicates: Alike
    near_duplicates: Alike | None
    remarks: list[str]
    warnings: list[str]
    refusal: str


def inspect(dataset: ImageDataset, name: str, *, near: bool) -> Inspection:
    """Return what a data set holds.

    Args:
        dataset: What `read` returned.
        name: Name, path or URI of it.
        near: Whether to look for images that look alike.
    """
    origin = dataset.origin
    counts = {
        part: np.bincount(images.labels, minlength=len(dataset.classes)).tolist()
        for part, images in dataset.parts.items()
    }
    repeated = _alike(duplicates(dataset), dataset)
    pairs = list(islice(near_duplicates(dataset), MOST_PAIRS)) if near else []
    return Inspection(
        schema_version=SCHEMA_VERSION,
        dataset=name,
        image_size=dataset.train.images.shape[1],
        fingerprint=dataset.fingerprint,
        classes={part: dict(zip(dataset.classes, of_part, strict=True)) for part, of_part in counts.items()},
        files={
            "formats": dict(origin.formats),
            "modes": dict(origin.modes),
            "sizes": dict(origin.sizes),
            "turned": origin.turned,
            "transparent": origin.transparent,
            "background": origin.background,
        },
        labels=origin.labels,
        left_out=dict(origin.left_out),
        unreadable=[{"name": image, "fault": fault} for image, fault in origin.unreadable],
        duplicates=repeated,
        near_duplicates=_alike(pairs, dataset) if near else None,
        remarks=list(origin.remarks),
        warnings=list(
            dict.fromkeys(  # what loading has warned of is not said again
                [
                    *origin.warnings,
                    *_class_warnings(dataset.classes, counts),
                    *_alike_warnings(repeated, len(pairs), refused=bool(origin.refusal)),
                ]
            )
        ),
        refusal=origin.refusal,
    )


def _alike(groups: Sequence[Sequence[Row]], dataset: ImageDataset) -> Alike:
    within = dict.fromkeys(dataset.parts, 0)
    across: dict[str, int] = {}
    for group in groups:
        parts = [row.part for row in group]
        there = list(dict.fromkeys(parts))
        for part in there:
            within[part] += parts.count(part) - 1
        for number, one in enumerate(there):
            for other in there[number + 1 :]:
                across[f"{one}, {other}"] = across.get(f"{one}, {other}", 0) + 1
    return Alike(
        within=within,
        across=across,
        other_class=sum(len({row.label for row in group}) > 1 for group in groups),
        groups=[[_found(row, dataset) for row in group] for group in _across_first(groups)],
    )


def _across_first(groups: Sequence[Sequence[Row]]) -> Iterable[Sequence[Row]]:
    """Return the groups to list, those first that matter most: in several parts, of several classes."""
    ordered = sorted(groups, key=lambda group: (-len({row.part for row in group}), -len({row.label for row in group})))
    return ordered[:LISTED]


def _found(row: Row, dataset: ImageDataset) -> FoundImage:
    names = dataset.origin.names.get(row.part)
    name = names[row.number] if names else f"{row.part} row {row.number}"
    return FoundImage(part=row.part, name=name, label=dataset.classes[row.label])


def _class_warnings(classes: Sequence[str], counts: dict[str, list[int]]) -> Iterable[str]:
    for part, of_part in counts.items():
        if none := [name for name, count in zip(classes, of_part, strict=True) if not count]:
            yield f"there is no {part_words(part)} image of the class {_some(none)}"
    counted = {name: count for name, count in zip(classes, counts["train"], strict=True) if count}
    most, least = max(counted, key=counted.__getitem__), min(counted, key=counted.__getitem__)
    if counted[most] >= UNBALANCED * counted[least]:
        times = counted[most] // counted[least]
        yield (
            f"the class {most} has {times:,} times as many training images as {least}, so accuracy says little of the "
            "rare classes; select: balanced_accuracy counts all alike, and class_weights: balanced or sampler: "
            "balanced trains them more"
        )
    if few := [f"{name} ({count})" for name, count in zip(classes, counts["train"], strict=True) if 0 < count < FEW]:
        yield f"there are fewer than {FEW} training images of the class {_some(few)}"


def _alike_warnings(repeated: Alike, pairs: int, *, refused: bool) -> Iterable[str]:
    for parts, count in repeated["across"].items():
        one, _, other = parts.partition(", ")
        if not refused:
            yield in_both(count, other, one)
    if count := repeated["other_class"]:
        what = "1 image is" if count == 1 else f"{count:,} different images are"
        yield f"{what} there more than once, under different classes"
    if pairs == MOST_PAIRS:
        yield f"more than {MOST_PAIRS:,} pairs of images look alike; no more were looked for"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
