"""Tests of raytrain.runs.folder: runs that are found by their names, and what is read from their folders."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from raytrain.errors import DivergenceError, RunFolderError
from raytrain.experiment.experiment import Experiment
from raytrain.runs import folder as folder_module
from raytrain.runs.folder import checkpoints_at, list_runs, open_run, read_state
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.outcome import outcome_of
from raytrain.training.recipe import Recipe


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "experiment.yaml").write_text("{}")
    (tmp_path / "out" / "no run").mkdir()
    return tmp_path / "out"


def test_runs_are_the_folders_with_an_experiment(out: Path):
    assert list_runs(str(out)) == ["one", "two"]
    assert list_runs(str(out / "nowhere")) == []


@pytest.mark.parametrize("how", ["one", "{out}/one", "file://{out}/one"])
def test_a_run_is_opened_by_name_path_or_uri(out: Path, how: str):
    assert open_run(how.format(out=out), out=str(out)).local_path == out / "one"


def test_a_run_is_opened_by_a_relative_path(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(out.parent)
    assert open_run("out/two", out="elsewhere").local_path == out / "two"


def test_an_unknown_run_is_answered_with_those_there_are(out: Path):
    with pytest.raises(RunFolderError, match=r"no run 'three' under .*; choose one of one, two"):
        open_run("three", out=str(out))


def test_a_run_that_is_spelt_wrong_is_answered_with_the_nearest_name(out: Path):
    with pytest.raises(RunFolderError, match=r"no run 'tow' under .*; did you mean 'two'\?$"):
        open_run("tow", out=str(out))


def test_an_unknown_run_where_there_is_none_is_said_so(tmp_path: Path):
    with pytest.raises(RunFolderError, match="there are no runs yet"):
        open_run("three", out=str(tmp_path))


def test_a_file_in_place_of_the_folder_of_runs_is_an_error_of_ours(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be listed"):
        list_runs(str(tmp_path / "file"))


@pytest.mark.parametrize("name", ["trials.jsonl", "events.jsonl"])
def test_a_damaged_line_is_told_with_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text("name: x\n")
    (tmp_path / name).write_text("damage\n{}\n")
    with pytest.raises(RunFolderError, match=rf"{name}:1: is damaged: .*\n.*raytrain resume RUN --repair"):
        read_state(Folder.at(tmp_path))


def test_checkpoints_in_object_storage_are_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Folder(fs._MockFileSystem(datetime.now(UTC)), "bucket/x/trials/a/checkpoint")
    opened: list[str] = []
    monkeypatch.setattr(Folder, "at", lambda location: (opened.append(location), bucket)[1])
    assert checkpoints_at("s3://bucket/x/trials/a/checkpoint", "a") is bucket
    assert opened == ["s3://bucket/x/trials/a/checkpoint"]


@pytest.mark.parametrize("first", ["read_results", "read_lines"])
def test_a_trial_that_ends_while_its_run_is_read_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    experiment = Experiment(name="x", recipe=Recipe(epochs=1, width=2))
    run = RunJournal.open(Folder.at(tmp_path / "x"), experiment, experiment.trials())
    run.begin({})
    (trial,) = run.state.progress
    run.started(trial)
    real = getattr(folder_module, first)

    def read_and_go_on(*arguments: Any, **named: Any) -> Any:
        """Read one of the two files; right after it, the trial ends."""
        read = list(real(*arguments, **named))
        monkeypatch.setattr(folder_module, first, real)
        run.ended(trial, outcome_of(DivergenceError(1)))
        return read

    monkeypatch.setattr(folder_module, first, read_and_go_on)
    state = read_state(run.folder)
    assert caplog.text == ""
    assert state.progress[trial].status in {"diverged", "waiting"}
    assert read_state(run.folder).progress[trial].status == "diverged"
