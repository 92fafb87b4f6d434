"""A data set that a function of the user's returns.

    def load(*, image_size):
        return images, labels

`images` are (N, H, W, 3) or (N, H, W) uint8, or a list of paths; `labels` are integers or names. Paths and labels may
be columns of pandas. With parts of its own it returns a mapping instead: `{"train": (images, labels), "test": (images,
labels), "val": (images, labels)}`, of which "test" and "val" may be missing; "classes" may be a list of the names
of the labels 0, 1, .... Without it each label is a class.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.inspection.overlap import compare_parts
from raytrain.data.layouts.background import WHITE
from raytrain.data.layouts.blocks import in_blocks
from raytrain.data.layouts.collected import CollectedImages
from raytrain.data.layouts.decode import decode_all, resized
from raytrain.data.layouts.labels import (
    MISSING,
    gap_warning,
    in_rows,
    missing_warning,
    refuse_ids,
    refuse_missing,
    refuse_repeated,
    some,
)
from raytrain.data.layouts.source_folder import MAX_FILE, printable_name
from raytrain.data.origin import Origin
from raytrain.errors import DataError, counted
from raytrain.storage.bounded import read_bounded
from raytrain.user_code.calls import checked, parsed
from raytrain.user_code.component import typed
from raytrain.user_code.isolation import isolated
from raytrain.user_code.modules import definition, explained, imported
from raytrain.user_code.reference import Reference, without_digest
from raytrain.user_code.source import kept

PARTS = ("train", "val", "test")


def load_user_dataset(text: str, reference: Reference, *, image_size: int, background: str = WHITE) -> ImageDataset:
    """Return the data set of a function of the user's; without a test part where it returns none.

    Args:
        text: The function with its arguments, as a recipe keeps it.
        reference: The function.
        image_size: Height and width in pixels.
        background: Colour behind transparent pixels of the files that it names, as `canonical_background` returns it.

    Raises:
        ExperimentError: The function cannot be imported.
        DataError: It fails, or returns something else; the message names file and line.
    """
    function = imported(reference)
    source = kept(reference.digest)
    assert source, "what was imported is kept"
    try:
        _, arguments = parsed(text, what="data set")
    except ValueError as error:
        raise DataError(without_digest(str(error))) from None
    try:
        parameters = typed(function, inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise DataError(
            f"{reference.as_written}: has no signature; name a function or a class written in Python"
        ) from None
    offered = {"image_size": image_size} if "image_size" in parameters else {}
    what = f"data set {reference.as_written}"
    try:
        arguments = {
            name: checked(value, parameters[name].annotation, what=f"{what}: {name}")
            if name in parameters
            else value  # the call refuses it
            for name, value in arguments.items()
        }
    except ValueError as error:
        raise DataError(str(error)) from None
    try:
        with isolated() as changed:
            returned = function(**offered, **arguments)
    except (Exception, SystemExit) as error:
        raise DataError(explained(error, source)) from error
    where = f"{definition(function, reference)}: {reference.attribute}"
    if changed:
        raise DataError(f"{where} sets {changed[0]}; leave it out: other trials would change with it")
    parts: Any = returned if isinstance(returned, Mapping) else {"train": returned}
    if "train" not in parts or not parts.keys() <= {*PARTS, "classes"}:
        raise DataError(
            f"{where} returned a mapping of {', '.join(map(str, parts)) or 'nothing'}; return train, and if you have "
            "them test, val and classes"
        )
    pairs = {name: _pair(parts[name], where=f"{where} returned {name}") for name in PARTS if name in parts}
    if not len(pairs["train"][1]):
        raise DataError(f"{where} returned train without an image: there is nothing to train on")
    named = _named(parts.get("classes"), where=where)
    for name, (_, labels) in pairs.items():
        refuse_missing(labels, where=f"{where} returned {name}", nan_too="nan" not in (named or ()))
    origin = Origin(background=background)
    values = _values(named, {name: labels for name, (_, labels) in pairs.items()}, where=where)
    if warning := gap_warning(values):
        origin.warnings.append(warning)
    if named is None and (warning := missing_warning(pairs["train"][1])):
        origin.warnings.append(f"{warning}, and if a class is called so, return the names of all as classes")
    classes = tuple(map(str, values)) if named is None else named
    numbered = {name: _numbers(labels, values, where=where) for name, (_, labels) in pairs.items()}
    if untrained := [classes[label] for label in _untrained(numbered)]:
        if named is None:
            raise DataError(
                f"{where} returned test or val images of the class {some(untrained)}, of which train has none; add "
                "some to train, leave them out of the other parts, or return the names of all classes as classes"
            )
        origin.warnings.append(f"there is no training image of the class {some(untrained)}")
    labelled: dict[str, LabelledImages] = {}
    for name, (images, _) in pairs.items():
        numbers = numbered[name]
        if isinstance(images, np.ndarray):
            labelled[name] = LabelledImages(_pixels(images, image_size=image_size), numbers)
        else:
            labelled[name] = _read(images, numbers, classes, part=name, image_size=image_size, origin=origin)
    empty = LabelledImages(np.empty((0, image_size, image_size, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))
    train, test, val = labelled["train"], labelled.get("test", empty), labelled.get("val")
    return compare_parts(image_dataset(train, test, classes=classes, val=val, origin=origin))


def _pair(given: Any, *, where: str) -> tuple[Any, NDArray[Any]]:
    """Return images, as an array or a list of paths, and one label for each."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(f"{where}: {_kind(given)}; return two things, images and labels")
    images, labels = given[0], _labels(given[1], where=where)
    if not _are_paths(images):
        try:
            images = np.asarray(images)
        except (TypeError, ValueError):
            raise DataError(
                f"{where}: images that make no array ({type(images).__name__}); images of several sizes must be "
                "resized to one, or saved as files: then return their paths"
            ) from None
        if images.ndim == 1 and _are_paths(values := images.tolist()):  # a column of pandas
            images = values
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim not in {3, 4} or (images.ndim == 4 and images.shape[3] != 3)
    ):
        raise DataError(
            f"{where}: images of shape {images.shape} and type {images.dtype}; return (N, H, W, 3) or (N, H, W) of "
            "type uint8, or a list of paths"
        )
    if len(images) != len(labels):
        given = f"{counted(len(images), 'image')} and {counted(len(labels), 'label')}"
        raise DataError(f"{where}: {given}; return one label for each image")
    return images, labels


