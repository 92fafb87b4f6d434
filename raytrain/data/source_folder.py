"""Folders that hold a data set, on the local disk or on any file system that pyarrow knows."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from raytrain.errors import DataError
from raytrain.storage.folder import refuse_credentials

arrow_fs: Any = fs  # pyarrow ships no types

# Enough to hide the latency of an object store.
READERS = 16


@dataclass(frozen=True)
class SourceFolder:
    """A folder that is read, addressed as the user gave it.

    Attributes:
        filesystem: The `pyarrow.fs.FileSystem` that the folder is on.
        path: Path of the folder within `filesystem`.
        address: Path or URI of the folder as the user gave it, for messages.
    """

    filesystem: Any
    path: str
    address: str

    def exists(self) -> bool:
        """Return whether this is a folder that is there."""
        return _kind(self._look(self.path)) == "Directory"

    def files(self) -> list[str]:
        """Return the sorted names of the files in it, hidden ones left out."""
        return self._names("File")

    def folders(self) -> list[str]:
        """Return the sorted names of the folders in it, hidden ones left out."""
        return self._names("Directory")

    def folder(self, name: str) -> "SourceFolder":
        """Return the folder of that name within this one, whether or not it exists."""
        return SourceFolder(self.filesystem, f"{self.path}/{name}", self.locate(name))

    def really(self) -> str:
        """Return the path that the folder has when links are followed."""
        return str(Path(self.path).resolve()) if self.filesystem.type_name == "local" else self.path

    def others(self) -> list[str]:
        """Return the sorted names of what is neither a file nor a folder, such as links to nowhere; no hidden ones.

        There are some on a local disk only.
        """
        if self.filesystem.type_name != "local" or not self.exists():
            return []
        with os.scandir(self.path) as entries:  # pyarrow does not list a link to nowhere
            names = [entry.name for entry in entries if not (entry.is_file() or entry.is_dir())]
        return sorted(name for name in names if not name.startswith("."))

    def locate(self, name: str) -> str:
        """Return what to call a file of this folder in messages."""
        return f"{self.address.rstrip('/')}/{name}"

    def open(self, name: str) -> Any:
        """Return the file as a seekable `pyarrow.NativeFile`, to be closed by the caller."""
        return self.filesystem.open_input_file(f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with self.open(name) as file:
                content: bytes = file.read()
        except OSError as error:
            raise DataError(f"{self.locate(name)} cannot be read ({error}); check that it is there") from error
        return content

    def _names(self, kind: str) -> list[str]:
        infos: list[Any] = self._look(arrow_fs.FileSelector(self.path, allow_not_found=True))
        try:
            names: list[str] = [info.base_name for info in infos if _kind(info) == kind]
        except UnicodeDecodeError as error:
            name = error.object.decode(errors="backslashreplace")
            raise DataError(f"{self.address} holds {name}, whose name is not UTF-8; rename or remove it") from error
        return sorted(name for name in names if not name.startswith("."))

    def _look(self, what: Any) -> Any:
        try:
            return self.filesystem.get_file_info(what)
        except OSError as error:
            raise DataError(f"{self.address} cannot be listed ({error}); check the address and access") from error


def open_folder(address: str) -> SourceFolder:
    """Return the folder at a local path or, where `address` holds "://", at a URI such as s3://bucket/data.

    Raises:
        DataError: The URI is not one that pyarrow can open.
    """
    refuse_credentials(address)
    if "://" not in address:
        return SourceFolder(arrow_fs.LocalFileSystem(), Path(address).expanduser().absolute().as_posix(), address)
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(address)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{address} cannot be opened ({error}); give a folder, or a URI that pyarrow.fs reads"
        ) from error
    return SourceFolder(filesystem, path.rstrip("/"), address)


def hash_each(folder: SourceFolder, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the content of each file, 64 hex digits, by its name and in the given order.

    Args:
        folder: The folder that holds the files.
        names: Paths of the files relative to `folder`, with slashes.

    Raises:
        DataError: A file cannot be read.
    """
    listed = list(names)
    with ThreadPoolExecutor(READERS) as pool:
        hashes = pool.map(lambda name: hashlib.sha256(folder.read(name)).hexdigest(), listed)
        return dict(zip(listed, hashes, strict=True))


def hash_files(folder: SourceFolder, names: Iterable[str]) -> str:
    """Return the SHA-256 of the names and contents of files, 64 hex digits, the same wherever the folder is.

    Arguments and errors are those of `hash_each`.
    """
    return combined(hash_each(folder, names))


def combined(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256, 64 hex digits, of what `hash_each` has returned."""
    return hashlib.sha256("".join(f"{name}\0{one}\0" for name, one in hashes.items()).encode()).hexdigest()


def _kind(info: Any) -> str:
    name: str = info.type.name
    return name
