"""A Ray of our own on this machine: its start, folder and token, where it listens, what is left of it after a kill.

Ray's own processes end when they miss their driver, but not all of them soon: two agents stay for half a minute, and
the folder stays for ever. Each folder has a lock that the system releases when the driver ends, whatever ended it, so
the next start finds the folders of drivers that are gone. A process is ended only when it belongs to this user and
either its command line names such a folder, or it goes by a name of Ray's (`ray::DashboardAgent`) and has a file in
the folder open.
"""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from raytrain.machine import usable_cores
from raytrain.ray_backend.internals import driver

log = logging.getLogger(__name__)

PREFIX = "rt-"
"""Prefix of the name of a private folder."""
LOCK = "owner.lock"
"""Name of the lock file in a private folder."""
MAX_PARENT_LENGTH = 24
"""Longest path of the parent folder, in characters: Ray adds up to 79, and a socket's path may have 103 on macOS."""
MIN_AGE_S = 10.0
"""Age in seconds below which a folder never counts as abandoned, since it may have no lock yet."""
ROUNDS = 3
"""Number of searches for processes to kill: one that dies may have just started another."""
EXIT_TIMEOUT_S = 2.0
"""Seconds within which killed processes must be gone."""
START_ATTEMPTS = 2
"""How often Ray is started before it is said that it does not start."""
START_TIMEOUT_S = 120.0
"""Seconds within which a Ray that is started here must be up; Ray itself would wait for 30 s."""
IMPORTED = "ray.train.torch,raytrain.ray_backend.trial"
"""Modules that a process imports which waits for a trial."""


@contextmanager
def private_folder() -> Generator[Path]:
    """Make a folder that only its owner can enter, locked until the context or this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parents()[0]))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path, *, in_advance: int = 0) -> None:
    """Start Ray on this machine, without a dashboard; once more where its node does not come up.

    On a busy machine the 30 s that Ray allows its node may be too short, and Ray has no setting for it. So it is waited
    for longer, as long as its process lives.

    Args:
        folder: Where Ray keeps its files.
        in_advance: Number of processes for trials that it starts at once, and that import what a trial needs.

    Raises:
        Exception: It does not come up; Ray has no class of its own for that.
    """
    import ray  # its settings must be in the environment before its first import

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with _waiting_processes(in_advance), driver.sigterm_handler_kept(), driver.node_awaited(START_TIMEOUT_S):
                ray.init(
                    "local",  # whatever RAY_ADDRESS says
                    job_config=driver.job_without_working_folder(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    _temp_dir=f"{folder}/{attempt}",  # Ray opens this one to everybody
                    **_allotment(),
                )
        except Exception as error:
            if type(error) is not Exception or attempt == START_ATTEMPTS:
                raise
            log.warning("Ray did not start: %s Trying once more", str(error).partition("\n")[0])
            ray.shutdown()
            end_processes(folder)
        else:
            return


@contextmanager
def _waiting_processes(count: int) -> Generator[None]:
    """Have a Ray that starts meanwhile start processes for trials at once, while the driver prepares the first ones.

    By itself it would start one for each core, which is too many where fewer trials run at a time.
    """
    ahead = {"RAY_prestart_worker_first_driver": "1", "RAY_preload_python_modules": IMPORTED}
    with environment(ahead if count else {"RAY_prestart_worker_first_driver": "0"}), driver.started_in_advance(count):
        yield


def _allotment() -> dict[str, Any]:
    """Return what Ray is to count of this machine, where it counts otherwise than trials can use.

    By itself it takes all cores, whatever `taskset` or SLURM allots to this process, and on a Mac a GPU, which PyTorch
    does not offer as CUDA.
    """
    cores = {"num_cpus": usable_cores()}
    if sys.platform != "darwin":
        return cores
    log.info("the GPU of a Mac is not used: trials train on the CPU; --local with RAYTRAIN_DEVICE=mps takes it")
    return cores | {"num_gpus": 0}


def warn_of_others() -> None:
    """Say where other runs of this user train through Ray on this machine."""
    count = sum(_has_driver(folder) is True for folder in _folders())
    if count:
        log.warning(
            "%s on this machine: they share its cores, so each takes longer than alone, and than planned",
            "another run trains" if count == 1 else f"{count} other runs train",
        )


def remove_abandoned() -> list[Path]:
    """End the processes and remove the folders of drivers that were killed; return those folders."""
    abandoned = [folder for folder in _folders() if _has_driver(folder) is False]
    for folder in abandoned:
        end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return abandoned


def end_processes(folder: Path) -> list[int]:
    """Kill each process of a Ray that has its files in `folder`; return their ids.

    They are killed, not terminated: they block SIGTERM (`endings_blocked`).

    Args:
        folder: Private folder of a Ray whose driver is gone, or no longer needs it.
    """
    killed: list[int] = []
    for _ in range(ROUNDS):
        found = [process for process in psutil.process_iter() if _belongs(process, folder)]
        if not found:
            break
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=EXIT_TIMEOUT_S)
        killed += [process.pid for process in found]
    return killed


@contextmanager
def endings_blocked() -> Generator[None]:
    """Have the processes that start meanwhile block SIGTERM and SIGHUP, as Ray has them block SIGINT.

    SLURM and systemd send SIGTERM to every process of a job, and a terminal that closes sends SIGHUP. A raylet that
    ends by it takes the driver with it: what the driver has put into the object store is lost, and its search for it in
    a store that is gone calls `_Exit(1)`.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def private_settings() -> Generator[None]:
    """Have a Ray that starts meanwhile listen on 127.0.0.1 only, and take only this process and its children.

    They share a token that is on no disk. Ray listens on loopback by itself on macOS; the same variable does it on
    Linux. The variables are set before Ray is imported; a process that has imported it has it read them again.
    """
    changes = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    if sys.platform == "linux":
        changes["GLOO_SOCKET_IFNAME"] = "lo"  # the workers of one trial talk over loopback, too
    try:
        with environment(changes):
            if "ray" in sys.modules:
                driver.reread_environment()
            yield
    finally:
        if "ray" in sys.modules:
            driver.reread_environment()


@contextmanager
def environment(changes: Mapping[str, str]) -> Generator[None]:
    """Set variables of the environment for as long as the context lasts."""
    before = {name: os.environ[name] for name in changes if name in os.environ}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name, None)
        os.environ.update(before)


def _parents() -> list[Path]:
    """Return where private folders may be: the temporary folder, or /tmp where its path is too long for sockets."""
    usual = tempfile.gettempdir()
    return list(dict.fromkeys(Path(parent) for parent in (usual, "/tmp") if len(parent) <= MAX_PARENT_LENGTH))


def _folders() -> list[Path]:
    return [folder for parent in _parents() for folder in parent.glob(f"{PREFIX}*")]


def _has_driver(folder: Path) -> bool | None:
    """Return whether the driver that made a folder lives; None where it is another user's, or is just being made."""
    try:
        known = folder.stat()
        if known.st_uid != os.getuid() or time.time() - known.st_mtime < MIN_AGE_S or not (folder / LOCK).exists():
            return None
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return None


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
