"""The private folder of a Ray that we started, and what outlives a driver that was killed.

Ray's own processes end when they miss their driver, but not all of them soon: two agents stay for half a minute, and
the folder for ever. Each folder has a lock that the system releases with the driver, whatever killed it, so the next
start knows whose folders are abandoned. A process is ended only when it is this user's, and either its command line
names such a folder or it goes by a name of Ray's (`ray::DashboardAgent`) and has a file in it open.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

PREFIX = "rt-"
LOCK = "owner.lock"
LONGEST_PLACE = 24
"""Characters of a temporary folder: up to 79 come after it, and a socket's path may have 103 on macOS, 107 on Linux."""
BEING_MADE_S = 10.0
"""A folder this young may not have its lock yet."""
ROUNDS = 3
"""How often processes are looked for: one that dies may have just started another."""
GONE_S = 2.0
"""What killed processes may take to be gone."""


@contextmanager
def private_folder() -> Generator[Path]:
    """Make a folder that only its owner can enter, marked as ours until the context or this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_places()[0]))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def reap() -> list[Path]:
    """End the processes and remove the folders of drivers that were killed; return those folders."""
    abandoned = [folder for place in _places() for folder in place.glob(f"{PREFIX}*") if _is_abandoned(folder)]
    for folder in abandoned:
        end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return abandoned


def end_processes(folder: Path) -> list[int]:
    """Kill each process of a Ray that has its files in `folder`; return their ids.

    Not by SIGTERM: they do not hear it (`session`).

    Args:
        folder: Of a Ray whose driver is gone, or needs it no longer.
    """
    killed: list[int] = []
    for _ in range(ROUNDS):
        found = [process for process in psutil.process_iter() if _belongs(process, folder)]
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=GONE_S)
        killed += [process.pid for process in found]
    return killed


def _places() -> list[Path]:
    """Return where private folders may be: the usual place, or /tmp where that has too long a path for sockets."""
    usual = tempfile.gettempdir()
    return list(dict.fromkeys(Path(place) for place in (usual, "/tmp") if len(place) <= LONGEST_PLACE))


def _is_abandoned(folder: Path) -> bool:
    try:
        known = folder.stat()
        if known.st_uid != os.getuid() or time.time() - known.st_mtime < BEING_MADE_S or not (folder / LOCK).exists():
            return False
        with FileLock(folder / LOCK, timeout=0):
            return True
    except (OSError, Timeout):
        return False


def _belongs(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.uids().real != os.getuid() or process.pid == os.getpid():
            return False
        words = process.cmdline()
        if any(f"{folder}/" in word for word in words):
            return True
        named_by_ray = bool(words) and words[0].startswith("ray::")
        return named_by_ray and any(file.path.startswith(f"{folder}/") for file in process.open_files())
    except (psutil.Error, OSError):
        return False
