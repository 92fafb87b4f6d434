"""Tests of raytrain.execution.run in this process, without Ray: a whole run, continued, refused, interrupted."""

import io
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from raytrain import __version__
from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.comparison.overview import summarize
from raytrain.data import load
from raytrain.errors import PreflightError, RunFolderError
from raytrain.execution.options import Mode, RunOptions
from raytrain.execution.run import RunOutcome, run
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import STORED_END, STORED_HEAD, read_run
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.provenance.manifest import inputs_of, read_manifest
from raytrain.runs.results import TrialResult, read_results
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import read_predictions
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training import trial


@pytest.fixture
def keys(tiny_images: str) -> dict[str, Any]:
    recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 2}
    return {"name": "x", "recipe": {**recipe, "precision": "fp32"}, "grid": {"lr": [0.01, 0.02]}}


def run_here(out: Path, keys: dict[str, Any], *, mode: Mode = "resume", **shown: Any) -> RunOutcome:
    return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True, mode=mode), **shown)


def no_space(*_: Any, **__: Any) -> None:
    """Stand in for a trial that cannot be set up."""
    raise OSError("no\nspace")


def table(path: Path) -> list[dict[str, Any]]:
    return parquet.read_table(io.BytesIO(path.read_bytes())).to_pylist()


# ---------------------------------------------------------------- a whole run


def test_an_experiment_with_fewer_trials_is_stored_and_reported_although_nothing_is_left_to_train(
    tmp_path: Path, keys: dict[str, Any]
):
    run_here(tmp_path, {**keys, "seeds": [0, 1]})
    report, manifest = (tmp_path / "x" / name for name in ("report.html", "manifest.json"))
    report.write_text("of before")
    again = run_here(tmp_path, {**keys, "seeds": [0, 1]})
    assert (again.trained, report.read_text()) == (0, "of before")
    fewer = run_here(tmp_path, {**keys, "grid": {"lr": [0.01]}, "seeds": [1]})
    assert (fewer.trained, len(fewer.results)) == (0, 1)
    assert read_record(fewer.folder).results == fewer.results
    assert read_run(fewer.folder).seeds == (1,)
    assert report.read_text() != "of before"
    assert len(json.loads(manifest.read_text())["sessions"]) == 2


def test_a_run_that_goes_on_and_is_killed_before_its_new_report_leaves_no_old_one(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    run_here(tmp_path, keys)
    report = tmp_path / "x" / "report.html"
    report.write_text("of before")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("raytrain.report.page.write_report", killed)
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path, {**keys, "seeds": [0, 1]})
    assert not report.exists()
    assert run_here(tmp_path, {**keys, "seeds": [0, 1]}).trained == 0
    assert report.exists()


def test_a_run_leaves_tables_that_say_what_its_lines_say(tmp_path: Path, keys: dict[str, Any]):
    outcome = run_here(tmp_path, keys)
    folder = tmp_path / "x"
    assert (outcome.exit_code, outcome.trained, outcome.interrupted) == (0, 2, None)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "events.jsonl",
        "experiment.yaml",
        "manifest.json",
        "metrics.parquet",
        "plots",
        "report.html",
        "trials",
        "trials.jsonl",
        "trials.parquet",
    ]
    results = read_results(outcome.folder)
    assert {r.trial: r for r in results} == {r.trial: r for r in outcome.results}
    assert {r.status for r in results} == {"finished"}
    rows = {row["trial"]: row for row in table(folder / "trials.parquet")}
    for result in results:
        assert rows[result.trial].items() >= result.flat().items()
        predictions = read_predictions(outcome.folder, result)
        assert predictions is not None
        assert predictions.accuracy == result.test_accuracy
        written = b"".join(path.read_bytes() for path in (folder / "trials" / result.trial / "tb").iterdir())
        assert (b"Mistakes/Test" in written) == (predictions.accuracy < 1)
        assert rows[result.trial]["test_accuracy_low"] < predictions.accuracy < rows[result.trial]["test_accuracy_high"]
    epochs = table(folder / "metrics.parquet")
    assert sorted((row["trial"], row["epoch"]) for row in epochs) == sorted(
        (r.trial, e) for r in results for e in (1, 2)
    )
    for result in results:
        lines = (folder / "trials" / result.trial / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            {key: value for key, value in row.items() if key != "trial"}
            for row in epochs
            if row["trial"] == result.trial
        ]
        best = max((row for row in epochs if row["trial"] == result.trial), key=lambda row: row["val_accuracy"])
        assert result.val_accuracy == best["val_accuracy"]
        readme = (folder / "README.md").read_text()
        assert f"{100 * result.test_accuracy:.2f}" in readme
        assert result.trial.rpartition("-")[2] in readme


