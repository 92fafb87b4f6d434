"""One command at a time works on a run folder: a lock file beside it that ends with the process that holds it."""

import fcntl
import json
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from raytrain.errors import PreflightError, RunFolderError
from raytrain.storage.folder import Folder


@contextmanager
def run_locked(folder: Folder) -> Generator[None]:
    """Hold the lock of a run folder for as long as the context lasts.

    It is a lock of the operating system (flock), so a process that is killed leaves none. It lies beside the run
    folder, which `--fresh` deletes. Object storage has no locks: there the caller is trusted.

    Raises:
        RunFolderError: Another process holds it; the message names its pid and host.
        PreflightError: The lock file cannot be written.
    """
    path = folder.local_path
    if path is None:
        yield
        return
    file = path.with_name(f".{path.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = _acquired(file, str(folder))
    except OSError as error:
        raise PreflightError(f"{folder} cannot be written ({error}); choose another --out") from error
    try:
        stream.write(json.dumps({"pid": os.getpid(), "host": platform.node()}))
        stream.flush()
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is held: whoever opened it before finds that it is gone
        stream.close()


def refuse_locked(folder: Folder) -> None:
    """Refuse a run folder that another process is working on, before anything is read or started.

    Raises:
        RunFolderError: One is.
    """
    path = folder.local_path
    if path and path.with_name(f".{path.name}.lock").exists():
        with run_locked(folder):  # what a killed process left is removed
            pass


def _acquired(file: Path, run: str) -> IO[str]:
    while True:
        stream = file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read()
            stream.close()
            raise RunFolderError(
                f"{run} is being worked on by {_named(holder)}.\nWait for it, end it, or choose another --name."
            ) from None
        except OSError:  # a file system without locks
            return stream
        if file.exists() and os.fstat(stream.fileno()).st_ino == file.stat().st_ino:
            stream.truncate(0)
            return stream
        stream.close()  # its last holder has just removed it


def _named(holder: str) -> str:
    try:
        read: dict[str, Any] = json.loads(holder)
        return f"process {read['pid']} on {read['host']}"
    except (ValueError, KeyError, TypeError):
        return "another command"
