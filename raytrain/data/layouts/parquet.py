"""Images in Parquet files, laid out as the Hugging Face hub does.

https://huggingface.co/docs/hub/datasets-image: files train*.parquet and test*.parquet, or folders train/ and test/ of
such files; a column `img` or `image` with the encoded file, a column `label`. Differs from it: plain binary images and
other names of the columns are taken too, and only `bytes` is read, never `path`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.data.cache import cached_or_mapped
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.inspection.overlap import compare_parts
from raytrain.data.layouts.background import WHITE, key_suffix
from raytrain.data.layouts.columns import Columns, columns_of
from raytrain.data.layouts.image_tree import followed_links, refused_links
from raytrain.data.layouts.labels import gap_warning, missing_warning, refuse_ids, some
from raytrain.data.layouts.parquet_file import UNLABELLED, count_rows, read_labels, read_part
from raytrain.data.layouts.source_folder import SourceFolder, combined, hash_each
from raytrain.data.mapped import Images
from raytrain.data.origin import Origin
from raytrain.errors import DataError, counted, did_you_mean

# Part of the cache key: raise it when the same files shall give something else.
FORMAT = "parquet-6"

PARTS = {"train": "train", "test": "test", "val": "val|valid|validation|dev"}
"""What the name of a part's files, or of its folder, begins with, in any case of letters; no letter follows it."""
FOLDERS = ("data", "plain_text", "default")
"""Folders of a repository that are looked into first."""
_SHARD = re.compile(r"(.*)-(\d+)-of-(\d+)(.*)")


def find_parquet(folder: SourceFolder, configuration: str = "") -> SourceFolder | None:
    """Return the folder that holds the files of the part train: `folder`, or one in it; None if there is none.

    Args:
        folder: The folder of the data set.
        configuration: Which of several data sets in it; empty where there is one, or one that is the default.

    Raises:
        DataError: Several folders in it do, or none is called `configuration`.
    """
    if configuration:
        known = configurations(folder)
        if configuration not in known:
            there = f"choose one of {', '.join(known)}" if known else "there is no folder with train*.parquet in it"
            there = did_you_mean(configuration, known) or there
            raise DataError(f"{folder.address} holds no configuration {configuration!r}; {there}")
        return folder.folder(configuration)
    if _files(folder, "train"):
        return folder
    inside = folder.folders()
    for name in FOLDERS:
        if name in inside and _files(folder.folder(name), "train"):
            return folder.folder(name)
    if "train" in map(str.lower, inside):
        return None  # image files, maybe in many folders
    found = configurations(folder)
    if len(found) > 1:
        raise DataError(
            f"{folder.address} holds several data sets: {', '.join(found)}; name one, such as "
            f"{folder.address.rstrip('/')}#{found[0]}"
        )
    return folder.folder(found[0]) if found else None


def configurations(folder: SourceFolder) -> list[str]:
    """Return the sorted names of the folders in it that hold files of the part train."""
    return [name for name in folder.folders() if _files(folder.folder(name), "train")]


def load_parquet(
    folder: SourceFolder,
    *,
    image_size: int,
    columns: str = "",
    background: str = WHITE,
    follow_links: bool = False,
) -> ImageDataset:
    """Return the data set in a folder for which `find_parquet` found files, decoded once per machine.

    Without a test part, or with one that is not labelled, the validation part is the test set; without one either,
    there are no test images. Labels are what the files name as classes; else integers, words or true and false, each of
    which is a class of that name. Images that cannot be read are named in `origin.unreadable`.

    Args:
        folder: The folder that holds train*.parquet.
        image_size: Height and width in pixels; images of another size are cropped centrally and resized.
        columns: Names of the columns, as `canonical_columns` returns them; empty for the usual ones.
        background: Colour behind transparent pixels, as `canonical_background` returns it.
        follow_links: Whether links that lead out of the folder of the data set are followed.

    Raises:
        DataError: A file, column or label is missing or not usable, or links lead out of the folder; the message says
            where.
    """
    files = {part: found for part in PARTS if (found := _files(folder, part))}
    listed = [name for part in files.values() for name in part]
    outside = [name for name in listed if folder.leads_out(name)]
    if outside and not follow_links:
        raise DataError(f"{folder.address}: {refused_links(outside)}")
    _refuse_missing_shards(folder, listed)
    hashes = hash_each(folder, listed)
    for part in files.values():  # the images of two parts are compared once they are decoded
        _refuse_copies(folder, {name: hashes[name] for name in part})
    asked = columns_of(columns)
    _refuse_ids(folder, files["train"], asked)  # before the test part, whose faults are often the same
    none = _unlabelled(folder, files.get("test", []), asked)
    used = {part: found for part, found in files.items() if not (part == "test" and none)}

    def build(disk_folder: Path | None) -> ImageDataset:
        read: dict[str, tuple[Images, NDArray[Any]]] = {}
        names: tuple[str, ...] = ()
        origin = Origin(address=folder.address, background=background)
        if none:
            several = f"the {none:,} test images have no labels and are"
            origin.remarks.append(f"{'the only test image has no label and is' if none == 1 else several} not used")
        for part in ("train", "val", "test"):
            if part in used:
                images, labels, names = read_part(
                    folder,
                    used[part],
                    names,
                    part=part,
                    image_size=image_size,
                    columns=asked,
                    origin=origin,
                    disk_folder=disk_folder,
                )
                read[part] = images, labels
        if "test" not in read and "val" in read:
            origin.remarks.append("there are no labelled test images, so the validation images are the test set")
            read["test"] = read.pop("val")
            origin.names["test"] = origin.names.pop("val")
        classes, train = _numbered(folder, read["train"][1], names, origin)
        whole = {
            part: LabelledImages(images, _as_numbers(folder, labels, read["train"][1], names, part=part))
            for part, (images, labels) in read.items()
            if part != "train"
        }
        first = LabelledImages(read["train"][0], train)
        nothing = LabelledImages(first.images[:0], first.labels[:0])
        test = whole.get("test", nothing)
        dataset = image_dataset(first, test, classes=classes, val=whole.get("val"), origin=origin)
        return compare_parts(dataset)

    source = combined({**hashes, "": columns} if columns else hashes)
    size = sum(count_rows(folder, file) for part in used.values() for file in part) * image_size**2 * 3
    key = f"{FORMAT}-{image_size}-{source[:32]}{key_suffix(background)}"
    dataset = cached_or_mapped(key, build, size=size)
    dataset.origin.address = folder.address  # the cache may have been filled from another address
    if outside:
        dataset.origin.remarks.append(followed_links(len(outside)))
    return dataset