def test_the_manifest_says_what_ran_where_on_what(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tiny_images: str
):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/raytrain", "tune", "--grid", "a b.yaml"])
    before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    run_here(tmp_path, {**keys, "seeds": [3, 4]})
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    (session,) = manifest["sessions"]
    assert session["command"] == ["raytrain", "tune", "--grid", "a b.yaml"]
    assert before <= session["started"] <= session["ended"]
    assert session["started"].endswith("+00:00")
    assert session["code"]["raytrain"] == __version__
    assert session["code"]["python"] == platform.python_version()
    assert session["code"]["packages"].keys() >= {"torch", "ray", "numpy"}
    assert {"git_commit", "git_diff"} <= session["code"].keys()
    assert session["machine"]["cores"] == os.cpu_count()
    assert session["machine"]["memory_bytes"] > 2**28
    assert manifest["data"] == {f"{tiny_images} at 8 px": load(tiny_images, image_size=8).fingerprint}
    assert manifest["seeds"] == [3, 4]
    inputs = inputs_of(manifest, keys["recipe"])
    assert (inputs.classes, inputs.train, inputs.val, inputs.test) == (("bright", "dark"), 32, 8, 10)
    assert all(0 < value < 1 for value in (*inputs.mean, *inputs.std))
    with pytest.raises(RunFolderError, match="an older raytrain wrote it"):
        inputs_of({}, keys["recipe"])
    assert "`raytrain tune --grid 'a b.yaml'`" in (tmp_path / "x" / "README.md").read_text()


def test_the_second_time_nothing_is_trained(tmp_path: Path, keys: dict[str, Any]):
    first = run_here(tmp_path, keys)
    lines = (tmp_path / "x" / "trials.jsonl").read_bytes()
    second = run_here(tmp_path, keys)
    assert (second.trained, second.exit_code, second.results) == (0, 0, first.results)
    assert (tmp_path / "x" / "trials.jsonl").read_bytes() == lines
    assert len(json.loads((tmp_path / "x" / "manifest.json").read_text())["sessions"]) == 1


@pytest.mark.parametrize("name", ["README.md", "trials.parquet", "metrics.parquet"])
def test_a_table_lost_to_a_kill_is_written_again_though_nothing_is_trained(
    tmp_path: Path, keys: dict[str, Any], name: str
):
    run_here(tmp_path, keys)
    before = (tmp_path / "x" / name).read_bytes()
    (tmp_path / "x" / name).unlink()
    assert run_here(tmp_path, keys).trained == 0
    assert (tmp_path / "x" / name).read_bytes() == before


