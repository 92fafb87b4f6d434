"""Images as files in one folder per class: train/<class>/**/* and test/<class>/**/*."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from raytrain.data.cache import cached
from raytrain.data.decode import SUFFIXES, decode_all
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.source_folder import READERS, SourceFolder, hash_files
from raytrain.errors import DataError

log = logging.getLogger(__name__)

# Part of the cache key: raise it when the same files shall give other arrays.
FORMAT = "folder-2"

DEEPEST = 16
"""Levels of folders below a class."""
FILES = 1024
"""Number of encoded files that are in memory at a time."""


def load_folder(folder: SourceFolder, *, image_size: int) -> ImageDataset:
    """Return the data set in a folder that holds train/, decoded once per machine.

    The images of a class may lie in folders of its own; a link that leads back up is not followed. What is no image by
    its name is left out, and counted in a warning; hidden files are not counted. Labels follow the sorted class names.

    Args:
        folder: The folder that holds train/ and test/.
        image_size: Height and width in pixels; images of another size are cropped centrally and resized.

    Raises:
        DataError: A class or an image is missing or not usable; the message says which.
    """
    left_out: Counter[str] = Counter()
    train, test = (_class_files(folder, part, left_out) for part in ("train", "test"))
    if left_out:
        log.warning("%s: left out, because only images are read: %s", folder.address, _counted(left_out))
    for part, lacking in (("test", train.keys() - test.keys()), ("train", test.keys() - train.keys())):
        if lacking:
            raise DataError(
                f"{folder.address}: train/ and test/ must hold the same classes; {part}/ lacks "
                f"{', '.join(sorted(lacking))}"
            )

    def build() -> ImageDataset:
        return image_dataset(
            _read(folder, train, image_size=image_size),
            _read(folder, test, image_size=image_size),
            classes=tuple(train),
        )

    source = hash_files(folder, [name for part in (train, test) for names in part.values() for name in names])
    return cached(f"{FORMAT}-{image_size}-{source[:32]}", build)


def _class_files(folder: SourceFolder, part: str, left_out: Counter[str]) -> dict[str, list[str]]:
    """Return the image files of each class, relative to `folder` and sorted; count what else is there."""
    where = folder.locate(part)
    found = {name: _image_files(folder, f"{part}/{name}", left_out) for name in folder.folder(part).folders()}
    if not found:
        raise DataError(f"{where} holds no class; it must have one folder per class, with its images")
    empty = [name for name, files in found.items() if not files]
    if empty:
        raise DataError(
            f"{where}: no image for the class {', '.join(empty)}; add some, or remove the folder "
            f"(image files end in {' '.join(sorted(SUFFIXES))})"
        )
    return found


def _image_files(folder: SourceFolder, path: str, left_out: Counter[str], *, depth: int = 0) -> list[str]:
    """Return the images in a folder and in those below it, those of the folder first."""
    within = folder.folder(path)
    found: list[str] = []
    for name in within.files():
        suffix = f".{name.lower().rpartition('.')[2]}" if "." in name else ""
        if suffix in SUFFIXES:
            found.append(f"{path}/{name}")
        else:
            left_out[suffix or "without a suffix"] += 1
    left_out.update("that are no files, such as links to nowhere" for _ in within.others())
    parent, _, own = path.rpartition("/")
    if depth < DEEPEST and not folder.folder(parent).loops(own):
        for name in within.folders():
            if within.loops(name):
                left_out["links to a folder above"] += 1
            else:
                found += _image_files(folder, f"{path}/{name}", left_out, depth=depth + 1)
    return found


def _counted(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))


def _read(folder: SourceFolder, part: dict[str, list[str]], *, image_size: int) -> LabelledImages:
    files = [name for names in part.values() for name in names]
    labels = np.repeat(np.arange(len(part), dtype=np.int64), [len(names) for names in part.values()])
    images: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(files), FILES):
            chunk = files[start : start + FILES]
            encoded = list(pool.map(folder.read, chunk))
            paths = [folder.locate(name) for name in chunk]
            images.append(decode_all(encoded, image_size=image_size, name=paths.__getitem__))
    return LabelledImages(np.concatenate(images), labels)