def _labels(given: Any, *, where: str) -> NDArray[Any]:
    """Return labels as (N,) integers or text; a list of names may have nothing else in it, such as a NaN of pandas."""
    labels = np.asarray(given)
    if labels.ndim == 1 and labels.dtype.kind in "UO":
        values = given if isinstance(given, list | tuple) else labels.tolist()  # NumPy makes a NaN beside names text
        names = [isinstance(value, str) for value in values]
        if any(names) and not all(names):
            rows = [row for row, name in enumerate(names) if not name]
            more = f"; {len(rows):,} of {len(names):,} are no names, {in_rows(rows)}" if len(rows) > 1 else ""
            raise DataError(
                f"{where}: the label in row {rows[0]} (counted from 0) is {values[rows[0]]}, and others are names"
                f"{more}; give {'each' if more else 'it'} a name, or drop the row"
            )
        labels = labels.astype(str) if all(names) else labels  # a column of pandas has objects
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        rows = [row for row, value in enumerate(labels.tolist()) if str(value) in MISSING] if labels.ndim == 1 else []
        missing = (
            f", of which {len(rows):,} {'are' if len(rows) > 1 else 'is'} missing, {in_rows(rows)}" if rows else ""
        )
        raise DataError(
            f"{where}: labels of shape {labels.shape} and type {labels.dtype}{missing}; return integers or names"
        )
    return labels


def _are_paths(images: Any) -> bool:
    listed = isinstance(images, Sequence) and not isinstance(images, str)  # the letters of a text are no paths
    return listed and all(isinstance(one, str | Path) for one in images)


def _kind(given: Any) -> str:
    return counted(len(given), "thing") if isinstance(given, tuple | list) else type(given).__name__


