"""Tests of what an error that ended Tune is taken for; Ray is not started."""

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raytrain.errors import ExitCode, StorageError
from raytrain.ray_backend.tuner import is_of_storage, remove_scratch, storage_errors_explained
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

SESSION = "session_2026-11-29_04-28-15_422458_10191"
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory", f"/tmp/ray/{SESSION}/artifacts/tune")


@pytest.fixture
def scratch(tmp_path: Path) -> Folder:
    return Folder.at(str(tmp_path / "scratch"))


@pytest.fixture
def unfinished(open_run: Callable[..., RunJournal]) -> RunJournal:
    return open_run()


def ended_by(error: OSError, run: RunJournal, scratch: Folder) -> StorageError | None:
    """Return what is the recorder's problem after an error has ended Tune."""
    recorder: Any = SimpleNamespace(problem=None)
    with storage_errors_explained(recorder, run.state, scratch):
        raise error
    return recorder.problem


def test_an_error_of_a_connection_or_of_another_file_is_none_of_the_storage(scratch: Folder) -> None:
    assert not is_of_storage(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), scratch)
    assert not is_of_storage(FileNotFoundError(errno.ENOENT, "no such file", "/elsewhere/my_data.npy"), scratch)


def test_a_full_disk_or_an_error_that_names_the_folder_is_one_of_the_storage(scratch: Folder) -> None:
    assert is_of_storage(OSError(errno.ENOSPC, "no space left"), scratch)
    assert is_of_storage(OSError(f"AWS error: cannot put {scratch}/tune/x"), scratch)


def test_an_error_is_one_of_the_storage_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("no folder")
    assert is_of_storage(OSError("something"), Folder.at(str(tmp_path / "scratch")))


def test_files_of_rays_session_that_are_gone_are_one_message_with_exit_code_3(
    unfinished: RunJournal, scratch: Folder
) -> None:
    problem = ended_by(GONE, unfinished, scratch)
    assert problem
    assert str(problem).startswith(f"Ray's own files on this machine cannot be read or written: {GONE}.\n")
    assert problem.exit_code == ExitCode.REFUSED


def test_a_working_folder_that_is_gone_is_said(
    unfinished: RunJournal, scratch: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left").mkdir()
    monkeypatch.chdir(tmp_path / "left")
    (tmp_path / "left").rmdir()
    problem = ended_by(FileNotFoundError(errno.ENOENT, "No such file or directory"), unfinished, scratch)
    assert str(problem).startswith("The folder in which this command was started has been deleted or replaced")


def test_what_tune_cannot_write_after_the_last_trial_is_a_warning(
    unfinished: RunJournal, scratch: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    for trial in unfinished.state.pending():
        unfinished.ended(trial.id, {"status": "diverged", "error": "it did", "details": ""})
    with caplog.at_level(logging.WARNING):
        assert ended_by(GONE, unfinished, scratch) is None
    assert "All trials had ended before" in caplog.text


def test_with_the_folder_of_tune_goes_a_run_folder_that_was_made_anew_around_it_and_no_other(tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        (tmp_path / name / ".ray" / "tune").mkdir(parents=True)
        (tmp_path / name / ".ray" / "tune" / "tuner.pkl").touch()
    (tmp_path / "kept" / "experiment.yaml").touch()
    for name in ("gone", "kept", "never there"):
        remove_scratch(Folder.at(str(tmp_path / name)) / ".ray")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "kept",
        "kept/experiment.yaml",
    ]


def test_an_error_of_something_else_stays_what_it_is(unfinished: RunJournal, scratch: Folder) -> None:
    with pytest.raises(ConnectionRefusedError):
        ended_by(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), unfinished, scratch)
