"""Where data sets are kept on this machine: downloads, and the decoded arrays of encoded images."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray

from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.mapped import MappedImages
from raytrain.data.origin import Origin
from raytrain.errors import PreflightError
from raytrain.machine import memory_limit
from raytrain.storage.disk import free_bytes
from raytrain.storage.typed_path import expanded, is_a_folder

log = logging.getLogger(__name__)

LARGEST_SHARE = 0.25
"""Largest share of the memory that decoded images may take; a split copies them, so that they take half of it."""


def data_home() -> Path:
    """Return the folder of all data sets: RAYTRAIN_DATA, or the user's cache folder of raytrain.

    Raises:
        PreflightError: There is none, because the user has no home folder, as in some containers.
    """
    return chosen_folder(otherwise=lambda: platformdirs.user_cache_path("raytrain"))


def chosen_folder(*, otherwise: Callable[[], Path]) -> Path:
    """Return RAYTRAIN_DATA, or what `otherwise` returns, a folder in the user's home, where that is not set.

    Raises:
        PreflightError: There is none, because the user, or the one that RAYTRAIN_DATA names, has no home folder.
    """
    if given := os.environ.get("RAYTRAIN_DATA"):
        return expanded(given)
    try:
        return otherwise().expanduser()
    except RuntimeError:
        raise PreflightError(
            f"there is no folder for data sets: HOME is not set, and user {os.getuid()} has no home folder.\n"
            "Set HOME or RAYTRAIN_DATA to a folder that can be written."
        ) from None


def cached(key: str, build: Callable[[], ImageDataset]) -> ImageDataset:
    """Return the data set stored under `key`, or build and store it.

    Of many processes on one machine a single one builds, the others wait and read. An entry that is not
    what was stored is built again; a cache that cannot be read or written is done without.

    Args:
        key: A hash of everything that determines the arrays.
        build: Makes the data set; its errors pass through.
    """
    return _cached(key, lambda _: build(), size=0)


def cached_or_mapped(key: str, build: Callable[[Path | None], ImageDataset], *, size: int) -> ImageDataset:
    """Return the data set stored under `key`, or build and store it, as `cached` does; large ones stay in their files.

    Images that would take more than `LARGEST_SHARE` of the memory are decoded into the cache, and mapped from there.

    Args:
        key: A hash of everything that determines the arrays.
        build: Makes the data set; its errors pass through. It is given the folder to write the images to, or None to
            make them in memory.
        size: Bytes that all images take.

    Raises:
        PreflightError: The images do not fit into memory, and cannot be written to the cache.
    """
    return _cached(key, build, size=size)


def most_in_memory() -> int:
    """Return the bytes that decoded images may take at most to be held in memory; larger ones stay in their files."""
    return int(LARGEST_SHARE * memory_limit())


def _cached(key: str, build: Callable[[Path | None], ImageDataset], *, size: int) -> ImageDataset:
    mapped = size > most_in_memory()
    entry = data_home() / "decoded" / key
    stored = _read(entry, mapped=mapped)
    if stored is not None:
        return stored
    lock = FileLock(entry.with_name(f"{key}.lock"))
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # read-only, or a file system without locks
        if mapped:
            raise _unwritable(entry.parent, size, str(error)) from error
        log.warning("decoded images are not kept: %s cannot be written (%s)", entry.parent, error)
        return build(None)
    try:
        stored = _read(entry, mapped=mapped)  # another process may have built it meanwhile
        if stored is not None:
            return stored
        if mapped:
            return _built_in_files(entry, build, size=size)
        dataset = build(None)
        try:
            _write(entry, dataset, _partial(entry))
        except OSError as error:
            log.warning("decoded images are not kept: %s cannot be written (%s)", entry, error)
        finally:
            shutil.rmtree(_partial_path(entry), ignore_errors=True)  # half an entry would keep a full disk full
        return dataset
    finally:
        lock.release()


def _built_in_files(entry: Path, build: Callable[[Path | None], ImageDataset], *, size: int) -> ImageDataset:
    try:
        partial = _partial(entry)  # first, so that what an interrupted writer left takes no space
        free = free_bytes(partial)
        if size > free:
            raise _unwritable(entry.parent, size, f"{free / 2**30:.1f} GiB are free")
        log.info("the images take %.1f GiB: they are decoded into %s", size / 2**30, entry)
        _write(entry, build(partial), partial)
    except OSError as error:
        raise _unwritable(entry.parent, size, str(error)) from error
    finally:
        shutil.rmtree(_partial_path(entry), ignore_errors=True)
    dataset = _read(entry, mapped=True)
    assert dataset, "what was written a moment ago is there"
    return dataset


def _unwritable(folder: Path, size: int, why: str) -> PreflightError:
    return PreflightError(
        f"the images take {size / 2**30:.1f} GiB, more than a quarter of the {memory_limit() / 2**30:.1f} GiB of "
        f"memory, and cannot be written to {folder} ({why}).\n"
        "Set RAYTRAIN_DATA to a folder on a disk with more space, or train with a smaller image_size."
    )


def _partial_path(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.partial")


def _partial(entry: Path) -> Path:
    """Return an empty folder beside the entry; there is one writer at a time, because the caller holds the lock."""
    partial = _partial_path(entry)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def _write(entry: Path, dataset: ImageDataset, partial: Path) -> None:
    parts = {"train": dataset.train, "test": dataset.test} | ({"val": dataset.val} if dataset.val else {})
    for name, part in parts.items():
        file = partial / f"{name}_images.npy"
        if isinstance(part.images, MappedImages):
            part.images.files[0].rename(file)
        else:
            np.save(file, part.images)
        np.save(partial / f"{name}_labels.npy", part.labels)
    kept = {f"{name}_{what}.npy" for name in parts for what in ("images", "labels")}
    about: dict[str, Any] = {
        "classes": dataset.classes,
        "fingerprint": dataset.fingerprint,
        "parts": list(parts),
        "origin": dataset.origin.as_json(),
        "files": {name: _stamp(partial / name) for name in sorted(kept)},
    }
    (partial / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    shutil.rmtree(entry, ignore_errors=True)
    partial.rename(entry)


def _stamp(file: Path) -> list[int]:
    """Return what changes with the content of a file, as far as nobody hides it: its size and time of change."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _read(entry: Path, *, mapped: bool) -> ImageDataset | None:
    """Return what is stored, or None where nothing is, or something else than what was.

    The content is compared by its hash. Mapped images may be many times the memory: there, files that have kept their
    size and their time of change are taken for what they were.
    """
    if not is_a_folder(entry):  # nor one that may not be entered
        return None
    try:
        about: Any = json.loads((entry / "dataset.json").read_text(encoding="utf-8"))
        parts = {
            name: LabelledImages(
                MappedImages.of(entry / f"{name}_images.npy") if mapped else _array(entry / f"{name}_images.npy"),
                _array(entry / f"{name}_labels.npy"),
            )
            for name in about.get("parts", ("train", "test"))
        }
        origin = Origin.from_json(about["origin"]) if "origin" in about else Origin()
        train, test, classes, val = parts["train"], parts["test"], tuple(about["classes"]), parts.get("val")
        stamps = about.get("files")
        if mapped and stamps and stamps == {name: _stamp(entry / name) for name in stamps}:
            return ImageDataset(train, test, classes, about["fingerprint"], val, origin)
        dataset = image_dataset(train, test, classes=classes, val=val, origin=origin)
        intact = dataset.fingerprint == about["fingerprint"]  # 0.1 s for CIFAR-10
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("%s is damaged and is built again (%s)", entry, error)
        return None
    if not intact:
        log.warning("%s is damaged and is built again (its content has another hash)", entry)
    return dataset if intact else None


def _array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