def _named(given: Any, *, where: str) -> tuple[str, ...] | None:
    """Return the names of the labels 0, 1, ..., or None where the function gives none; their order must be its own."""
    if given is None:
        return None
    if isinstance(given, Mapping | Set | str) or not isinstance(given, Iterable):
        raise DataError(
            f"{where} returned classes of the type {type(given).__name__}; return a list of the names of the labels "
            "0, 1, ..., in this order"
        )
    names = tuple(map(str, given))
    refuse_repeated(names, where=where)
    return names


def _values(named: Sequence[str] | None, labels: Mapping[str, NDArray[Any]], *, where: str) -> list[Any]:
    """Return the label of each class, an integer or a word: 0, 1, ... where the classes are named beside them."""
    words = {name: part.dtype.kind == "U" for name, part in labels.items() if len(part)}
    if len(set(words.values())) > 1:
        raise DataError(f"{where} returned words as labels in one part and integers in another; return one of them")
    if named is not None:
        return list(named) if True in words.values() else list(range(len(named)))
    refuse_ids(labels["train"], where=where)
    values: list[Any] = np.unique(np.concatenate([part for part in labels.values() if len(part)])).tolist()
    if isinstance(values[0], int) and values[0] < 0:
        raise DataError(f"{where} returned the label {values[0]}; labels count from 0")
    return values


def _untrained(labels: Mapping[str, NDArray[np.int64]]) -> list[int]:
    """Return the labels in any part that the training images lack, in ascending order."""
    return sorted({label for part in labels.values() for label in part.tolist()} - {*labels["train"].tolist()})


def _numbers(labels: NDArray[Any], values: list[Any], *, where: str) -> NDArray[np.int64]:
    """Return each label's position among those of the classes, (N,) int64."""
    numbers = {value: number for number, value in enumerate(values)}
    if unknown := sorted(set(labels.tolist()) - numbers.keys()):
        if labels.dtype.kind == "U":
            raise DataError(f"{where} returned the label {unknown[0]!r}, which is not among its classes")
        known = counted(len(values), "class", "classes")
        raise DataError(f"{where} returned the label {unknown[0]} for {known}; count from 0")
    return np.array([numbers[label] for label in labels.tolist()], dtype=np.int64)


def _pixels(images: NDArray[np.uint8], *, image_size: int) -> NDArray[np.uint8]:
    colour = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
    return resized(np.ascontiguousarray(colour), image_size=image_size)


def _read(
    paths: Sequence[str | Path],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    part: str,
    image_size: int,
    origin: Origin,
) -> LabelledImages:
    """Return the images of a part that can be read, with their labels; `origin` gets the names of the others.

    Raises:
        DataError: Of a class, none can be read.
    """
    images = CollectedImages(len(paths), image_size=image_size, part=part, disk_folder=None)
    kept = np.zeros(len(paths), dtype=np.bool_)
    start = 0
    for block in in_blocks(_content(path, origin) for path in paths):
        of = len(block)
        rows = [row for row, content in enumerate(block, start) if content is not None]
        names = [printable_name(str(paths[row])) for row in rows]
        there = [content for content in block if content is not None]
        decoded, readable = decode_all(there, image_size=image_size, name=names.__getitem__, origin=origin)
        del block, there  # before the next block is read
        images.add(decoded, of=of)
        kept[np.array(rows, dtype=np.int64)[readable]] = True
        start += of
    origin.names[part] = [printable_name(str(path)) for path, read in zip(paths, kept, strict=True) if read]
    if lost := sorted({classes[label] for label in set(labels.tolist()) - set(labels[kept].tolist())}):
        origin.refuse_unreadable(why=f"without them {part} holds no image of the class {', '.join(lost)}; replace them")
    return LabelledImages(images.images(), labels[kept])


def _content(path: str | Path, origin: Origin) -> bytes | None:
    """Return the content of a file; None where it cannot be read, which `origin` gets."""
    try:
        return read_bounded(Path(path), most=MAX_FILE)
    except OSError as error:
        origin.unreadable.append((printable_name(str(path)), f"cannot be read ({error.strerror or error})"))
        return None