@pytest.mark.parametrize(
    ("mode", "state"), [("resume", "finished"), ("repair", "finished"), ("failed_only", "unfinished")]
)
def test_a_run_killed_while_its_tables_are_written_is_finished_once_they_are(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch, mode: Mode, state: str
):
    """Failed trials alone may not be all that was left: the kill may have come between two stages."""

    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("raytrain.execution.run.write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path, keys)
    folder = Folder.at(tmp_path / "x")
    assert summarize(folder).state == "unfinished"
    assert run_here(tmp_path, keys, mode=mode).trained == 0
    assert summarize(folder).state == state
    (session,) = read_manifest(folder)["sessions"]
    assert ("ended" in session) == (state == "finished")


def test_fresh_starts_anew(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, keys)
    (tmp_path / "x" / "trials" / "left over").write_text("")
    outcome = run_here(tmp_path, {**keys, "grid": {}}, mode="fresh")
    assert outcome.trained == 1
    assert not (tmp_path / "x" / "trials" / "left over").exists()
    assert len(read_results(outcome.folder)) == 1


def test_fresh_is_no_error_where_there_is_no_run(tmp_path: Path, keys: dict[str, Any]):
    assert run_here(tmp_path, {**keys, "grid": {}}, mode="fresh").exit_code == 0


def test_fresh_does_not_delete_what_is_no_run_folder(tmp_path: Path, keys: dict[str, Any]):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="is not a run folder, so --fresh does not delete it"):
        run_here(tmp_path, keys, mode="fresh")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["thesis.tex"]


@pytest.fixture
def own_file(tmp_path: Path, keys: dict[str, Any]) -> Path:
    """Return the experiment file that a user keeps in a folder with the name of the run."""
    file = tmp_path / "x" / "experiment.yaml"
    file.parent.mkdir()
    file.write_text(f"# why these rates: see notes.md\n{dump_yaml({**keys, 'grid': {}})}")
    return file


