"""Tests of `raytrain rm` and `prune`: what they delete, what that frees, and what they refuse."""

import errno
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.execution.signals import Terminated
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import read_run, stored_text
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.runs.results import TrialResult
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line

CHECKPOINT = b"x" * 1000
WriteRun = Callable[..., Path]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYTRAIN_OUT", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def write(out: Path) -> WriteRun:
    """Return a function that writes a run of three trials, each with a checkpoint; the second is the chosen one."""

    def write(name: str = "x", statuses: tuple[str, ...] = ("finished", "finished", "stopped")) -> Path:
        experiment = Experiment.model_validate({"name": name, "grid": {"lr": [0.1, 0.2, 0.3]}})
        folder = out / name
        folder.mkdir(parents=True)
        (folder / "experiment.yaml").write_text(dump_yaml(experiment.model_dump(mode="json")))
        (folder / "manifest.json").write_text(json.dumps({"data": {}, "inputs": [], "seeds": [], "sessions": []}))
        lines = b""
        for place, (trial, status) in enumerate(zip(experiment.trials(), statuses, strict=True)):
            checkpoint = folder / "trials" / trial.id / "checkpoint"
            checkpoint.mkdir(parents=True)
            (checkpoint / "state-0001.pt").write_bytes(CHECKPOINT)
            (checkpoint.parent / "metrics.jsonl").touch()
            accuracy = {"val_accuracy": (0.5, 0.9, 0.4)[place], "val_loss": 1.0}
            if status != "unfinished":
                recipe = trial.recipe.model_dump(mode="json")
                lines += as_line(asdict(TrialResult(trial.id, status, recipe, 1, 1, **accuracy)))  # type: ignore[arg-type]
        (folder / "trials.jsonl").write_bytes(lines)
        return folder

    return write


def call(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words], input=answer)


def checkpoints(folder: Path) -> list[str]:
    return [path.parent.parent.name for path in sorted(folder.glob("trials/*/checkpoint/*"))]


def test_rm_says_what_it_frees_asks_and_deletes(write: WriteRun, out: Path) -> None:
    write("x"), write("y"), write("z")
    refused = call("rm", "x", "y", answer="n\n")
    assert "x: 3 trials, finished, " in refused.stderr
    assert "Delete these 2 runs, and free " in refused.stderr
    assert "Nothing was deleted." in refused.stderr
    assert sorted(path.name for path in out.iterdir()) == ["x", "y", "z"]
    assert call("rm", "x", "y", answer="y\n").exit_code == 0
    assert [path.name for path in out.iterdir()] == ["z"]
    assert call("rm", "z", "runs/../runs/z", "--yes").exit_code == 0
    assert list(out.iterdir()) == []


def test_where_nobody_answers_nothing_is_deleted(write: WriteRun) -> None:
    folder = write()
    for words in (["rm", "x"], ["prune", "x"]):
        result = call(*words)
        assert result.exit_code == 2
        assert "nobody answered; --yes deletes without asking" in result.stderr
    assert len(checkpoints(folder)) == 3


