"""Events that are lost before the end of a trial are said, where its result is there."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from raytrain.experiment.experiment import Experiment
from raytrain.runs import folder as folder_module
from raytrain.runs.folder import read_state
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose trial was stopped at its first rung; the event of its end is missing, as by a kill."""
    experiment = Experiment.model_validate({"name": "x", "asha": {"grace_period": 1}})
    (trial,) = experiment.trials()
    journal = RunJournal.open(Folder.at(tmp_path / "x"), experiment, [trial])
    journal.begin({trial.id: 7})
    journal.started(trial.id)
    journal.note(
        {"event": "rung", "trial": trial.id, "epoch": 1, "rung": 1.0, "accuracy": 0.5, "cut": 0.9, "stop": True}
    )
    journal.close()
    result = {"trial": trial.id, "status": "stopped", "parameters": 7, "epochs": 1}
    result["recipe"] = trial.recipe.model_dump(mode="json")
    (tmp_path / "x" / "trials.jsonl").write_text(json.dumps(result) + "\n")
    return tmp_path / "x"


def warnings(run: Path, caplog: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        state = read_state(Folder.at(run))
    assert [result.status for result in state.results()] == ["stopped"]
    return [record.getMessage() for record in caplog.records]


def test_a_kill_between_a_result_and_the_event_of_its_end_is_no_damage(run: Path, caplog: pytest.LogCaptureFixture):
    assert warnings(run, caplog) == []


def test_a_trial_that_starts_again_is_not_taken_for_ended_by_a_result_without_its_event(run: Path) -> None:
    experiment = Experiment.model_validate({"name": "x", "asha": {"grace_period": 1, "rescue": 1}})
    (trial,) = experiment.trials()
    journal = RunJournal.open(Folder.at(run), experiment, [trial])
    journal.state.stage = "rescue"
    journal.state.run_on(trial.id)
    journal.begin({trial.id: 7})
    journal.started(trial.id)  # and this command is killed, too
    journal.close()
    state = RunJournal.open(Folder.at(run), experiment, [trial]).state
    assert [result.status for result in state.results()] == ["unfinished"]
    state.stage = "rescue"
    assert state.pending() == [trial]
    ends = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (end,) = [event for event in ends if event["event"] == "stopped"]
    assert end["time"] == ends[ends.index(end) - 1]["time"]


def test_an_earlier_end_without_its_event_is_not_taken_for_the_last(tmp_path: Path) -> None:
    experiment = Experiment(name="x")
    (trial,) = experiment.trials()
    for _ in range(2):
        journal = RunJournal.open(Folder.at(tmp_path), experiment, [trial])
        journal.begin({trial.id: 7})
        journal.started(trial.id)
        journal.ended(trial.id, {"status": "failed" if _ == 0 else "diverged", "error": "no memory", "details": ""})
        journal.close()
    events = tmp_path / "events.jsonl"
    kept = [line for line in events.read_text().splitlines(keepends=True) if '"failed"' not in line]
    events.write_text("".join(kept))
    state = read_state(Folder.at(tmp_path))
    assert [one.status for one in state.results()] == ["diverged"]
    assert state.late == []


def test_a_trial_that_is_tried_again_is_not_taken_for_failed_by_a_result_without_its_event(tmp_path: Path) -> None:
    experiment = Experiment(name="x")
    (trial,) = experiment.trials()

    def start() -> RunJournal:
        journal = RunJournal.open(Folder.at(tmp_path), experiment, [trial])
        journal.begin({trial.id: 7})
        journal.started(trial.id)
        return journal

    start().ended(trial.id, {"status": "failed", "error": "no memory", "details": ""})
    events = tmp_path / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:-1]))
    assert [one.status for one in read_state(Folder.at(tmp_path)).results()] == ["failed"]
    start()
    assert [one.status for one in read_state(Folder.at(tmp_path)).results()] == ["unfinished"]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_events_that_are_missing_before_the_end_of_a_trial_are_said(
    run: Path, kept: int, caplog: pytest.LogCaptureFixture
):
    events = run / "events.jsonl"
    events.write_text("".join(events.read_text().splitlines(keepends=True)[:kept]))
    (said,) = warnings(run, caplog)
    assert said.startswith(f"{events}: is damaged: events of ")
    assert "decisions of ASHA may be lost" in said


def test_events_that_were_written_while_the_results_were_read_are_not_missed(
    run: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    real, read = folder_module.read_lines, list[str]()

    def late(folder: Folder, name: str, **how: Any) -> Any:
        read.append(name)
        lines = list(real(folder, name, **how))
        return lines[:1] if name == "events.jsonl" and read.count(name) == 1 else lines

    monkeypatch.setattr(folder_module, "read_lines", late)
    assert warnings(run, caplog) == []
    assert read.count("events.jsonl") == 2