@pytest.mark.parametrize("beside", [["my_net.py", "notes.md"], ["README.md"], ["code"], []])
@pytest.mark.parametrize("stored", [False, True], ids=["written by hand", "copied from a run"])
def test_fresh_does_not_delete_a_users_experiment_or_what_lies_beside_it(
    tmp_path: Path, keys: dict[str, Any], own_file: Path, beside: list[str], stored: bool
):
    if stored:
        own_file.write_text(f"{STORED_HEAD}{own_file.read_text()}{STORED_END}")
    for name in beside:
        path = own_file.parent / (name if name != "code" else "code/my_net.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    before = {path: path.is_file() and path.read_text() for path in own_file.parent.rglob("*")}
    if stored and not beside:  # as a kill in the middle of --fresh leaves it
        assert run_here(tmp_path, {**keys, "grid": {}}, mode="fresh").exit_code == 0
        return
    with pytest.raises(RunFolderError, match=r"x is not deleted: .*(no run writes my_net|nothing that a run).*--name"):
        run_here(tmp_path, {**keys, "grid": {}}, mode="fresh")
    assert {path: path.is_file() and path.read_text() for path in own_file.parent.rglob("*")} == before


def test_fresh_does_not_delete_a_model_that_was_exported_into_the_run_folder(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, {**keys, "grid": {}})
    model = tmp_path / "x" / "model.pth"
    model.write_bytes(b"weights")
    with pytest.raises(RunFolderError, match=r"no run writes model\.pth; move that away first, or give"):
        run_here(tmp_path, {**keys, "grid": {}}, mode="fresh")
    assert model.exists()
    model.unlink()
    assert run_here(tmp_path, {**keys, "grid": {}}, mode="fresh").trained == 1


def test_fresh_goes_on_where_a_kill_has_left_the_experiment_with_its_code(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, keys)
    for path in (tmp_path / "x").iterdir():
        if path.name != "experiment.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "x" / "code" / "3f2a9c1b7d04").mkdir(parents=True)
    (tmp_path / "x" / "code" / "parameters.json").touch()
    assert run_here(tmp_path, {**keys, "grid": {}}, mode="fresh").trained == 1
    assert not (tmp_path / "x" / "code").exists()


def test_an_experiment_file_of_the_users_own_is_not_replaced_by_that_of_a_run(
    tmp_path: Path, keys: dict[str, Any], own_file: Path
):
    before = own_file.read_text()
    for text in (before, before.replace("name: x", "")):
        own_file.write_text(text)
        with pytest.raises(RunFolderError, match=r"x/experiment\.yaml was not written by a run.*\nGive this run"):
            run_here(tmp_path, {**keys, "grid": {}})
        assert (own_file.read_text(), list(own_file.parent.iterdir())) == (text, [own_file])


def test_a_run_goes_on_with_an_experiment_that_a_user_or_an_earlier_version_has_put_there(
    tmp_path: Path, keys: dict[str, Any]
):
    run_here(tmp_path, {**keys, "grid": {}})
    (tmp_path / "x" / "experiment.yaml").write_text(dump_yaml({**keys, "grid": {}}))
    assert run_here(tmp_path, {**keys, "grid": {}}).trained == 0
    assert (tmp_path / "x" / "experiment.yaml").read_text().startswith(STORED_HEAD)


def test_fresh_goes_on_where_a_kill_has_left_the_code_alone_and_deletes_nothing(tmp_path: Path, keys: dict[str, Any]):
    (tmp_path / "x" / "code").mkdir(parents=True)
    (tmp_path / "x" / "code" / "mine.py").write_text("# stored before experiment.yaml")
    assert run_here(tmp_path, {**keys, "grid": {}}, mode="fresh").exit_code == 0
    assert (tmp_path / "x" / "code" / "mine.py").exists()


def test_changed_images_are_refused_with_both_fingerprints(tmp_path: Path, keys: dict[str, Any], tiny_images: str):
    import shutil

    images = tmp_path / "images"
    shutil.copytree(tiny_images, images)
    keys["recipe"]["dataset"] = str(images)
    keys["grid"] = {}
    run_here(tmp_path, keys)
    then = load(str(images), image_size=8).fingerprint
    Image.new("RGB", (8, 8), (9, 9, 9)).save(images / "train" / "dark" / "00.png")
    now = load(str(images), image_size=8).fingerprint
    with pytest.raises(RunFolderError, match=rf"has changed \({then} before, {now} now\)"):
        run_here(tmp_path, keys)
    assert run_here(tmp_path, keys, mode="fresh").exit_code == 0


def test_images_that_lie_elsewhere_now_are_the_same_and_other_images_are_another_experiment(
    tmp_path: Path, keys: dict[str, Any], tiny_images: str
):
    images = tmp_path / "images"
    shutil.copytree(tiny_images, images)
    keys["recipe"]["dataset"] = str(tmp_path / "old")
    (tmp_path / "old").symlink_to(tiny_images)
    interrupted = run_here(tmp_path, keys, shown=interrupt_after_three_epochs)
    assert interrupted.interrupted == 130
    (tmp_path / "old").unlink()
    lost = CliRunner().invoke(app, ["resume", "x", "--out", str(tmp_path), "--local"])
    assert (lost.exit_code, "repeat the command that began the run, with --set dataset=PATH\n" in lost.stderr) == (
        2,
        True,
    )
    keys["recipe"]["dataset"] = str(images)
    moved = run_here(tmp_path, keys)
    assert [(one.status, one.recipe["dataset"]) for one in moved.results] == [("finished", str(tmp_path / "old"))] * 2
    assert len(list((tmp_path / "x" / "trials").iterdir())) == 2  # those that had begun
    Image.new("RGB", (8, 8), (9, 9, 9)).save(images / "train" / "dark" / "00.png")
    with pytest.raises(RunFolderError, match=r"holds another experiment \(recipe\.dataset: "):
        run_here(tmp_path, keys)


def test_another_experiment_of_that_name_is_refused(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, {**keys, "grid": {}})
    with pytest.raises(RunFolderError, match="holds another experiment"):
        run_here(tmp_path, {**keys, "grid": {"lr": [0.5]}})


def test_a_place_that_cannot_be_written_is_a_preflight_error(tmp_path: Path, keys: dict[str, Any]):
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match=r"cannot be written .*; choose another --out"):
        run_here(tmp_path / "file", keys)


# ---------------------------------------------------------------- bad trials, order, ASHA


