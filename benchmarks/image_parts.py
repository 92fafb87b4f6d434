"""A part of a data set in Parquet files, such as CIFAR-10, as a folder of its own: benchmarks train on that."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raytrain.errors import PreflightError

Choice = Callable[[Any], Any]
"""Function of a table of images (pyarrow.Table) that returns some of its rows."""


def first(count: int) -> Choice:
    """Return a function that takes the first images."""
    return lambda images: images.slice(0, count)


def first_of_each_class(count: int) -> Choice:
    """Return a function that takes the first images of each class, by the column `label`, in the order of the table."""

    def chosen(images: Any) -> Any:
        labels = images.column("label").to_numpy()
        rows = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
        return images.take(np.sort(np.concatenate(rows)))

    return chosen


def write_part(data: Path, folder: Path, *, train: Choice, test: Choice | None = None) -> Path:
    """Write some images of a folder of Parquet files into another folder, and return it.

    Args:
        data: Folder with files `train-*.parquet` and `test-*.parquet`.
        folder: Folder to write; one that is there stays as it is.
        train: Which training images are taken.
        test: Which test images are taken; None for all.

    Raises:
        PreflightError: `data` has no such files.
    """
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        for part, choice in (("train", train), ("test", test)):
            files = sorted(data.glob(f"**/{part}-*.parquet"))
            if not files:
                raise PreflightError(f"{data} has no files {part}-*.parquet; give the folder of CIFAR-10 with --data")
            images = pa.concat_tables(map(pq.read_table, files))
            pq.write_table(choice(images) if choice else images, partial / f"{part}.parquet")
        partial.rename(folder)
    return folder
