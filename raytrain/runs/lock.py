"""One command at a time works on a run folder: a lock file beside it that ends with the process that holds it."""

import contextlib
import errno
import json
import logging
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from raytrain.errors import PreflightError, RunFolderError
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)


@contextmanager
def run_locked(folder: Folder) -> Generator[None]:
    """Hold the lock of a run folder for as long as the context lasts.

    It is a lock of the operating system (flock, by the filelock package), so a process that is killed leaves none. The
    lock file lies beside the run folder, because `--fresh` deletes the folder. Object storage has no locks, and some
    network disks have none: there nothing is locked.

    Raises:
        RunFolderError: Another process holds it; the message names its process id and host.
        PreflightError: The lock file cannot be written.
    """
    path = folder.local_path
    if path is None:
        yield
        return
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    made = [parent for parent in file.parents if not parent.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        file.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), encoding="utf-8")
    except Timeout:
        raise RunFolderError(
            f"{folder} is in use by {_holder(file)}.\nWait for it, stop it, or choose another --name."
        ) from None
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise PreflightError(f"{folder} cannot be written ({error}); choose another --out") from error
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


def _holder(file: Path) -> str:
    try:
        read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return f"process {read['pid']} on {read['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
