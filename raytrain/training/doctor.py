"""What a machine needs to run trials, checked one by one, each with what to do about it."""

import logging
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from raytrain import __version__
from raytrain.data import data_home, is_here, refuse_missing
from raytrain.data.cache import most_in_memory
from raytrain.errors import PreflightError, RaytrainError
from raytrain.machine import memory_limit
from raytrain.storage.disk import free_bytes
from raytrain.storage.folder import Folder
from raytrain.training.devices import local_device, try_device
from raytrain.user_code.reference import without_digest

log = logging.getLogger(__name__)

LEAST_FREE_GIB = 2.0
"""Free disk space in GiB that the check asks for; with less, a run of usual size may fill the disk."""
MORE_SHARED = "give a container more of it, such as docker run --shm-size=8g"
"""What to do about a small /dev/shm."""


@dataclass(frozen=True)
class Check:
    """The result of one check of the machine.

    Attributes:
        name: One word for what was checked, such as "device" or "disk".
        ok: Whether trials can run.
        found: The state that was found, in a few words.
        advice: What to do when `ok` is false.
    """

    name: str
    ok: bool
    found: str
    advice: str = ""


def check_machine(*, out: str, dataset: str) -> Iterator[Check]:
    """Yield the checks that need no cluster.

    Args:
        out: Folder or URI that holds the runs.
        dataset: Name, path or URI of a data set, as a recipe keeps it.
    """
    yield _versions()
    yield checked(
        "device",
        lambda: try_device(local_device()),
        advice="Install a PyTorch that fits the driver, or set CUDA_VISIBLE_DEVICES=''.",
    )
    yield checked("storage", lambda: _storage(out), advice="Choose an --out that can be written.")
    yield _disk(out)
    yield checked("memory", _memory)
    yield _data(dataset)


def checked(name: str, look: Callable[[], str], *, advice: str = "") -> Check:
    """Return the check of what `look` finds, or of its error, whose later lines are advice."""
    try:
        return Check(name, ok=True, found=look())
    except (OSError, RuntimeError, RaytrainError) as error:
        said, _, more = str(error).partition("\n")
        return Check(name, ok=False, found=said, advice=advice or more)


def _versions() -> Check:
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray"))
    return Check("versions", ok=True, found=f"raytrain {__version__}, Python {platform.python_version()}, {packages}")


def _storage(out: str) -> str:
    folder = Folder.at(out)
    there = folder.local_path.exists() if folder.local_path else bool(folder.names())
    name = f".doctor-{os.urandom(4).hex()}"
    folder.write(name, b"")
    folder.delete(name)
    if not there and not folder.names():
        folder.remove()
    return f"{folder} can be written"


def _disk(out: str) -> Check:
    try:
        local = Folder.at(out).local_path or data_home()
        free = free_bytes(local) / 2**30
    except (OSError, RaytrainError) as error:  # also a name that is too long
        return Check("disk", ok=False, found=str(error))
    advice = "Free disk space, or choose another --out."
    return Check("disk", ok=free >= LEAST_FREE_GIB, found=f"{free:.1f} GiB free for {local}", advice=advice)


def _memory() -> str:
    home = data_home()
    have, most, free = (size / 2**30 for size in (memory_limit(), most_in_memory(), free_bytes(home)))
    return f"{have:.1f} GiB; images that take more than {most:.1f} GiB stay in files in {home}, {free:.1f} GiB free"


def _data(dataset: str) -> Check:
    try:
        data_home()  # decoded images are kept there
        refuse_missing(dataset)
    except RaytrainError as error:
        return Check("data", ok=False, found=str(error))
    if is_here(dataset) or "://" in dataset:
        return Check("data", ok=True, found=f"{without_digest(dataset)} needs no download")
    advice = f"With a network: raytrain data fetch {dataset}. Without: copy {data_home()} from where it was fetched."
    return Check("data", ok=False, found=f"{dataset} is not in {data_home()}", advice=advice)


@dataclass(frozen=True)
class ObjectStore:
    """Where Ray keeps the images that all trials of a node share.

    Attributes:
        size: Bytes of the smallest store of a node.
        shared: Free bytes of /dev/shm on this machine; None where there is none, or for a cluster.
        folder: Folder of Ray's files on this machine, where what has no room in memory goes; None for a cluster.
        disk: Free bytes there.
    """

    size: int
    shared: int | None = None
    folder: Path | None = None
    disk: int = 0

    def check(self) -> Check:
        """Return what `doctor` says of it."""
        name, found = "Ray's object store", f"{_gib(self.size)} for images in memory"
        if self.folder is None:
            return Check(name, ok=True, found=f"at least {found} on each node")
        if self.shared is not None:
            found += f", /dev/shm has {_gib(self.shared)} free"
        found += f", {self.folder} has {_gib(self.disk)} free"
        if self._in_files:
            found += f"; /dev/shm is too small, so images are in files, which is slower: {MORE_SHARED}"
        advice = f"Free disk space in {self.folder}, or set TMPDIR to a folder with more."
        return Check(name, ok=self.disk >= LEAST_FREE_GIB * 2**30, found=found, advice=advice)

    @property
    def _in_files(self) -> bool:
        """Whether Ray has its store on the disk: it does where /dev/shm has less room than the store has bytes."""
        return self.shared is not None and self.shared < self.size

    def problem(self, images: int) -> str:
        """Return why images would be slow to read; "" where they have room in memory.

        Args:
            images: Bytes of all images.

        Raises:
            PreflightError: They have room neither in memory nor on the disk.
        """
        beyond = images if self._in_files else images - self.size
        if beyond <= 0:
            return ""
        store = f"the images take {_gib(images)}, and Ray's object store has {_gib(self.size)}"
        if self._in_files:
            store = f"the images take {_gib(images)}, and /dev/shm has {_gib(self.shared or 0)} free"
        if self.folder and beyond > self.disk:
            raise PreflightError(
                f"{store}; the rest does not fit the disk either: {self.folder} has {_gib(self.disk)} free.\n"
                "Free memory or disk space there, set TMPDIR to a folder with more, or train with a smaller image_size."
            )
        advice = f": {MORE_SHARED}" if self._in_files else ""
        return f"{store}; the rest is read from files, which is slower{advice}"


def refuse_full_store(images: int, store: ObjectStore) -> None:
    """Refuse images that have no room in Ray's object store or beside it; warn of those that are read from files.

    Args:
        images: Bytes of all images.
        store: The store.

    Raises:
        PreflightError: They have room neither in memory nor on the disk.
    """
    if problem := store.problem(images):
        log.warning("%s", problem)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