def test_a_diverged_trial_is_a_row_and_not_the_end(tmp_path: Path, keys: dict[str, Any]):
    outcome = run_here(tmp_path, {**keys, "grid": {"lr": [1e30, 0.01]}})
    assert [r.status for r in outcome.results] == ["diverged", "finished"]
    assert outcome.exit_code == 4
    assert "diverged at epoch 1" in (tmp_path / "x" / "README.md").read_text()


def test_a_failed_trial_leaves_its_traceback_and_is_tried_again(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("raytrain.execution.local.TrialRun", no_space)
        outcome = run_here(tmp_path, {**keys, "grid": {}})
    (result,) = outcome.results
    assert (result.status, result.error, outcome.exit_code) == ("failed", "OSError: no space", 5)
    assert "Traceback" in (tmp_path / "x" / "trials" / result.trial / "error.txt").read_text()
    again = run_here(tmp_path, {**keys, "grid": {}})
    assert [(r.status, r.attempts) for r in again.results] == [("finished", 2)]


def test_asha_stops_a_trial_that_is_behind(tmp_path: Path, keys: dict[str, Any]):
    keys["recipe"]["epochs"] = 4
    outcome = run_here(tmp_path, {**keys, "grid": {"lr": [0.05, 1e-9]}, "asha": {"grace_period": 1}})
    assert outcome.exit_code == 0
    events = [json.loads(line) for line in (tmp_path / "x" / "events.jsonl").read_text().splitlines()]
    rungs = [event for event in events if event["event"] == "rung"]
    assert [event["cut"] is None for event in rungs[:2]] == [True, True]
    for event in rungs:
        assert event["stop"] == (event["cut"] is not None and event["accuracy"] < event["cut"])
    stopped = [event["trial"] for event in rungs if event["stop"]]
    assert [r.trial for r in outcome.results if r.status == "stopped"] == stopped


@pytest.mark.parametrize(
    ("statuses", "interrupted", "code"),
    [
        (["finished", "stopped"], None, 0),
        (["finished", "diverged"], None, 4),
        (["failed", "diverged"], None, 5),
        (["finished", "unfinished"], 130, 130),
        (["finished", "failed"], 143, 143),
    ],
)
def test_the_exit_code_follows_from_how_trials_ended(statuses: list[Any], interrupted: int | None, code: int):
    results = [TrialResult("a", status, {}, 1, 1) for status in statuses]
    record = SimpleNamespace(listed=results)
    assert RunOutcome(record, 1, interrupted).exit_code == code  # pyright: ignore[reportArgumentType]


# ---------------------------------------------------------------- interrupted


@contextmanager
def interrupt_after_three_epochs(state: RunState) -> Generator[None]:
    original = RunJournal.reported

    def reported(journal: RunJournal, trial_id: str, report: Any) -> None:
        original(journal, trial_id, report)
        if sum(progress.epoch for progress in state.progress.values()) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunJournal, "reported", reported)
        yield


def test_an_interrupted_run_writes_its_tables_and_goes_on(tmp_path: Path, keys: dict[str, Any]):
    outcome = run_here(tmp_path, keys, shown=interrupt_after_three_epochs)
    assert (outcome.exit_code, [r.status for r in outcome.results]) == (130, ["finished", "unfinished"])
    assert {row["status"] for row in table(tmp_path / "x" / "trials.parquet")} == {"finished", "unfinished"}
    assert "unfinished" in (tmp_path / "x" / "README.md").read_text()
    events = [json.loads(line) for line in (tmp_path / "x" / "events.jsonl").read_text().splitlines()]
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("interrupted", 130)

    again = run_here(tmp_path, keys)
    assert (again.exit_code, again.trained) == (0, 1)
    assert again.results[0] == outcome.results[0]
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert ["ended" in session for session in manifest["sessions"]] == [True, True]

    whole = run_here(tmp_path / "whole", keys)
    for one, other in zip(whole.results, again.results, strict=True):
        assert (one.val_loss, one.test_loss, one.best_epoch) == (other.val_loss, other.test_loss, other.best_epoch)


