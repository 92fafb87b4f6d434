"""Images in Parquet files, laid out as the Hugging Face hub does.

https://huggingface.co/docs/hub/datasets-image: files train*.parquet and test*.parquet, a column `img` or
`image` with the encoded file, a column `label`. Differs from it: plain binary images and CIFAR-100's
`fine_label` are taken too, and only `bytes` is read, never `path`.
"""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raytrain.data.cache import cached
from raytrain.data.decode import decode_all
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.source_folder import SourceFolder, hash_files
from raytrain.errors import DataError

arrow: Any = pa  # pyarrow ships no types
arrow_parquet: Any = pq

# Part of the cache key: raise it when the same files shall give other arrays.
FORMAT = "parquet-2"

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
ROWS = 1024
"""Number of rows that are decoded at a time."""


def find_parquet(folder: SourceFolder) -> SourceFolder | None:
    """Return `folder` or its subfolder `data`, whichever holds train*.parquet; None if neither does."""
    for place in (folder, folder.folder("data")):
        if _files(place, "train"):
            return place
    return None


def load_parquet(folder: SourceFolder, *, image_size: int) -> ImageDataset:
    """Return the data set in a folder for which `find_parquet` found files, decoded once per machine.

    Args:
        folder: The folder that holds train*.parquet.
        image_size: Height and width in pixels; images of another size are cropped centrally and resized.

    Raises:
        DataError: A file, column, label or image is missing or not usable; the message says where.
    """
    files = {part: _files(folder, part) for part in ("train", "test")}
    if not files["test"]:
        raise DataError(f"{folder.address} holds {files['train'][0]} but no test*.parquet; add the test images")

    def build() -> ImageDataset:
        train, names = _read(folder, files["train"], names=(), image_size=image_size)
        test, _ = _read(folder, files["test"], names=names, image_size=image_size)
        known = np.unique(train.labels)
        strange = np.setdiff1d(test.labels, known)
        if len(strange):
            raise DataError(
                f"{folder.address}: test*.parquet has the labels {strange.tolist()[:10]}, which no training "
                "image has; use the same classes in both"
            )
        classes = names or tuple(str(label) for label in range(int(known[-1]) + 1))
        return image_dataset(train, test, classes=classes)

    source = hash_files(folder, [*files["train"], *files["test"]])
    return cached(f"{FORMAT}-{image_size}-{source[:32]}", build)


def _files(folder: SourceFolder, part: str) -> list[str]:
    return [name for name in folder.files() if fnmatch(name, f"{part}*.parquet")]


def _read(
    folder: SourceFolder, files: list[str], *, names: tuple[str, ...], image_size: int
) -> tuple[LabelledImages, tuple[str, ...]]:
    """Return the rows of all files, and the class names: `names`, or where empty what the files say."""
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    for file in files:
        where = folder.locate(file)
        try:
            with folder.open(file) as source:
                parquet = arrow_parquet.ParquetFile(source)
                columns = _columns(parquet.schema_arrow, where)
                names = _same_names(names, _class_names(parquet.schema_arrow, columns[1]), where)
                for row, batch in _batches(parquet, columns):
                    labels.append(_labels(batch.column(columns[1]), _row_name(where, row), len(names)))
                    images.append(_images(batch.column(columns[0]), _row_name(where, row), image_size))
        except (OSError, arrow.ArrowException) as error:
            raise DataError(f"{where} is not a readable Parquet file ({error}); fetch or write it again") from error
    if not images:
        raise DataError(f"{', '.join(map(folder.locate, files))}: no rows; add images")
    return LabelledImages(np.concatenate(images), np.concatenate(labels)), names


def _columns(schema: Any, where: str) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    there: list[str] = schema.names
    found: list[str] = []
    for what, accepted in (("image", IMAGE_COLUMNS), ("label", LABEL_COLUMNS)):
        matches = [name for name in accepted if name in there]
        if not matches:
            raise DataError(f"{where} has no {what} column; it has {', '.join(there)}; name it {' or '.join(accepted)}")
        found.append(matches[0])
    image, label = found
    storage = _encoded_type(schema.field(image).type)
    if not (arrow.types.is_binary(storage) or arrow.types.is_large_binary(storage)):
        raise DataError(
            f"{where}: column {image} is {schema.field(image).type}; it must hold encoded images, as binary "
            "or as a struct with the binary field bytes"
        )
    if not arrow.types.is_integer(schema.field(label).type):
        raise DataError(f"{where}: column {label} is {schema.field(label).type}; labels must be integers from 0")
    return image, label


def _encoded_type(column: Any) -> Any:
    if not arrow.types.is_struct(column):
        return column
    index: int = column.get_field_index("bytes")
    return column.field(index).type if index >= 0 else column


def _batches(parquet: Any, columns: tuple[str, str]) -> Iterator[tuple[int, Any]]:
    row = 0
    for batch in parquet.iter_batches(batch_size=ROWS, columns=list(columns)):
        if batch.num_rows:
            yield row, batch
        row += batch.num_rows


def _row_name(where: str, start: int) -> Callable[[int], str]:
    return lambda index: f"{where}: the image in row {start + index} (counted from 0)"


def _labels(column: Any, name: Callable[[int], str], classes: int) -> NDArray[np.int64]:
    """Return the labels as (N,) int64; `classes` is 0 where the file names none."""
    if column.null_count:
        raise DataError(f"{name(column.is_null().to_pylist().index(True))} has no label; add it or drop the row")
    labels = np.asarray(column.cast(arrow.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    allowed = (labels >= 0) & ((labels < classes) | (classes == 0))
    if not allowed.all():
        index = int(np.argmin(allowed))
        upper = f"to {classes - 1}, as the file names {classes} classes" if classes else "upwards"
        raise DataError(f"{name(index)} has the label {labels[index]}; labels run from 0 {upper}")
    return labels


def _images(column: Any, name: Callable[[int], str], image_size: int) -> NDArray[np.uint8]:
    if arrow.types.is_struct(column.type):  # flatten carries the nulls of the struct over to its fields
        column = column.flatten()[column.type.get_field_index("bytes")]
    if column.null_count:
        index = column.is_null().to_pylist().index(True)
        raise DataError(f"{name(index)} has no bytes; store the encoded image in the file, not its path")
    encoded: list[bytes] = column.to_pylist()
    return decode_all(encoded, image_size=image_size, name=name)


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    """Return what the Hugging Face metadata calls the labels; empty where it says nothing."""
    try:
        about: Any = json.loads((schema.metadata or {})[b"huggingface"])
        names: Any = about["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(name) for name in names)


def _same_names(before: tuple[str, ...], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if before and names and names != before:
        raise DataError(
            f"{where} names the classes {', '.join(names)}, an earlier file {', '.join(before)}; "
            "a label must mean the same everywhere"
        )
    return before or names