@pytest.mark.parametrize(("interrupt", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
@pytest.mark.parametrize("command", ["rm", "prune"])
def test_a_signal_at_the_question_ends_the_command_as_one(
    write: WriteRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    interrupt: type[KeyboardInterrupt],
    code: int,
) -> None:
    class Signal(io.StringIO):
        def readline(self, *_: object) -> str:
            raise interrupt

    folder = write()
    monkeypatch.setattr(sys, "stdin", Signal())
    with pytest.raises(SystemExit) as ended:
        app([command, "x"])
    assert ended.value.code == code
    assert capsys.readouterr().err.endswith("\nraytrain: interrupted\n")
    assert len(checkpoints(folder)) == 3


@pytest.mark.parametrize("words", [["rm", "x", "--yes"], ["prune", "x", "--yes"]])
def test_a_run_that_another_command_works_on_is_left_alone(write: WriteRun, words: list[str]) -> None:
    folder = write()
    with run_locked(Folder.at(folder)):
        result = call(*words)
    assert result.exit_code == 2
    assert "is in use by" in result.stderr
    assert len(checkpoints(folder)) == 3


@pytest.mark.parametrize("command", ["rm", "prune"])
def test_a_folder_with_anything_that_no_run_writes_is_left_alone(write: WriteRun, command: str, out: Path) -> None:
    folder = write()
    (folder / "thesis.tex").touch()
    assert "no run writes thesis.tex; move that away first" in call(command, "x", "--yes").stderr
    bare = out / "bare"
    bare.mkdir()
    (bare / "experiment.yaml").touch()
    assert "there is nothing that a run writes" in call(command, "bare", "--yes").stderr
    (out / "none").mkdir()
    assert "there is no run 'none'" in call(command, "none", "--yes").stderr
    assert len(checkpoints(folder)) == 3
    assert (bare / "experiment.yaml").exists()


def test_rm_goes_on_where_a_kill_has_left_the_experiment_alone(write: WriteRun) -> None:
    folder = write()
    stored = stored_text(read_run(Folder.at(folder)))
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "experiment.yaml").write_text(stored)
    assert call("rm", "x", "--yes").exit_code == 0
    assert not folder.exists()


@pytest.mark.parametrize("command", ["rm", "prune"])
def test_given_weights_and_what_a_kill_leaves_of_ray_are_parts_of_a_run(write: WriteRun, command: str) -> None:
    folder = write()
    for name in ("init/pretrained.pth", ".ray/tune/state.json", "code/my_net.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    assert call(command, "x", "--yes").exit_code == 0
    assert folder.exists() == (command == "prune")


@pytest.mark.parametrize("command", ["rm", "prune"])
def test_a_link_out_of_the_folder_of_runs_is_not_followed(
    write: WriteRun, command: str, out: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write("x").rename(elsewhere / "x")
    (out / "x").symlink_to(elsewhere / "x")
    (out / "all").symlink_to(elsewhere)
    for name in ("x", "all/x"):
        result = call(command, name, "--yes")
        assert (result.exit_code, "it is a link to" in result.stderr) == (2, True)
    assert len(checkpoints(elsewhere / "x")) == 3


def test_what_a_link_inside_a_run_leads_to_stays(write: WriteRun, tmp_path: Path) -> None:
    folder, kept = write(), tmp_path / "kept"
    kept.mkdir()
    (kept / "state-0001.pt").write_bytes(CHECKPOINT)
    checkpoint = next(folder.glob("trials/*lr0.1-*/checkpoint"))
    (checkpoint / "state-0001.pt").unlink()
    checkpoint.rmdir()
    checkpoint.symlink_to(kept)
    refused = call("prune", "x", "--yes")
    assert (refused.exit_code, "is reached by a link" in refused.stderr) == (2, True)
    assert len(checkpoints(folder)) == 3
    assert call("rm", "x", "--yes").exit_code == 0
    assert not folder.exists()
    assert (kept / "state-0001.pt").exists()


def test_prune_keeps_the_chosen_checkpoint_and_everything_else(write: WriteRun) -> None:
    folder = write()
    others = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"}
    shown = call("results", "x").stdout
    result = call("prune", "x", answer="y\n")
    assert result.exit_code == 0, result.output
    assert "Delete the checkpoints of 2 trials, and free 2.0 kB?" in result.stderr
    (kept,) = checkpoints(folder)
    assert "lr0.2" in kept
    assert {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"} == others
    assert call("results", "x").stdout == shown
    assert "There are no checkpoints to delete." in call("prune", "x").stderr


def test_prune_refuses_an_unfinished_run_unless_it_is_forced(write: WriteRun) -> None:
    folder = write(statuses=("finished", "finished", "unfinished"))
    result = call("prune", "x", "--yes")
    assert result.exit_code == 2
    assert "is unfinished, and its trials go on from their checkpoints" in result.stderr
    assert len(checkpoints(folder)) == 3
    assert call("prune", "x", "--yes", "--force").exit_code == 0
    assert len(checkpoints(folder)) == 1


@pytest.mark.parametrize("manifest", ["{", '{"sessions": 1}'])
def test_prune_refuses_a_run_that_may_be_unfinished_because_it_is_damaged(write: WriteRun, manifest: str) -> None:
    folder = write(statuses=("finished", "finished", "unfinished"))
    (folder / "manifest.json").write_text(manifest)
    result = call("prune", "x", "--yes")
    assert (result.exit_code, "manifest.json: is damaged" in result.stderr) == (2, True)
    assert len(checkpoints(folder)) == 3


def test_prune_keeps_what_a_failed_trial_goes_on_from(write: WriteRun) -> None:
    folder = write(statuses=("failed", "finished", "stopped"))
    result = call("prune", "x", "--yes")
    assert "and so do those of 1 that failed" in result.stderr
    assert len(checkpoints(folder)) == 2
    assert call("prune", "x", "--yes", "--force").exit_code == 0
    assert len(checkpoints(folder)) == 1


def test_prune_says_that_nothing_is_chosen_where_nothing_has_finished(write: WriteRun) -> None:
    write(statuses=("failed", "failed", "failed"))
    result = call("prune", "x", "--yes")
    assert (result.exit_code, "has finished, so none is chosen" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["rm", "prune"])
def test_without_locks_a_run_that_may_still_train_is_refused(
    write: WriteRun, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("raytrain.runs.writing.lock.FileLock.acquire", no_locks)
    folder = write()
    manifest = json.loads((folder / "manifest.json").read_text())
    session = {"command": ["raytrain"], "started": "2026-11-01T10:00:00+00:00", "code": {}, "versions": {}}
    manifest["sessions"] = [{**session, "machine": {}}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused = call(command, "x", "--yes")
    assert refused.exit_code == 2
    assert "has no end on record: it may still run" in refused.stderr
    assert len(checkpoints(folder)) == 3
    manifest["sessions"][0]["ended"] = "2026-11-01T11:00:00+00:00"
    ended = write("y")
    (ended / "manifest.json").write_text(json.dumps(manifest))
    assert call(command, "y", "--yes").exit_code == 0
    assert call(command, "x", "--yes", "--force").exit_code == 0
    assert folder.exists() == (command == "prune")
