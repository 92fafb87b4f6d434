"""`raytrain results` without a run: the runs of a folder, a line for each."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.comparison.overview import RunSummary, summarize
from raytrain.report.tables import RUNS_LEFT, RUNS_SPARE, run_columns
from raytrain.report.text.columns import fitted
from raytrain.runs.results import read_results
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder

MakeRun = Callable[..., Folder]


def listed(tmp_path: Path, *words: str) -> list[Mapping[str, Any]]:
    result = CliRunner().invoke(app, ["results", "--out", str(tmp_path / "runs"), "--json", *words])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    return document["runs"]


def test_a_run_is_listed_with_what_it_is_and_its_chosen_trial(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("lr", grid={"lr": [0.1, 0.2, 0.3]}, ends={2: "diverged"})
    (row,) = listed(tmp_path)
    assert (row["run"], row["dataset"], row["trials"], row["finished"]) == ("lr", "digits", 3, 2)
    best = max(read_results(folder), key=lambda one: one.val_accuracy or 0)
    assert (row["chosen"], row["val_accuracy"], row["test_accuracy"]) == (
        best.trial,
        best.val_accuracy,
        best.test_accuracy,
    )
    assert row["state"] == "partly failed"
    files = [path for path in (tmp_path / "runs" / "lr").rglob("*") if path.is_file()]
    assert row["bytes"] == sum(path.stat().st_size for path in files)
    assert row["started"].startswith("20")


def test_the_state_says_whether_a_run_goes_on_has_ended_or_waits(make_run: MakeRun) -> None:
    assert summarize(make_run("whole")).state == "finished"
    assert summarize(make_run("bad", ends={0: "failed"})).state == "failed"
    folder = make_run("cut", ends={0: "stopped"})
    assert summarize(folder).state == "finished"
    manifest = json.loads(folder.read("manifest.json"))
    del manifest["sessions"][-1]["ended"]  # as a kill leaves it
    folder.write("manifest.json", json.dumps(manifest).encode())
    assert summarize(folder).state == "unfinished"
    with run_locked(folder):
        assert summarize(folder).state == "running"
    assert summarize(folder).state == "unfinished"


def test_one_damaged_run_hides_no_other_and_is_explained(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("sound")
    make_run("broken").write("trials.jsonl", b"{}\n{}\n")
    result = CliRunner().invoke(app, ["results", "--out", str(tmp_path / "runs")])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if "digits" in line] == ["sound"]
    assert " broken   –  " in result.stdout
    assert "trials.jsonl:1: is damaged" in result.stderr
    assert {row["run"]: row["state"] for row in listed(tmp_path)} == {"sound": "finished", "broken": "damaged"}


def test_a_manifest_that_is_gone_after_trials_have_started_is_damage(make_run: MakeRun) -> None:
    folder = make_run("x")
    assert any(event["event"] == "started" for event in map(json.loads, folder.read("events.jsonl").splitlines()))
    folder.delete("manifest.json")
    one = summarize(folder)
    assert (one.state, "manifest.json: is missing" in str(one.error)) == ("damaged", True)
    folder.delete("events.jsonl")
    folder.delete("trials.jsonl")
    assert summarize(folder).error is None  # it comes with the first trial


def test_a_run_whose_experiment_is_gone_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("whole")
    make_run("lost").delete("experiment.yaml")
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("a file")
    assert [row["run"] for row in listed(tmp_path)] == ["whole"]
    said = CliRunner().invoke(app, ["results", "--out", str(tmp_path / "runs")]).stderr
    assert f"{tmp_path}/runs/lost/experiment.yaml: is missing" in said
    assert "notes" not in said


def test_the_newest_run_stands_first(make_run: MakeRun, tmp_path: Path) -> None:
    for name, started in (("a", "2026-01-02"), ("b", "2026-03-04"), ("c", "2026-02-03")):
        folder = make_run(name)
        manifest = json.loads(folder.read("manifest.json"))
        manifest["sessions"][0]["started"] = f"{started}T00:00:00+00:00"
        folder.write("manifest.json", json.dumps(manifest).encode())
    assert [row["run"] for row in listed(tmp_path)] == ["b", "c", "a"]
    assert [row["run"] for row in listed(tmp_path, "--top", "1")] == ["b"]


@pytest.mark.parametrize(
    "words",
    [["--assert", "lr > 0"], ["--explain"], ["--baseline", "student"], ["--where", "lr > 0"], ["--sort", "-lr"]],
)
def test_what_is_about_trials_is_refused_without_a_run(words: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["results", "--out", str(tmp_path), *words])
    assert result.exit_code == 2
    assert f"{words[0]} is about the trials of a run; name one: raytrain results RUN" in result.stderr


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_list_fits_the_terminal_with_every_word_whole(width: int) -> None:
    runs = [
        RunSummary(
            "cifar-resnets", "unfinished", 123_456_789, "2026-03-04T05:06:07", ("cifar10",), 12, 3, "x-abcdef12", 0.9
        ),
        RunSummary("lr", "partly failed", 999, "2026-03-04T05:06:07", ("digits", "photos"), 2, 1, "x-12345678", 1.0),
    ]
    cells = run_columns(runs)
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(fitted(cells, left=RUNS_LEFT, width=width, dispensable=RUNS_SPARE), crop=False)
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert {"cifar-resnets", "unfinished", "partly", "failed", "3/12", "1/2"} <= set(text.split())
    assert ("123 MB" in text) == (width == 120)
