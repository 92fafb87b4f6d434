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
from raytrain.data.origin import Origin

log = logging.getLogger(__name__)


def data_home() -> Path:
    """Return the folder of all data sets: RAYTRAIN_DATA, or the user's cache folder of raytrain."""
    chosen = os.environ.get("RAYTRAIN_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("raytrain")


def cached(key: str, build: Callable[[], ImageDataset]) -> ImageDataset:
    """Return the data set stored under `key`, or build and store it.

    Of many processes on one machine a single one builds, the others wait and read. An entry that is not
    what was stored is built again; a cache that cannot be written is done without.

    Args:
        key: A hash of everything that determines the arrays.
        build: Makes the data set; its errors pass through.
    """
    entry = data_home() / "decoded" / key
    stored = _read(entry)
    if stored is not None:
        return stored
    lock = FileLock(entry.with_name(f"{key}.lock"))
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # read-only, or a file system without locks
        log.warning("decoded images are not kept: %s cannot be written (%s)", entry.parent, error)
        return build()
    try:
        stored = _read(entry)  # another process may have built it meanwhile
        if stored is not None:
            return stored
        dataset = build()
        try:
            _write(entry, dataset)
        except OSError as error:
            log.warning("decoded images are not kept: %s cannot be written (%s)", entry, error)
        return dataset
    finally:
        lock.release()


def _write(entry: Path, dataset: ImageDataset) -> None:
    partial = entry.with_name(f"{entry.name}.partial")  # one writer at a time: the caller holds the lock
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    parts = {"train": dataset.train, "test": dataset.test} | ({"val": dataset.val} if dataset.val else {})
    for name, part in parts.items():
        np.save(partial / f"{name}_images.npy", part.images)
        np.save(partial / f"{name}_labels.npy", part.labels)
    about: dict[str, Any] = {
        "classes": dataset.classes,
        "fingerprint": dataset.fingerprint,
        "parts": list(parts),
        "origin": dataset.origin.as_json(),
    }
    (partial / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    shutil.rmtree(entry, ignore_errors=True)
    partial.rename(entry)


def _read(entry: Path) -> ImageDataset | None:
    if not entry.is_dir():
        return None
    try:
        about: Any = json.loads((entry / "dataset.json").read_text(encoding="utf-8"))
        parts = {
            name: LabelledImages(_array(entry / f"{name}_images.npy"), _array(entry / f"{name}_labels.npy"))
            for name in about.get("parts", ("train", "test"))
        }
        origin = Origin.from_json(about["origin"]) if "origin" in about else Origin()
        dataset = image_dataset(
            parts["train"], parts["test"], classes=tuple(about["classes"]), val=parts.get("val"), origin=origin
        )
        intact = dataset.fingerprint == about["fingerprint"]  # 0.1 s for CIFAR-10
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        log.warning("%s is damaged and is built again (%s)", entry, error)
        return None
    if not intact:
        log.warning("%s is damaged and is built again (its content has another hash)", entry)
    return dataset if intact else None


def _array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
