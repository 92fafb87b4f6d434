"""A data set that a function of the user's returns.

    def load(*, image_size):
        return images, labels

`images` are (N, H, W, 3) or (N, H, W) uint8, or a list of paths; `labels` are integers or names. With parts of its own
it returns a mapping instead: `{"train": (images, labels), "test": (images, labels), "val": (images, labels)}`, of which
"test" and "val" may be missing; "classes" may list the names of the labels 0, 1, ....
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.layouts.decode import decode, resized
from raytrain.data.layouts.source_folder import MAX_FILE
from raytrain.errors import DataError
from raytrain.storage.bounded import read_bounded
from raytrain.user_code.calls import as_declared, parsed
from raytrain.user_code.modules import definition, explained, imported
from raytrain.user_code.reference import Reference
from raytrain.user_code.source import kept

PARTS = ("train", "val", "test")


def load_user_dataset(text: str, reference: Reference, *, image_size: int) -> ImageDataset:
    """Return the data set of a function of the user's; without a test part where it returns none.

    Args:
        text: The function with its arguments, as a recipe keeps it.
        reference: The function.
        image_size: Height and width in pixels.

    Raises:
        ExperimentError: The function cannot be imported.
        DataError: It fails, or returns something else; the message names file and line.
    """
    function = imported(reference)
    source = kept(reference.digest)
    assert source, "what was imported is kept"
    _, arguments = parsed(text, what="data set")
    parameters = _parameters(function)
    offered = {"image_size": image_size} if "image_size" in parameters else {}
    arguments = {name: as_declared(value, parameters[name].annotation) for name, value in arguments.items()}
    try:
        returned = function(**offered, **arguments)
    except (Exception, SystemExit) as error:
        raise DataError(explained(error, source)) from error
    where = f"{definition(function, reference)}: {reference.attribute}"
    parts: Any = returned if isinstance(returned, Mapping) else {"train": returned}
    if "train" not in parts or not parts.keys() <= {*PARTS, "classes"}:
        raise DataError(
            f"{where} returned a mapping of {', '.join(map(str, parts)) or 'nothing'}; return train, and if you have "
            "them test, val and classes"
        )
    pairs = {name: _pair(parts[name], where=f"{where} returned {name}") for name in PARTS if name in parts}
    classes = _classes(parts.get("classes"), [labels for _, labels in pairs.values()], where=where)
    labelled = {
        name: LabelledImages(_pixels(images, image_size=image_size), _numbers(labels, classes, where=where))
        for name, (images, labels) in pairs.items()
    }
    empty = LabelledImages(np.empty((0, image_size, image_size, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))
    return image_dataset(labelled["train"], labelled.get("test", empty), classes=classes, val=labelled.get("val"))


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except NameError:  # an annotation that is imported for type checkers only
        return inspect.signature(function).parameters


def _pair(given: Any, *, where: str) -> tuple[Any, NDArray[Any]]:
    """Return images, as an array or a list of paths, and one label for each."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise DataError(f"{where}: {_kind(given)}; return two things, images and labels")
    images, labels = given[0], np.asarray(given[1])
    if not isinstance(images, np.ndarray) and not _are_paths(images):
        images = np.asarray(images)
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim not in {3, 4} or (images.ndim == 4 and images.shape[3] != 3)
    ):
        raise DataError(
            f"{where}: images of shape {images.shape} and type {images.dtype}; return (N, H, W, 3) or (N, H, W) of "
            "type uint8, or a list of paths"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(f"{where}: labels of shape {labels.shape} and type {labels.dtype}; return integers or names")
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images and {len(labels)} labels; return one label for each image")
    return images, labels


def _are_paths(images: Any) -> bool:
    return isinstance(images, Sequence) and all(isinstance(one, str | Path) for one in images)


def _kind(given: Any) -> str:
    return f"{len(given)} things" if isinstance(given, tuple | list) else type(given).__name__


def _classes(given: Any, labels: list[NDArray[Any]], *, where: str) -> tuple[str, ...]:
    if given is not None:
        return tuple(map(str, given))
    known: list[Any] = sorted(set(np.concatenate(labels).tolist()))
    if known and isinstance(known[0], int):
        if known[0] < 0:
            raise DataError(f"{where} returned the label {known[0]}; labels count from 0")
        return tuple(map(str, range(int(known[-1]) + 1)))
    return tuple(known)


def _numbers(labels: NDArray[Any], classes: tuple[str, ...], *, where: str) -> NDArray[np.int64]:
    if labels.dtype.kind != "U":
        numbers = labels.astype(np.int64)
    else:
        places = {name: number for number, name in enumerate(classes)}
        if unknown := sorted(set(labels.tolist()) - set(classes)):
            raise DataError(f"{where} returned the label {unknown[0]!r}, which is not among its classes")
        numbers = np.array([places[label] for label in labels.tolist()], dtype=np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise DataError(f"{where} returned labels up to {numbers.max()} for {len(classes)} classes; count from 0")
    return numbers


def _pixels(images: Any, *, image_size: int) -> NDArray[np.uint8]:
    if isinstance(images, np.ndarray):
        colour = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
        return resized(np.ascontiguousarray(colour), image_size=image_size)
    read: list[NDArray[np.uint8]] = []
    for path in map(Path, images):
        try:
            read.append(decode(read_bounded(path, most=MAX_FILE), image_size=image_size))
        except (OSError, DataError) as error:
            raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return np.stack(read) if read else np.empty((0, image_size, image_size, 3), dtype=np.uint8)
