"""What Parquet files hold: images and labels, row by row, and what they call the classes."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raytrain.data.images import part_words
from raytrain.data.layouts import blocks
from raytrain.data.layouts.collected import CollectedImages
from raytrain.data.layouts.columns import Columns
from raytrain.data.layouts.decode import LFS_POINTER, decode_all
from raytrain.data.layouts.labels import refuse_repeated
from raytrain.data.layouts.source_folder import SourceFolder
from raytrain.data.mapped import Images
from raytrain.data.origin import Origin
from raytrain.errors import DataError, counted

arrow: Any = pa  # pyarrow ships no types
arrow_parquet: Any = pq

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
UNLABELLED = -1
"""Label of the images in a test part that is not labelled."""
BUFFER = 8 * 2**20
"""Bytes of a column that are read at a time. With `pre_buffer`, pyarrow would keep all that it has read of the file."""


def count_rows(folder: SourceFolder, file: str) -> int:
    """Return the number of rows in a file, from its footer.

    Raises:
        DataError: It is not a readable Parquet file.
    """
    with _opened(folder, file) as parquet:
        rows: int = parquet.metadata.num_rows
    return rows


@contextmanager
def _opened(folder: SourceFolder, file: str) -> Generator[Any]:
    """Yield the file as a `pyarrow.parquet.ParquetFile`; what cannot be read of it is a DataError."""
    where = folder.locate(file)
    try:
        with folder.open(file) as source:
            yield arrow_parquet.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)
    except (OSError, arrow.ArrowException) as error:
        if folder.beginning(file, len(LFS_POINTER)) == LFS_POINTER:
            raise DataError(f"{where} is a Git LFS pointer, not the file; fetch it with: git lfs pull") from error
        raise DataError(f"{where} is not a readable Parquet file ({error}); fetch or write it again") from error


def read_part(
    folder: SourceFolder,
    files: list[str],
    names: tuple[str, ...],
    *,
    part: str,
    image_size: int,
    columns: Columns,
    origin: Origin,
    disk_folder: Path | None = None,
) -> tuple[Images, NDArray[Any], tuple[str, ...]]:
    """Return the images and the labels of all files of a part, and the names of the classes.

    Images that cannot be read are left out, with their labels, and are named in `origin.unreadable`.

    Args:
        folder: The folder that holds the files.
        files: Their paths in it.
        names: Names of the classes that earlier files gave, or none.
        part: Name of the part: "train", "val" or "test"; in "test", images may have no label.
        image_size: Height and width in pixels.
        columns: Names of the columns.
        origin: Gets what reading the files meets.
        disk_folder: Folder for a file of the images; None for images in memory.

    Returns:
        (N, image_size, image_size, 3) uint8; (N,) int64 or text; the names, empty where nothing names the classes.

    Raises:
        DataError: A file, a column, a label or an image is not usable, or of a class no image can be read; the message
            says where.
    """
    rows = sum(count_rows(folder, file) for file in files)
    images = CollectedImages(rows, image_size=image_size, part=part, disk_folder=disk_folder)
    labels: list[NDArray[Any]] = []
    readable: list[NDArray[np.bool_]] = []
    kept = origin.names.setdefault(part, [])
    for file in files:
        where = folder.locate(file)
        with _opened(folder, file) as parquet:
            image, label = _found_columns(parquet.schema_arrow, where, columns)
            names = _same_names(names, _class_names(parquet.schema_arrow, label, where), where)
            for row, batch in _batches(parquet, (image, label), rows=_rows_of_a_block(parquet, image)):
                numbers = _labels(batch.column(label), _row_name(where, row), len(names), lowest=_lowest(part))
                encoded = _encoded(batch.column(image))
                decoded, read = decode_all(encoded, image_size=image_size, name=_row_name(file, row), origin=origin)
                images.add(decoded, of=len(encoded))
                labels.append(numbers)
                readable.append(read)
                kept += [f"{file} row {row + index}" for index in np.flatnonzero(read)]
    if labels and not kept:
        origin.refuse_unreadable(why="no image is left: replace them")
    if not labels:
        raise DataError(f"{', '.join(map(folder.locate, files))}: no rows; add images")
    if len({one.dtype.kind for one in labels}) > 1:
        raise DataError(f"{', '.join(map(folder.locate, files))}: some labels are integers and some words; store one")
    before = np.concatenate(labels)
    after = before[np.concatenate(readable)]
    if lost := [_class_name(value, names) for value in np.setdiff1d(before, after).tolist() if value != UNLABELLED]:
        why = f"without them there is no {part_words(part)} image of the class {', '.join(lost)}; replace them"
        origin.refuse_unreadable(why=why)
    return images.images(), after, names


def _class_name(value: int | str, names: tuple[str, ...]) -> str:
    return names[value] if isinstance(value, int) and value < len(names) else str(value)


def read_labels(folder: SourceFolder, files: list[str], *, part: str, columns: Columns) -> tuple[NDArray[Any], bool]:
    """Return the labels of the images of a part, of which none is read, and whether a file names the classes.

    Args:
        folder: The folder that holds the files.
        files: The paths in it of those of the part.
        part: Name of the part; in "test", images may have no label.
        columns: Names of the columns.

    Returns:
        (N,) int64 or text, also of images that cannot be read; whether a file names the classes.

    Raises:
        DataError: A file, a column or a label is not usable; the message says where.
    """
    labels: list[NDArray[Any]] = [np.empty(0, dtype=np.int64)]
    named = False
    for file in files:
        where = folder.locate(file)
        with _opened(folder, file) as parquet:
            _, label = _found_columns(parquet.schema_arrow, where, columns)
            names = _class_names(parquet.schema_arrow, label, where)
            named = named or bool(names)
            for row, batch in _batches(parquet, (label,)):
                labels.append(_labels(batch.column(label), _row_name(where, row), len(names), lowest=_lowest(part)))
    return np.concatenate(labels[1:] or labels), named


def _lowest(part: str) -> int:
    return UNLABELLED if part == "test" else 0


def _found_columns(schema: Any, where: str, columns: Columns) -> tuple[str, str]:
    """Return the names of the image and the label column."""
    there: list[str] = schema.names
    found: list[str] = []
    for what, named, usual in (("image", columns.image, IMAGE_COLUMNS), ("label", columns.label, LABEL_COLUMNS)):
        matches = [name for name in ((named,) if named else usual) if name in there]
        if not matches and named:
            raise DataError(f"{where} has no column {named}; it has {', '.join(there)}; name one of them")
        if not matches:
            raise DataError(
                f"{where} has no {what} column; it has {', '.join(there)}; name it {' or '.join(usual)}, or say which "
                f"it is: `columns: {{image: ..., label: ...}}` in the recipe, or --columns of data fetch, data verify "
                "and evaluate"
            )
        found.append(matches[0])
    image, label = found
    storage = _encoded_type(schema.field(image).type)
    if not (arrow.types.is_binary(storage) or arrow.types.is_large_binary(storage)):
        raise DataError(
            f"{where}: column {image} is {schema.field(image).type}; it must hold encoded images, as binary "
            "or as a struct with the binary field bytes"
        )
    kind = _values_type(schema.field(label).type)
    if not any(fits(kind) for fits in (arrow.types.is_integer, arrow.types.is_boolean, _is_text)):
        raise DataError(
            f"{where}: column {label} is {schema.field(label).type}; labels must be integers, words, or true and false"
        )
    return image, label


def _values_type(column: Any) -> Any:
    return column.value_type if arrow.types.is_dictionary(column) else column


def _is_text(column: Any) -> bool:
    return arrow.types.is_string(column) or arrow.types.is_large_string(column)


def _encoded_type(column: Any) -> Any:
    if not arrow.types.is_struct(column):
        return column
    index: int = column.get_field_index("bytes")
    return column.field(index).type if index >= 0 else column


def _rows_of_a_block(parquet: Any, image: str) -> int:
    """Return how many rows are decoded at a time: as many as `blocks` says, by the mean size in each row group."""
    rows = blocks.FILES
    metadata = parquet.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = map(group.column, range(group.num_columns))
        size = sum(
            one.total_uncompressed_size for one in columns if f"{one.path_in_schema}.".startswith(f"{image}.")
        )  # of a struct, each field is a column
        rows = min(rows, blocks.BYTES * group.num_rows // max(size, 1)) if group.num_rows else rows
    return max(rows, 1)


def _batches(parquet: Any, columns: tuple[str, ...], *, rows: int = blocks.FILES) -> Iterator[tuple[int, Any]]:
    row = 0
    for batch in parquet.iter_batches(batch_size=rows, columns=list(columns)):
        if batch.num_rows:
            yield row, batch
        row += batch.num_rows


def _row_name(where: str, start: int) -> Callable[[int], str]:
    return lambda index: f"{where}: the image in row {start + index} (counted from 0)"


def _labels(column: Any, name: Callable[[int], str], classes: int, *, lowest: int) -> NDArray[Any]:
    """Return the labels as (N,) int64 or text; `classes` is 0 where the file names none, `lowest` the least integer."""
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count == len(column) and lowest == UNLABELLED:
        return np.full(len(column), UNLABELLED, dtype=np.int64)
    if column.null_count:
        raise DataError(f"{name(column.is_null().to_pylist().index(True))} has no label; add it or drop the row")
    if not arrow.types.is_integer(column.type):
        words = [str(value).lower() if isinstance(value, bool) else value for value in column.to_pylist()]
        if empty := [row for row, word in enumerate(words) if not word.strip()]:
            raise DataError(f"{name(empty[0])} has an empty label; add it or drop the row")
        return np.array(words)
    labels = np.asarray(column.cast(arrow.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    allowed = (labels >= lowest) & ((labels < classes) | (classes == 0))
    if not allowed.all():
        index = int(np.argmin(allowed))
        upper = f"to {classes - 1}, as the file names {counted(classes, 'class', 'classes')}" if classes else "upwards"
        raise DataError(f"{name(index)} has the label {labels[index]}; labels run from 0 {upper}")
    return labels


def _encoded(column: Any) -> list[bytes | None]:
    """Return the image files in a column; None where a row has none."""
    if arrow.types.is_struct(column.type):  # flatten carries the nulls of the struct over to its fields
        column = column.flatten()[column.type.get_field_index("bytes")]
    files: list[bytes | None] = column.to_pylist()
    return files


def _class_names(schema: Any, label: str, where: str) -> tuple[str, ...]:
    """Return what the Hugging Face metadata calls the labels; empty where it says nothing."""
    try:
        about: Any = json.loads((schema.metadata or {})[b"huggingface"])
        names: Any = about["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    if not isinstance(names, list):
        return ()
    found = tuple(map(str, names))
    refuse_repeated(found, where=where)
    return found


def _same_names(before: tuple[str, ...], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    if before and names and names != before:
        raise DataError(
            f"{where} names the classes {', '.join(names)}, an earlier file {', '.join(before)}; "
            "a label must mean the same everywhere"
        )
    return before or names
