"""Damage of a few trials is said of each; that of many in one warning."""

import contextlib
import json
import logging
from pathlib import Path

import pytest

from raytrain.analysis.record import RunRecord, read_record
from raytrain.experiment.experiment import Experiment
from raytrain.runs.damage import Damage, warn, warned_together
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder


def record_of(tmp_path: Path, *, trials: int) -> RunRecord:
    """Return the record of a run whose trials have finished; their predictions and their epochs are gone."""
    experiment = Experiment.model_validate({"name": "x", "recipe": {"epochs": 2}, "seeds": list(range(trials))})
    listed = experiment.trials()
    journal = RunJournal.open(Folder.at(tmp_path / "x"), experiment, listed)
    journal.begin({trial.id: 7 for trial in listed})
    lines: list[str] = []
    for trial in listed:
        journal.started(trial.id)
        recipe = trial.recipe.model_dump(mode="json")
        result = {"trial": trial.id, "status": "finished", "parameters": 7, "epochs": 2, "recipe": recipe}
        lines.append(json.dumps(result | {"test_accuracy": 0.5, "test_loss": 0.5}) + "\n")
        journal.note({"event": "finished", "trial": trial.id, "epoch": 2})
    journal.close()
    (tmp_path / "x" / "trials.jsonl").write_text("".join(lines))
    return read_record(Folder.at(tmp_path / "x"))


def test_many_trials_without_predictions_are_one_warning_with_their_number_and_the_first_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = record_of(tmp_path, trials=1200)
    with caplog.at_level(logging.WARNING):
        assert record.predictions == {}
    (said,) = [one.getMessage() for one in caplog.records]
    first = ", ".join(f"{trial} (missing)" for trial in list(record.state.progress)[:3])
    assert said == (
        f"{record.folder}: predictions.npz is left out in 1,200 trials: {first} and 1,197 more; to rebuild it: "
        "raytrain resume RUN --repair"
    )


def test_many_trials_without_epochs_are_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(tmp_path, trials=9)
    with caplog.at_level(logging.WARNING):
        assert record.epochs == {}
    (said,) = [one.getMessage() for one in caplog.records]
    assert said.startswith(f"{record.folder}: metrics.jsonl is left out in 9 trials: ")
    assert "(has 0 of 2 epochs) and 6 more; to rebuild it" in said


def test_a_few_trials_without_predictions_are_said_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(tmp_path, trials=3)
    with caplog.at_level(logging.WARNING):
        assert record.predictions == {}
    assert [one.getMessage() for one in caplog.records] == [
        f"{record.folder}/trials/{trial}/predictions.npz: is missing, and is left out; to rebuild it: "
        "raytrain resume RUN --repair"
        for trial in record.state.progress
    ]


@pytest.mark.parametrize("file", ["events.jsonl", "trials.jsonl"])
def test_many_trials_whose_events_or_results_are_lost_are_one_warning(
    tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = record_of(tmp_path, trials=9).folder
    folder.delete(file)
    with caplog.at_level(logging.WARNING):
        read_record(folder)
    (said,) = [one.getMessage() for one in caplog.records]
    assert said.startswith(f"{folder}/{file}: is damaged: ")
    assert "missing of 9 trials: " in said
    assert "(finished) and 6 more; " in said


def test_lines_of_metrics_that_are_damaged_in_many_trials_are_one_warning_that_names_the_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = record_of(tmp_path, trials=5)
    for trial in record.state.progress:
        there = tmp_path / "x" / "trials" / trial
        there.mkdir(parents=True)
        (there / "metrics.jsonl").write_text("[]\n[]\n")
    with caplog.at_level(logging.WARNING):
        assert record.epochs == {}
    damaged = [one.getMessage() for one in caplog.records if "is damaged in 5 trials: " in one.getMessage()]
    assert len(damaged) == 1
    assert "(line 1: is damaged: " in damaged[0]


def warn_of_five(*, then_raise: bool) -> None:
    with warned_together(), warned_together():
        for number in range(4):
            warn(Damage(f"x{number} is bad", "bad are", f"x{number}", "is bad", "see"))
        warn(Damage("y is worse", "worse are", "y", "is worse", "see"))
        if then_raise:
            raise ValueError("over")


@pytest.mark.parametrize("then_raise", [False, True])
def test_warnings_of_several_kinds_are_parted_and_come_even_after_an_error(
    then_raise: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(ValueError):
        warn_of_five(then_raise=then_raise)
    said = [one.getMessage() for one in caplog.records]
    assert said == ["bad are 4 trials: x0 (bad), x1 (bad), x2 (bad) and 1 more; see", "y is worse"]


def test_lines_that_repeat_each_other_are_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(tmp_path, trials=4)
    file = tmp_path / "x" / "trials.jsonl"
    file.write_text("".join(2 * line for line in file.read_text().splitlines(keepends=True)))
    with caplog.at_level(logging.WARNING):
        assert len(read_record(record.folder).state.results()) == 4
    (said,) = [one.getMessage() for one in caplog.records]
    assert said == f"{file}: 4 lines repeat the line before them, and are left out; the first is line 2"