def test_the_signal_handler_is_put_back(tmp_path: Path, keys: dict[str, Any]):
    before = signal.getsignal(signal.SIGTERM)
    run_here(tmp_path, {**keys, "grid": {}})
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_ends_with_its_code_and_the_same_command_goes_on(
    tmp_path: Path, tiny_images: str, number: signal.Signals, code: int
):
    command = [str(Path(sys.executable).parent / "raytrain")]
    command += ["train", "--local", "--out", str(tmp_path), "--name", "x"]
    sets = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 100_000}
    command += [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 50
        while not list(tmp_path.glob("x/trials/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code, stderr
    assert "unfinished" in stdout
    assert "The same command continues the run" in stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "x" / "README.md").exists()
    (row,) = table(tmp_path / "x" / "trials.parquet")
    assert row["status"] == "unfinished"
    assert row["epochs"] >= 1


# ---------------------------------------------------------------- resumed by name, one command at a time


def test_resume_goes_on_with_what_the_folder_says(tmp_path: Path, keys: dict[str, Any]):
    interrupted = run_here(tmp_path, keys, shown=interrupt_after_three_epochs)
    assert interrupted.interrupted == 130
    ended = CliRunner().invoke(app, ["resume", "x", "--out", str(tmp_path), "--local", "--quiet"])
    assert ended.exit_code == 0, ended.output
    assert [result.status for result in read_results(interrupted.folder)] == ["finished"] * 2


def test_failed_only_leaves_the_others_alone(tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("raytrain.execution.local.TrialRun", no_space)
        run_here(tmp_path, {**keys, "grid": {"lr": [0.01]}})
    outcome = run_here(tmp_path, {**keys, "grid": {"lr": [0.01]}}, mode="failed_only")
    assert (outcome.trained, outcome.exit_code) == (1, 0)
    again = run_here(tmp_path, {**keys, "grid": {"lr": [0.01]}}, mode="failed_only")
    assert again.trained == 0


def test_failed_only_of_an_interrupted_run_says_what_is_left_and_fails_for_nothing(
    tmp_path: Path, keys: dict[str, Any]
):
    run_here(tmp_path, keys, shown=interrupt_after_three_epochs)
    ended = CliRunner().invoke(app, ["resume", "x", "--failed-only", "--out", str(tmp_path), "--local"])
    assert ended.exit_code == 0, ended.output
    assert f"1 trial is unfinished; continue with: raytrain resume x --out {tmp_path}\n" in ended.stderr
    assert "have ended already" not in ended.stderr


def test_a_run_folder_that_was_renamed_or_copied_goes_on(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, keys, shown=interrupt_after_three_epochs)
    shutil.copytree(tmp_path / "x", tmp_path / "copy")
    (tmp_path / "x").rename(tmp_path / "y")
    ended = CliRunner().invoke(app, ["resume", "y", "--out", str(tmp_path), "--local"])
    assert (ended.exit_code, "the run folder was called x before" in ended.stderr) == (0, True), ended.stderr
    assert [result.status for result in read_results(Folder.at(tmp_path / "y"))] == ["finished"] * 2
    assert "\nname: y\n" in (tmp_path / "y" / "experiment.yaml").read_text()
    copied = run_here(tmp_path, {**keys, "name": "copy"})
    assert [one.status for one in copied.results] == ["finished"] * 2
    assert sum(one.epochs for one in copied.results) == sum(
        one.epochs for one in read_results(Folder.at(tmp_path / "y"))
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["copy", "y"]


def test_a_run_of_another_version_or_an_impossible_name_is_not_resumed(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, keys)
    (tmp_path / "x").rename(tmp_path / "my run")
    ended = CliRunner().invoke(app, ["resume", "my run", "--out", str(tmp_path), "--local"])
    assert (ended.exit_code, "no run can have that name; rename the folder" in ended.stderr) == (2, True)
    (tmp_path / "my run" / "experiment.yaml").write_text("name: y\nnew: 1\n")
    ended = CliRunner().invoke(app, ["resume", "my run", "--out", str(tmp_path), "--local"])
    assert (ended.exit_code, "of another raytrain version" in ended.stderr) == (2, True)


def by_recipe(outcome: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    numbers = [{k: v for k, v in vars(one).items() if k not in {"seconds", "attempts"}} for one in outcome.results]
    return {(one["recipe"]["lr"], one["recipe"]["seed"]): one for one in numbers}


def test_more_epochs_of_a_constant_learning_rate_train_only_those_and_come_to_the_same(
    tmp_path: Path, keys: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    keys["recipe"] |= {"schedule": "constant", "epochs": 2}
    run_here(tmp_path / "longer", keys)
    keys["recipe"]["epochs"] = 5
    with caplog.at_level("INFO", "raytrain"):
        longer = run_here(tmp_path / "longer", keys)
    assert "2 trials continue after their first 2 epochs" in caplog.text
    assert "not in the experiment any more" not in caplog.text
    assert by_recipe(longer) == by_recipe(run_here(tmp_path / "at-once", keys))
    for result in longer.results:
        rows = list(read_lines(longer.folder / "trials" / result.trial, "metrics.jsonl"))
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("killed", [False, True], ids=["at once", "killed before the fresh seeds"])
@pytest.mark.parametrize(
    "added", [{"confirm": {"top": 1, "seeds": [7, 8]}}, {"separate": {"points": 0.001, "max_seeds": 2}}], ids=list
)
def test_more_epochs_train_only_those_of_seeds_that_were_added(
    tmp_path: Path,
    keys: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    killed: bool,
    added: dict[str, Any],
):
    keys |= added
    keys["recipe"] |= {"schedule": "constant", "epochs": 2}
    first = run_here(tmp_path / "longer", keys)
    trained: list[int] = []
    real_train, real_note = trial.train, RunJournal.note

    def train(recipe: Any, state: Any, data: Any) -> Generator[Any]:
        for metrics in real_train(recipe, state, data):
            trained.append(metrics.epoch)
            yield metrics

    def kill(self: RunJournal, event: Any) -> None:
        if event["event"] == "added":
            raise KeyboardInterrupt
        real_note(self, event)

    monkeypatch.setattr(trial, "train", train)
    keys["recipe"]["epochs"] = 3
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(RunJournal, "note", kill)
            run_here(tmp_path / "longer", keys)
    longer = run_here(tmp_path / "longer", keys)
    assert (len(first.results), len(longer.results)) == (4, 4)
    assert trained == [3] * 4
    assert by_recipe(longer) == by_recipe(run_here(tmp_path / "at-once", keys))


@pytest.mark.parametrize("mode", ["repair", "failed_only"])
def test_what_needs_a_run_says_that_none_is_there_and_makes_none(tmp_path: Path, keys: dict[str, Any], mode: Mode):
    out = tmp_path / "runs"
    with pytest.raises(RunFolderError, match=r"^there is no run in .*/runs/x .*; (check the name|run all trials)"):
        run_here(out, keys, mode=mode)
    assert not out.exists()
    (out / "x").mkdir(parents=True)
    (out / "x" / "events.jsonl").write_text("")
    with pytest.raises(RunFolderError, match=r"experiment.yaml: is missing, which says what was run; events.jsonl are"):
        run_here(out, keys, mode=mode)


def test_failed_only_refuses_more_epochs_and_the_next_command_takes_over_those_of_before(
    tmp_path: Path, keys: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    keys["recipe"] |= {"schedule": "constant", "epochs": 1}
    run_here(tmp_path, keys)
    keys["recipe"]["epochs"] = 2
    with pytest.raises(RunFolderError, match="was run with epochs: 1, and no trial has failed with epochs: 2 yet"):
        run_here(tmp_path, keys, mode="failed_only")
    with caplog.at_level("INFO", "raytrain"):
        run_here(tmp_path, keys)
    assert "2 trials continue after their first epoch" in caplog.text


@pytest.mark.parametrize("course", [{"schedule": "cosine"}, {"schedule": "constant", "lookahead": "constant"}])
def test_more_epochs_of_what_depends_on_the_end_are_another_course_and_trained_from_the_start(
    tmp_path: Path, keys: dict[str, Any], caplog: pytest.LogCaptureFixture, course: dict[str, Any]
):
    keys["recipe"] |= {**course, "epochs": 2}
    run_here(tmp_path / "longer", keys)
    keys["recipe"]["epochs"] = 3
    with caplog.at_level("INFO", "raytrain"):
        longer = run_here(tmp_path / "longer", keys)
    assert "2 trials start again" in caplog.text
    assert by_recipe(longer) == by_recipe(run_here(tmp_path / "at-once", keys))


def test_a_new_seed_does_not_start_again_because_of_more_epochs(
    tmp_path: Path, keys: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    keys["recipe"] |= {"schedule": "constant", "epochs": 1}
    run_here(tmp_path, keys)
    keys["recipe"]["epochs"] = 2
    with caplog.at_level("INFO", "raytrain"):
        run_here(tmp_path, {**keys, "seeds": [0, 1]})
    assert "2 trials continue after their first epoch" in caplog.text
    assert "start again" not in caplog.text


def test_a_data_set_that_an_experiment_left_and_names_again_must_be_the_same(tmp_path: Path, keys: dict[str, Any]):
    photos, out = tmp_path / "photos", tmp_path / "runs"
    shutil.copytree(keys["recipe"]["dataset"], photos)
    both = {**keys, "recipe": {**keys["recipe"], "epochs": 1}}
    both["grid"] = {"dataset": [keys["recipe"]["dataset"], str(photos)]}
    one = {**both, "grid": {"dataset": [keys["recipe"]["dataset"]]}}
    run_here(out, both)
    run_here(out, one)
    image = sorted(photos.rglob("*.png"))[0]
    Image.new("RGB", (8, 8), (1, 2, 3)).save(image)
    with pytest.raises(RunFolderError, match="was run on other images"):
        run_here(out, both)


def test_more_seeds_run_only_the_new_ones(tmp_path: Path, keys: dict[str, Any]):
    first = run_here(tmp_path, keys)
    more = run_here(tmp_path, {**keys, "seeds": [0, 5]})
    assert (more.trained, len(more.results)) == (2, 4)
    assert by_recipe(first).items() <= by_recipe(more).items()


def test_the_second_command_on_a_run_folder_is_refused(tmp_path: Path, keys: dict[str, Any]):
    with run_locked(Folder.at(tmp_path / "x")), pytest.raises(RunFolderError, match=f"by process {os.getpid()} on"):
        run_here(tmp_path, keys)
    assert list(tmp_path.iterdir()) == []
    assert run_here(tmp_path, keys).exit_code == 0


@pytest.mark.slow
def test_no_secret_of_the_environment_is_in_any_file(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    canary = secrets.token_hex(16)  # not a literal: the manifest has the uncommitted diff, this file too
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "WANDB_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, canary)
    run_here(tmp_path, keys)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"manifest.json", "report.html", "events.jsonl"} <= {path.name for path in files}
    assert [path for path in files if canary.encode() in path.read_bytes()] == []


def test_an_experiment_that_was_cut_short_is_noticed_wherever_the_cut_is(tmp_path: Path, keys: dict[str, Any]):
    run_here(tmp_path, keys)
    path = tmp_path / "x" / "experiment.yaml"
    whole = path.read_text()
    for lines in range(1, len(whole.splitlines())):
        path.write_text("".join(whole.splitlines(keepends=True)[:lines]))
        with pytest.raises(RunFolderError, match=r"experiment\.yaml"):
            read_run(Folder.at(tmp_path / "x"))


def test_several_workers_in_one_process_are_refused(tmp_path: Path, keys: dict[str, Any]):
    with pytest.raises(PreflightError, match="leave --local out, or set --workers 1"):
        run_here(tmp_path, {**keys, "resources": {"workers": 2}})
