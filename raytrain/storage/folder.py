"""Folders on a local disk or in object storage, through one small interface.

Storage over a network fails for seconds and comes back: a folder from `retrying` tries again until then.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pyarrow import fs

from raytrain.background import undisturbed
from raytrain.errors import PreflightError, StorageError
from raytrain.storage.bounded import not_regular, too_large
from raytrain.storage.credentials import refuse_credentials
from raytrain.storage.durable import nearest_folder, sync, sync_names
from raytrain.storage.retry import Found, passes, persistently
from raytrain.storage.trouble import why_not
from raytrain.storage.typed_path import expanded

RETRY_TIMEOUT_S = 120.0
"""Seconds for which a run tries again when its storage does not answer."""


class StoredFile(NamedTuple):
    """A file in a folder.

    Attributes:
        name: Path of the file relative to the folder.
        size: Size in bytes.
        modified: Time of the last change in nanoseconds since 1970; 0 where the storage does not say.
    """

    name: str
    size: int
    modified: int


class Folder:
    """A folder by its path or URI (`s3://`, `gs://`, `file://`); it need not exist before it is written to.

    What cannot be written, or storage that does not answer, raises StorageError.
    """

    def __init__(
        self,
        filesystem: Any,  # a pyarrow.fs.FileSystem
        path: str,
        *,
        around: tuple[str, str] = ("", ""),  # what its URI has before and behind the path
        retry_s: float = 0.0,
        required: Path | None = None,
    ) -> None:
        self._filesystem = filesystem
        self._path = path.rstrip("/")
        self._around = around
        self._retry_s = retry_s
        self._required = required
        self._local = isinstance(filesystem, fs.LocalFileSystem)

    @classmethod
    def at(cls, location: str | Path) -> "Folder":
        """Return the folder at `location`.

        Raises:
            PreflightError: The URI has a scheme that pyarrow cannot open here, or is malformed. Or there is no home
                folder for a ~ at the beginning of a path.
        """
        text = str(location)
        refuse_credentials(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PreflightError(f"{text!r} is no path or URI: it has bytes that are no text") from None
        if "\0" in text:
            raise PreflightError(f"{text!r} is no path or URI: it contains a null character")
        if "://" not in text:
            return cls(fs.LocalFileSystem(), str(expanded(text).absolute()))
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (ValueError, OSError, NotImplementedError, ImportError) as error:
            raise PreflightError(
                f"{text}: cannot be opened as storage ({error}); give a folder, or a URI such as s3://bucket/runs"
            ) from error
        if not path.strip("/"):
            raise PreflightError(f"{text}: names no folder; give a URI such as s3://bucket/runs")
        address, mark, options = text.partition("?")
        user = "anonymous@" if "://anonymous@" in address else ""  # no account; others are refused as credentials
        return cls(filesystem, path, around=(user, mark + options))

    def retrying(self, seconds: float | None = None) -> "Folder":
        """Return this folder, which tries again when its storage does not answer; so do the folders below it.

        Args:
            seconds: Time from the first try until it gives up; None for `RETRY_TIMEOUT_S`.
        """
        return self._with(retry_s=RETRY_TIMEOUT_S if seconds is None else seconds)

    def requiring(self, name: str) -> "Folder":
        """Return this folder, which is written to only while the file `name` is in it; so are the folders below it.

        A folder that was moved or deleted is then not made anew. Object storage has no moves: there it is not looked.
        """
        return self._with(required=Path(self._file(name)) if self._local else None)

    def __truediv__(self, name: str) -> "Folder":
        return self._with(path=f"{self._path}/{name}")

    def _with(self, **changes: Any) -> "Folder":
        kept: dict[str, Any] = {"path": self._path, "around": self._around}
        kept |= {"retry_s": self._retry_s, "required": self._required}
        return Folder(self._filesystem, **kept | changes)

    def __str__(self) -> str:
        # a worker opens the folder by this text, between a user and options such as another endpoint than AWS's
        path = quote(self._path, safe="/:@!$&'()*+,;=")  # a URI may have these as they are
        return self._path if self._local else f"{self._filesystem.type_name}://{path.join(self._around)}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The folder that it is in, as `at` takes it."""
        return str(self._with(path=self._path.rpartition("/")[0])) or "/"

    @property
    def local_path(self) -> Path | None:
        """Where the folder is on this machine's disk, or None in object storage."""
        return Path(self._path) if self._local else None

    def read(self, name: str, *, most: int | None = None) -> bytes:
        """Return the content of the file `name`.

        Args:
            name: Name of the file.
            most: Largest size in bytes; None for any.

        Raises:
            FileNotFoundError: There is none.
            OSError: It is larger, or a device or a pipe.
            StorageError: The storage does not answer.
        """

        def read() -> bytes:
            if self._local and not Path(self._file(name)).is_file() and os.path.lexists(self._file(name)):
                raise not_regular(f"{self}/{name}")
            with self._filesystem.open_input_file(self._file(name)) as stream:
                if most is not None and stream.size() > most:
                    raise too_large(f"{self}/{name}", most=most)
                return stream.read()

        return self._answered(name, read)

    def write(self, name: str, content: bytes, *, durable: bool = False) -> None:
        """Create or replace the file `name`; a reader sees the old content or the new, never a part.

        Args:
            name: Name of the file.
            content: What it is to hold.
            durable: Whether this is also true after a power failure: the content is flushed to a local disk before the
                file gets its name, and the name before this returns.

        Raises:
            StorageError: It cannot be written; nothing is left of it.
        """
        # object storage shows a file only once it is complete; a local file is renamed into place
        target = self._file(name)
        written = f"{target}.{os.getpid()}.part" if self._local else target

        def put() -> None:
            with self._filesystem.open_output_stream(written) as stream:
                stream.write(content)

        def write() -> None:
            known = nearest_folder(self._path) if durable and self._local else None
            self._filesystem.create_dir(self._path, recursive=True)
            if not self._local:
                # the end of `with` stores what was written so far, also where a signal is raised in it
                undisturbed(put)
                return
            try:
                put()
                if known:
                    sync(written)
                self._filesystem.move(written, target)
                if known:
                    sync_names(self._path, known=known)
            except BaseException:  # a signal too
                with contextlib.suppress(OSError):
                    self._filesystem.delete_file(written)
                raise

        self._written(name, content, write)

    def append(self, name: str, content: bytes, *, durable: bool = False) -> None:
        """Add to the end of the file `name`; object storage cannot, so there it is written anew.

        Args:
            name: Name of the file.
            content: What to add.
            durable: Whether the file is flushed to a local disk before this returns.

        Raises:
            StorageError: It cannot be written; what part of it was is taken back.
        """
        if not self._local:
            self.write(name, (self.read(name) if self.exists(name) else b"") + content)
            return

        def append() -> None:
            self._filesystem.create_dir(self._path, recursive=True)
            path = Path(self._file(name))
            new = not path.exists()
            size = 0 if new else path.stat().st_size
            try:
                with self._filesystem.open_append_stream(str(path)) as stream:
                    stream.write(content)
                if durable:
                    sync(path)
                    if new:
                        sync(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(path, size)  # half a line would be taken for damage
                raise

        self._written(name, content, append)

    def exists(self, name: str) -> bool:
        """Return whether there is a file or folder `name`."""
        info = self._answered(name, lambda: self._filesystem.get_file_info(self._file(name)))
        return info.type != fs.FileType.NotFound

    def names(self) -> list[str]:
        """Return the names of the files and folders inside, sorted; none if the folder does not exist."""
        selector = fs.FileSelector(self._path, allow_not_found=True)
        return sorted(info.base_name for info in self._answered("", lambda: self._filesystem.get_file_info(selector)))

    def files(self) -> list[StoredFile]:
        """Return every file inside, at any depth; none if the folder does not exist."""
        selector = fs.FileSelector(self._path, recursive=True, allow_not_found=True)
        return [
            StoredFile(info.path[len(self._path) + 1 :], info.size, info.mtime_ns or 0)
            for info in self._answered("", lambda: self._filesystem.get_file_info(selector))
            if info.type == fs.FileType.File
        ]

    def delete(self, name: str) -> None:
        """Remove the file `name`."""
        self._answered(name, lambda: self._filesystem.delete_file(self._file(name)))

    def remove(self) -> None:
        """Remove the folder and all that is in it."""

        def remove() -> None:
            if self._filesystem.get_file_info(self._path).type != fs.FileType.NotFound:
                self._filesystem.delete_dir(self._path)

        self._answered("", remove)

    def _file(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _written(self, name: str, content: bytes, write: Callable[[], None]) -> None:
        def write_if_kept() -> None:
            if self._required and not self._required.exists():
                raise StorageError(
                    f"{self._required.parent} was moved or deleted while it was written to: {self._required.name} is "
                    "gone.\nMove it back, and the same command goes on; or start again under another name."
                )
            write()

        try:
            self._persistently(write_if_kept)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(self._why_not(name, content, error)) from error

    def _answered(self, name: str, ask: Callable[[], Found]) -> Found:
        """Return what `ask` returns about a file, or about the folder where the name is ""."""
        try:
            return self._persistently(ask)
        except OSError as error:
            if passes(error):
                raise StorageError(self._why_not(name, b"", error)) from error
            raise

    def _why_not(self, name: str, content: bytes, error: OSError) -> str:
        where = f"{self}/{name}" if name else str(self)
        return why_not(where, error, size=len(content), disk=self.local_path, retry_s=self._retry_s)

    def _persistently(self, act: Callable[[], Found]) -> Found:
        return persistently(act, retry_s=self._retry_s, what=str(self))
