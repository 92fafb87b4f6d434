"""One command at a time works on a run folder: a lock file beside it that ends with the process that holds it."""

import contextlib
import errno
import json
import logging
import os
import platform
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from raytrain.errors import PreflightError, RunFolderError
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

MAX_BYTES = 1000
"""Number of bytes that are read of a lock file; ours has under a hundred."""
_AS_IT_IS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags with which no link is followed, and no pipe waited for."""

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Errors of a network disk that has no locks, such as NFS without its lock daemon."""


OR_ANOTHER_NAME = "Wait for it, stop it, or give this run another name (--name, or `name` in its file)."
"""What to do about a folder in use, for commands that train into it."""


@contextmanager
def run_locked(folder: Folder, *, wait_s: float = 0.0, advice: str = "Wait for it, or stop it.") -> Generator[None]:
    """Hold the lock of a run folder for as long as the context lasts.

    It is a lock of the operating system (flock, by the filelock package), so a process that is killed leaves none. The
    lock file lies beside the run folder, because `--fresh` deletes the folder. Object storage has no locks, and some
    network disks have none: there nothing is locked.

    Args:
        folder: The run folder.
        wait_s: Seconds to wait for another process that holds it.
        advice: What to do where another process holds it, for the message.

    Raises:
        RunFolderError: Another process holds it, and the message names its process id and host. Or what lies there is
            no lock file of ours; it stays as it is.
        PreflightError: The lock file cannot be written.
    """
    path = folder.local_path
    if path is None:
        yield
        return
    file = _lock_file(path)
    lock = FileLock(file, timeout=wait_s, fallback_to_soft=False)
    made = [parent for parent in file.parents if not parent.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _sign(file)
    except RunFolderError:
        lock.release()
        raise
    except Timeout:
        raise RunFolderError(f"{folder} is in use by {_holder(file)}.\n{advice}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_lock(file) from None  # a link
        if error.errno not in _NO_LOCKS:
            lock.release()
            raise PreflightError(f"{folder} cannot be written ({error}); choose another --out") from error
        with contextlib.suppress(OSError):
            file.unlink()  # it locks nothing
        log.info("the disk of %s has no file locks: run only one command at a time on this run", folder)
    try:
        yield
    finally:
        if lock.is_locked:
            file.unlink(missing_ok=True)  # while it is held: a process that has just opened it sees that it is gone
        lock.release()
        with contextlib.suppress(OSError):  # they hold the run folder, if the run was not refused
            for parent in made:
                parent.rmdir()


def can_lock(folder: Folder) -> bool:
    """Return whether the place of a run folder has locks; call it while `run_locked` holds the folder's, if it has."""
    path = folder.local_path
    return path is not None and _lock_file(path).is_file()


def is_locked(folder: Folder) -> bool:
    """Return whether a command works on a run folder; False where there are no locks, as in object storage."""
    path = folder.local_path
    if path is None or not (file := _lock_file(path)).is_file():
        return False
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()  # a killed process left the file: it stays
    return False


def _lock_file(path: Path) -> Path:
    path = path.resolve()  # one lock, by whichever links the folder is reached
    return path.with_name(f".{path.name}.lock")


def _sign(file: Path) -> None:
    """Write this process into a lock file that it holds.

    Whose it is does not count: on NFS and other disks that map owners, a file of ours may seem to be another user's.

    Raises:
        RunFolderError: It is no lock file: no regular file, another name of a file, or a file with other content.
    """
    descriptor = os.open(file, os.O_RDWR | _AS_IT_IS)
    try:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        content = os.read(descriptor, MAX_BYTES + 1) if ours else b""
        if not ours or (content and _signature(content) is None):
            raise _no_lock(file)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())
    finally:
        os.close(descriptor)


def _no_lock(file: Path) -> RunFolderError:
    return RunFolderError(f"{file} is no lock file; move it away, or choose another name or --out")


def _holder(file: Path) -> str:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | _AS_IT_IS), "rb") as opened:
            signature = _signature(opened.read(MAX_BYTES + 1))
    except OSError:
        signature = None
    return f"process {signature[0]} on {signature[1]}" if signature else "another command"


def _signature(content: bytes) -> tuple[int, str] | None:
    """Return the process id and the host in the content of a lock file, or None where there are none."""
    try:
        read: dict[str, Any] = json.loads(content)
        return int(read["pid"]), str(read["host"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