def _files(folder: SourceFolder, part: str) -> list[str]:
    """Return the files of a part: those whose names begin with it, else those in a folder whose name does."""
    begins = re.compile(rf"({PARTS[part]})(?![A-Za-z]).*", re.IGNORECASE)
    names = {name: match[1] for name in _parquet_files(folder) if (match := begins.fullmatch(name))}
    if names:
        written = sorted({*names.values()})
        if len({*map(str.lower, written)}) < len(written):
            raise DataError(f"{folder.address} holds files that begin with {' and '.join(written)}; write it one way")
        return list(names)
    inside = [name for name in folder.folders() if re.fullmatch(PARTS[part], name, re.IGNORECASE)]
    if len(inside) > 1:
        raise DataError(f"{folder.address} holds {' and '.join(inside)}; keep one of them")
    return [f"{name}/{file}" for name in inside for file in _parquet_files(folder.folder(name))]


def _parquet_files(folder: SourceFolder) -> list[str]:
    return [name for name in folder.files() if name.lower().endswith(".parquet")]


def _refuse_missing_shards(folder: SourceFolder, files: Iterable[str]) -> None:
    shards: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for name in files:
        if match := _SHARD.fullmatch(name):  # what follows the count may be a hash of its own
            shards[match[1], int(match[3])].add(int(match[2]))
    for (before, count), there in shards.items():
        if missing := sorted({*range(count)} - there):
            raise DataError(
                f"{folder.locate(before)}-*-of-{count:05}: of {count} files, {some(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing (counted from 0); fetch all of them"
            )


def _refuse_copies(folder: SourceFolder, hashes: dict[str, str]) -> None:
    first: dict[str, str] = {}
    for name, content in hashes.items():
        if content in first:
            raise DataError(
                f"{folder.locate(first[content])} and {folder.locate(name)} are copies of each other; remove one"
            )
        first[content] = name


def _refuse_ids(folder: SourceFolder, files: list[str], columns: Columns) -> None:
    """Raise DataError where the training labels have so many different values that they are none.

    The labels are read alone, so that this takes a second, however long the images take to decode.
    """
    labels, named = read_labels(folder, files, part="train", columns=columns)
    if not named:
        refuse_ids(labels, where=folder.address)


def _unlabelled(folder: SourceFolder, files: list[str], columns: Columns) -> int:
    """Return the number of test images where none has a label, else 0; the labels are read alone."""
    labels, _ = read_labels(folder, files, part="test", columns=columns)
    return len(labels) if (labels == UNLABELLED).all() else 0


def _numbered(
    folder: SourceFolder, labels: NDArray[Any], names: tuple[str, ...], origin: Origin
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes, and the training labels as positions among them, (N,) int64.

    Raises:
        DataError: The files name the classes, and a label is none of them.
    """
    if names:
        if labels.dtype.kind != "i" or labels.max() >= len(names):
            strange = labels[labels >= len(names)][:1] if labels.dtype.kind == "i" else labels[:1]
            raise DataError(
                f"{folder.address}: a training image has the label {strange[0]}, and the files name "
                f"{counted(len(names), 'class', 'classes')}; labels run from 0 to {len(names) - 1}"
            )
        origin.labels = "metadata"
        return names, labels.astype(np.int64)
    values, numbers = np.unique(labels, return_inverse=True)
    origin.labels = "integers" if labels.dtype.kind == "i" else "words"
    origin.warnings += filter(None, (gap_warning(values.tolist()), missing_warning(labels)))
    return tuple(map(str, values)), numbers.astype(np.int64)


def _as_numbers(
    folder: SourceFolder, labels: NDArray[Any], train: NDArray[Any], names: tuple[str, ...], *, part: str
) -> NDArray[np.int64]:
    """Return labels of another part as positions among the classes of the training labels, (N,) int64."""
    if labels.dtype.kind != train.dtype.kind:
        raise DataError(
            f"{folder.address}: labels are {_kind(train)} in the training images and {_kind(labels)} in {part}; "
            "store them in one way"
        )
    known = np.unique(train)
    strange = np.setdiff1d(labels, known)
    if len(strange):
        raise DataError(
            f"{folder.address}: {part}*.parquet has the labels {strange.tolist()[:10]}, which no training "
            "image has; use the same classes in both"
        )
    return labels.astype(np.int64) if names else np.searchsorted(known, labels).astype(np.int64)


def _kind(labels: NDArray[Any]) -> str:
    return "integers" if labels.dtype.kind == "i" else "words"
