"""Tests of raytrain.runs.lock: two commands never write one run folder, and a dead one holds nothing."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raytrain.errors import RunFolderError
from raytrain.runs.lock import run_locked
from raytrain.storage.folder import Folder

HOLD = """
import sys, time
from raytrain.runs.lock import run_locked
from raytrain.storage.folder import Folder
with run_locked(Folder.at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of `tmp_path/run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_the_second_is_told_who_is_the_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (
        pytest.raises(RunFolderError, match=f"is in use by process {holder.pid} on {os.uname().nodename}"),
        run_locked(Folder.at(tmp_path / "run")),
    ):
        pass
    with run_locked(Folder.at(tmp_path / "other")):
        pass
    holder.kill()
    holder.wait()


def test_a_killed_process_holds_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run_locked(Folder.at(tmp_path / "run")):
        pass


def test_the_lock_leaves_nothing_behind_even_when_the_run_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with run_locked(Folder.at(tmp_path / "run")):
            assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]
            raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with run_locked(Folder.at(tmp_path / "run")):
        pass


def test_a_lock_file_that_was_replaced_meanwhile_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened the file just before its holder removed it must not work beside whoever made the next one."""
    file = tmp_path / ".run.lock"
    file.touch()
    opened = os.open
    seen: list[int] = []

    def replaced(path: str, *arguments: int, **options: int) -> int:
        descriptor = opened(path, *arguments, **options)
        if str(path) == str(file) and not seen:
            seen.append(os.fstat(descriptor).st_ino)
            file.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", replaced)
    held = 0
    with contextlib.suppress(RunFolderError), run_locked(Folder.at(tmp_path / "run")):
        held += 1
        with contextlib.suppress(RunFolderError), run_locked(Folder.at(tmp_path / "run")):
            held += 1
    assert held < 2
    assert seen
