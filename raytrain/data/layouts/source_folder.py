"""Folders that hold a data set, on the local disk or on any file system that pyarrow knows."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pyarrow import fs

from raytrain.data.progress import Progress
from raytrain.errors import DataError
from raytrain.storage.bounded import read_bounded, too_large
from raytrain.storage.credentials import refuse_credentials
from raytrain.storage.typed_path import expanded, is_a_folder, is_there

arrow_fs: Any = fs  # pyarrow ships no types

# Enough to hide the latency of an object store.
READERS = 16
MAX_FILE = 256 * 2**20
"""Largest size of an image file, in bytes."""
ANSWER_TIMEOUT_S = 30.0
"""Seconds within which storage over a network must list a folder for the first time."""
_LISTING = """
import sys
from pyarrow import fs

filesystem, path = fs.FileSystem.from_uri(sys.argv[1])
filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
"""
BLOCK = 2**20
"""Bytes of a file that are read at a time where only its hash is needed."""


@dataclass(frozen=True)
class SourceFolder:
    """A folder that is read, addressed as the user gave it.

    Attributes:
        filesystem: The `pyarrow.fs.FileSystem` that the folder is on.
        path: Path of the folder within `filesystem`.
        address: Path or URI of the folder as the user gave it, for messages.
        top: Path of the folder of the data set, out of which links may not lead; empty where that is this folder.
    """

    filesystem: Any
    path: str
    address: str
    top: str = ""

    def exists(self) -> bool:
        """Return whether this is a folder that is there."""
        return is_a_folder(self.path) if self._local else _kind(self._look(self.path)) == "Directory"

    def files(self) -> list[str]:
        """Return the sorted names of the files in it, hidden ones left out."""
        return self._names("File")

    def folders(self) -> list[str]:
        """Return the sorted names of the folders in it, hidden ones left out."""
        return self._names("Directory")

    def folder(self, name: str) -> "SourceFolder":
        """Return the folder of that name within this one, whether or not it exists."""
        return SourceFolder(self.filesystem, f"{self.path}/{name}", self.locate(name), self.top or self.path)

    def really(self) -> str:
        """Return the path that the folder has when links are followed."""
        return str(Path(self.path).resolve()) if self._local else self.path

    def others(self) -> list[str]:
        """Return the sorted names of what is neither a file nor a folder, such as links to nowhere; no hidden ones.

        There are some on a local disk only.
        """
        return self._names("Other") if self._local else []

    def devices(self) -> list[str]:
        """Return those of `others` that are devices, pipes or sockets, or links to some."""
        return [name for name in self.others() if is_there(Path(self.path, name))]

    def links_out(self) -> list[str]:
        """Return the sorted names of the links to files and folders outside of the data set; no hidden ones.

        There are some on a local disk only.
        """
        links = [entry for entry in self._entries() if entry.is_symlink()] if self._local else []
        if not links:
            return []
        there = [one.name for one in links if not one.name.startswith(".") and _kind_of_entry(one) != "Other"]
        return sorted(filter(self.leads_out, there))

    def leads_out(self, name: str) -> bool:
        """Return whether a file or folder in it really lies outside of the data set, behind a link on the way."""
        return self._local and not Path(self.path, name).resolve().is_relative_to(self._tree)

    def hidden(self) -> int:
        """Return the number of hidden files and folders in it; 0 where this is no local folder."""
        return sum(entry.name.startswith(".") for entry in self._entries()) if self._local else 0

    def locate(self, name: str) -> str:
        """Return what to call a file of this folder in messages."""
        return f"{self.address.rstrip('/')}/{printable_name(name)}"

    def open(self, name: str) -> Any:
        """Return the file as a seekable `pyarrow.NativeFile`, to be closed by the caller.

        Raises:
            DataError: Its name is not UTF-8.
        """
        if printable_name(name) != name:
            raise DataError(f"{self.locate(name)} has a name that is not UTF-8; rename it")
        return self.filesystem.open_input_file(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: It cannot be read.
        """
        try:
            if self._local:  # Python opens names that are not UTF-8, pyarrow does not
                return read_bounded(Path(self.path, name), most=MAX_FILE)
            with self.open(name) as file:
                content: bytes = file.read()
        except OSError as error:
            raise DataError(f"{self.locate(name)} cannot be read ({error}); check that it is there") from error
        return content

    def beginning(self, name: str, size: int) -> bytes:
        """Return the first `size` bytes of a file, or all of a smaller one.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with self.open(name) as file:
                return file.read(size)
        except OSError as error:
            raise DataError(f"{self.locate(name)} cannot be read ({error}); check that it is there") from error

    def digest(self, name: str, *, most: int | None = None) -> str:
        """Return the SHA-256 of the content of a file, 64 hex digits, of which a block at a time is in memory.

        Args:
            name: Name of the file.
            most: Largest size in bytes of a file on a local disk; None for any.

        Raises:
            DataError: Its name is not UTF-8.
            OSError: It cannot be read, or is larger.
        """
        content = hashlib.sha256()
        with Path(self.path, name).open("rb") if self._local else self.open(name) as file:
            if most is not None and self._local and os.fstat(file.fileno()).st_size > most:
                raise too_large(name, most=most)
            while block := file.read(BLOCK):
                content.update(block)
        return content.hexdigest()

    @cached_property
    def _tree(self) -> Path:
        """The folder that links may lead to: that of the data set, or in the hub's cache that of the repository.

        The Hugging Face hub's cache has the files of a repository in blobs/, and links to them in snapshots/<commit>/.
        """
        folder = Path(self.top or self.path).resolve()
        snapshots = (parent for parent in folder.parents if parent.name == "snapshots")
        return next((one.parent for one in snapshots if is_a_folder(one.parent / "blobs")), folder)

    @property
    def _local(self) -> bool:
        return self.filesystem.type_name == "local"

    def _names(self, kind: Literal["File", "Directory", "Other"]) -> list[str]:
        if self._local:
            names = [entry.name for entry in self._entries() if _kind_of_entry(entry) == kind]
        else:
            infos: list[Any] = self._look(arrow_fs.FileSelector(self.path, allow_not_found=True))
            names = [info.base_name for info in infos if _kind(info) == kind]
        return sorted(name for name in names if not name.startswith("."))

    def _entries(self) -> list[os.DirEntry[str]]:
        """Return what is in a local folder; nothing where there is none."""
        try:
            with os.scandir(self.path) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DataError(f"{self.address} cannot be listed ({error}); check the address and access") from error

    def _look(self, what: Any) -> Any:
        try:
            return self.filesystem.get_file_info(what)
        except OSError as error:
            raise DataError(f"{self.address} cannot be listed ({error}); check the address and access") from error


def open_folder(address: str) -> SourceFolder:
    """Return the folder at a local path or, where `address` holds "://", at a URI such as s3://bucket/data.

    Raises:
        DataError: The URI is not one that pyarrow can open, or its storage does not answer.
    """
    refuse_credentials(address)
    if "://" not in address:
        return SourceFolder(arrow_fs.LocalFileSystem(), expanded(address).absolute().as_posix(), address)
    if not address.startswith("file:"):
        _refuse_silent(address)
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(address)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{address} cannot be opened ({error}); give a folder, or a URI that pyarrow.fs reads"
        ) from error
    return SourceFolder(filesystem, path.rstrip("/"), address)


def _refuse_silent(address: str) -> None:
    """Raise DataError where storage over a network gives no answer, neither a listing nor an error.

    Asked by a process of its own, which can be ended: pyarrow tries for minutes, and waits for that at its exit, too.
    """
    try:
        subprocess.run(
            [sys.executable, "-c", _LISTING, address], timeout=ANSWER_TIMEOUT_S, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"{address} does not answer within {ANSWER_TIMEOUT_S:.0f} s; check the address, the network and the access"
        ) from error


def hash_each(folder: SourceFolder, names: Iterable[str], *, faults: dict[str, str] | None = None) -> dict[str, str]:
    """Return the SHA-256 of the content of each file, 64 hex digits, by its name and in the given order.

    Args:
        folder: The folder that holds the files.
        names: Paths of the files relative to `folder`, with slashes.
        faults: Gets by name why an image file cannot be read, which then stands in the place of its hash; None raises.

    Raises:
        DataError: A file cannot be read, and there is no `faults`.
    """
    listed = list(names)
    progress = Progress("files are read for their hash", len(listed))

    def digest(name: str) -> str:
        try:
            return folder.digest(name, most=None if faults is None else MAX_FILE)
        except OSError as error:
            if faults is None:
                raise DataError(f"{folder.locate(name)} cannot be read ({error}); check that it is there") from error
            faults[name] = f"cannot be read ({error.strerror or error})"
            return faults[name]

    with ThreadPoolExecutor(READERS) as pool:
        hashes: dict[str, str] = {}
        for name, one in zip(listed, pool.map(digest, listed), strict=True):
            hashes[name] = one
            progress.add(1)
    return hashes


def combined(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256, 64 hex digits, of what `hash_each` has returned."""
    listed = "".join(f"{name}\0{one}\0" for name, one in hashes.items())
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()


def printable_name(name: str) -> str:
    r"""Return a file name that can be printed: bytes of it that are not UTF-8 as `\xe9`."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _kind_of_entry(entry: os.DirEntry[str]) -> Literal["File", "Directory", "Other"]:
    try:
        return "File" if entry.is_file() else "Directory" if entry.is_dir() else "Other"
    except OSError:  # a link to itself, or into what may not be read
        return "Other"


def _kind(info: Any) -> str:
    name: str = info.type.name
    return name
