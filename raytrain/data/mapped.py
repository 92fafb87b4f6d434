"""Images in files that are mapped into memory: the system reads the pages that are used, and drops them for others."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError

CHUNK = 1000
"""Images that `chunks` yields at a time."""


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Rows of images in NumPy files, read where they are indexed; all processes of a machine share the memory.

    A part of the rows is another list of rows over the same files, not a copy of the images. What is pickled is the
    names of the files, which a process on another machine may not have.

    Attributes:
        files: NumPy files, each of (N, H, W, 3) uint8. Rows are counted through all of them.
        rows: (N,) int64, which image of the files each row is.
    """

    files: tuple[Path, ...]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, file: Path) -> "MappedImages":
        """Return all images of a file.

        Raises:
            ValueError: It is no NumPy file of images, or shorter than it says.
            OSError: It cannot be read.
        """
        images = _mapped(file)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"{file} holds {images.dtype} of shape {images.shape}, no images")
        return cls((file,), np.arange(len(images), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images by their rows, as an array of their own: (N, H, W, 3) uint8, or (H, W, 3) for one row."""
        rows = np.asarray(self.rows[which])
        return self._read(rows) if rows.ndim else self._read(rows[None])[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return (len(self), *self._maps[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows would take as an array."""
        return len(self) * self._maps[0][:1].nbytes

    def part(self, rows: NDArray[np.int64]) -> "MappedImages":
        """Return some of the rows, in the given order: nothing is read."""
        return MappedImages(self.files, self.rows[rows])

    def followed_by(self, other: "MappedImages") -> "MappedImages":
        """Return these rows and then those of `other`: nothing is read."""
        before = sum(map(len, self._maps))
        return MappedImages(self.files + other.files, np.concatenate([self.rows, other.rows + before]))

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "rows": self.rows}

    @cached_property
    def _maps(self) -> list[NDArray[np.uint8]]:
        try:
            return [_mapped(file) for file in self.files]
        except (OSError, ValueError) as error:
            raise DataError(
                f"the decoded images cannot be read on this machine ({error}); they do not fit into memory, so each "
                "machine reads them from this file: set RAYTRAIN_DATA to a folder that all machines share"
            ) from error

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(self._maps) == 1:
            return self._maps[0].take(rows, axis=0)
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        first = 0
        for one in self._maps:
            here = (rows >= first) & (rows < first + len(one))
            images[here] = one.take(rows[here] - first, axis=0)
            first += len(one)
        return images


Images = NDArray[np.uint8] | MappedImages
"""(N, H, W, 3) uint8, in memory or in a file. Slices and arrays of rows give arrays."""


def chunks(images: Images) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in order, `CHUNK` at a time."""
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK]


def rows_of(images: Images, rows: NDArray[np.int64]) -> Images:
    """Return some rows: a copy of what is in memory, and of what is in a file the list of the rows."""
    return images.part(rows) if isinstance(images, MappedImages) else images[rows]


def joined(first: Images, second: Images) -> Images:
    """Return the rows of both: a copy of what is in memory, and of what is in files the list of the rows."""
    if isinstance(first, MappedImages) and isinstance(second, MappedImages):
        return first.followed_by(second)
    return np.concatenate([first[:], second[:]])


def _mapped(file: Path) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    # a plain array over the same memory: np.memmap looks for its file at each operation
    return images.view(np.ndarray)
