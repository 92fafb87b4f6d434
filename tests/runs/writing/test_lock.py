"""Tests of raytrain.runs.writing.lock: two commands never write one run folder, and a dead one holds nothing."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from raytrain.errors import PreflightError, RunFolderError
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder

HOLD = """
import sys, time
from raytrain.runs.writing.lock import run_locked
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


def test_one_that_may_wait_gets_the_lock_once_it_is_free(tmp_path: Path) -> None:
    folder, got, failed = Folder.at(tmp_path / "x"), threading.Event(), list[BaseException]()

    def wait() -> None:
        try:
            with run_locked(folder, wait_s=300):
                got.set()
        except BaseException as error:  # noqa: BLE001 (of a thread, in which no test fails)
            failed.append(error)

    waiting = threading.Thread(target=wait)
    with run_locked(folder):
        waiting.start()
        waiting.join(0.2)
        assert (waiting.is_alive(), got.is_set()) == (True, False), failed
    waiting.join()
    assert got.is_set(), failed


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


def test_the_lock_file_is_gone_before_the_lock_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the file of the next holder would be removed, and a third could make and hold another one beside it."""
    there: list[bool] = []
    release = FileLock.release

    def watched(lock: FileLock, *arguments: bool, **options: bool) -> None:
        if lock.is_locked:
            there.append((tmp_path / ".run.lock").exists())
        release(lock, *arguments, **options)

    monkeypatch.setattr(FileLock, "release", watched)
    with run_locked(Folder.at(tmp_path / "run")):
        assert (tmp_path / ".run.lock").exists()
    assert there == [False]


def refused(tmp_path: Path) -> str:
    with pytest.raises((RunFolderError, PreflightError)) as refusal, run_locked(Folder.at(tmp_path / "run")):
        pytest.fail("it is taken for a lock")
    return str(refusal.value)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    (tmp_path / ".run.lock").symlink_to(tmp_path / "mine.txt")
    assert ".run.lock is no lock file; move it away" in refused(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert (tmp_path / ".run.lock").is_symlink()


def test_another_name_of_a_file_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    (tmp_path / ".run.lock").hardlink_to(tmp_path / "mine.txt")
    assert "is no lock file; move it away" in refused(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == ""


def test_a_pipe_is_no_lock_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".run.lock")
    assert "is no lock file" in refused(tmp_path)
    assert (tmp_path / ".run.lock").is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_lock_file_that_seems_to_be_another_users_is_taken(tmp_path: Path) -> None:
    """As on NFS with root_squash, where a file that was just made belongs to nobody."""
    (tmp_path / ".run.lock").touch()
    os.chown(tmp_path / ".run.lock", 65534, 65534)
    with run_locked(Folder.at(tmp_path / "run")):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".run.lock").read_text()


def test_a_file_with_other_content_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").write_text("precious")
    assert "is no lock file" in refused(tmp_path)
    assert (tmp_path / ".run.lock").read_text() == "precious"
    with run_locked(Folder.at(tmp_path / "other")):
        pass


@pytest.mark.parametrize("left", ["", '{"pid": 1, "host": "gone"}'])
def test_the_lock_file_of_a_process_that_was_killed_is_taken_over(left: str, tmp_path: Path) -> None:
    (tmp_path / ".run.lock").write_text(left)
    with run_locked(Folder.at(tmp_path / "run")):
        assert f'"pid": {os.getpid()}' in (tmp_path / ".run.lock").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_a_network_disk_has_no_locks_a_run_goes_on_without(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with caplog.at_level("INFO"), run_locked(Folder.at(tmp_path / "run")):
        assert "has no file locks" in caplog.text
