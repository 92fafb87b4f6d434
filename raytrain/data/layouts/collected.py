"""Decoded images as they come, collected in memory or in a file."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.data.images import part_words
from raytrain.data.mapped import Images, MappedImages
from raytrain.data.progress import Progress
from raytrain.errors import PreflightError


class CollectedImages:
    """Takes the images of a part, of which there are at most `count`; nothing holds them twice."""

    def __init__(self, count: int, *, image_size: int, part: str, disk_folder: Path | None) -> None:
        """Take images from now on.

        Args:
            count: Most images that will come.
            image_size: Height and width in pixels.
            part: Name of the part; that of the file, too.
            disk_folder: Folder for the file; None collects in memory.
        """
        self._most = count
        self._shape = (image_size, image_size, 3)
        self._there = 0
        self._progress = Progress(f"{part_words(part)} images are decoded", count)
        self._file = disk_folder / f"{part}.npy" if disk_folder else None
        if self._file:
            self._append(self._header(count))
        self._pixels: NDArray[np.uint8] = np.empty((0 if disk_folder else count, *self._shape), dtype=np.uint8)

    def add(self, images: NDArray[np.uint8], *, of: int) -> None:
        """Take the images that could be read of the next `of`."""
        if self._file:
            self._append(images.data)
        else:
            self._pixels[self._there : self._there + len(images)] = images
        self._there += len(images)
        self._progress.add(of)

    def images(self) -> Images:
        """Return what was taken, (N, H, W, 3) uint8, mapped where it is in a file."""
        if not self._file:
            return self._pixels[: self._there]
        try:
            with self._file.open("r+b") as file:
                file.write(self._header(self._there))
        except OSError as error:
            raise self._not_written(error) from error
        return MappedImages.of(self._file)

    def _append(self, content: bytes | memoryview) -> None:
        assert self._file
        try:
            with self._file.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> PreflightError:
        return PreflightError(
            f"decoded images cannot be written to {self._file} ({error.strerror}).\n"
            "Free some space, or set RAYTRAIN_DATA to a folder on a disk with more."
        )

    def _header(self, count: int) -> bytes:
        """Return the header of a NumPy file of `count` images; NumPy gives all counts the same length."""
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (count, *self._shape)}
        )
        return header.getvalue()
