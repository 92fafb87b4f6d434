"""Tests of raytrain.runs.writing.journal: lines as they are written, taken up again, and refused."""

import itertools
import json
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from tensorboardX.proto.event_pb2 import Event

from raytrain.errors import DivergenceError, RunFolderError
from raytrain.experiment.asha import Decision
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.runs import removal
from raytrain.runs.checks import check_event
from raytrain.runs.results import read_results
from raytrain.runs.trial_files import trial_folder
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.outcome import outcome_of

KEYS: dict[str, Any] = {"name": "x", "recipe": {"epochs": 3}, "grid": {"lr": [0.1, 0.2]}}


@pytest.fixture
def opened() -> Iterator[list[RunJournal]]:
    runs: list[RunJournal] = []
    yield runs
    for run in runs:
        run.close()


@pytest.fixture
def open_folder(tmp_path: Path, opened: list[RunJournal]) -> Any:
    """Return a function that opens `tmp_path/run` for the experiment of the given keys."""

    def open_(**keys: Any) -> RunJournal:
        experiment = Experiment.model_validate({**KEYS, **keys})
        trials = experiment.trials()
        run = RunJournal.open(Folder.at(tmp_path / "run"), experiment, trials)
        run.begin({trial.id: 7 for trial in trials})
        opened.append(run)
        return run

    return open_


def metrics(epoch: int, accuracy: float = 0.5, *, loss: float = 1.0, test: bool = False) -> EpochMetrics:
    val, tested = Evaluation(loss, accuracy), Evaluation(2.0, 0.25) if test else None
    return EpochMetrics(epoch, 1.5, 0.4, val, tested, lr=0.1, seconds=2.0)


def final(epoch: int) -> FinalMetrics:
    return FinalMetrics(epoch, Evaluation(0.1, 0.9), Evaluation(0.2, 0.8), Evaluation(0.3, 0.7), "bf16", "cpu")


def train(run: RunJournal, trial: str, *, epochs: int = 3, start: int = 1) -> None:
    """Report epochs up to `epochs`, and the end after the third."""
    run.started(trial, where="here")
    for epoch in range(start, epochs + 1):
        run.reported(trial, Report(metrics(epoch, epoch / 10), final(3) if epoch == 3 else None))


def lines(run: RunJournal, name: str, *within: str) -> list[dict[str, Any]]:
    path = Path(str(run.folder)).joinpath(*within, name)
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------- writing


def test_a_trial_from_start_to_end_leaves_its_lines(open_folder: Any):
    run = open_folder()
    first, second = run.state.progress
    train(run, first)
    assert [row["epoch"] for row in lines(run, "metrics.jsonl", "trials", first)] == [1, 2, 3]
    begun, *events = lines(run, "events.jsonl")
    assert (begun["event"], begun["parameters"]) == ("begun", {first: 7, second: 7})
    assert [(e["event"], e["trial"]) for e in events] == [("started", first), ("finished", first)]
    assert lines(run, "events.jsonl") == run.state.events
    (line,) = lines(run, "trials.jsonl")
    (result,) = read_results(run.folder)
    assert line["trial"] == result.trial == first
    assert result.recipe == run.state.progress[first].trial.recipe.model_dump(mode="json")
    assert (result.status, result.epochs, result.best_epoch, result.parameters) == ("finished", 3, 3, 7)
    assert (result.train_accuracy, result.val_accuracy, result.test_accuracy) == (0.9, 0.8, 0.7)
    assert (result.seconds, result.attempts) == (6.0, 1)
    assert [trial.id for trial in run.state.pending()] == [second]


def test_threads_and_workers_are_on_record_at_each_start_and_at_the_end(open_folder: Any):
    run = open_folder()
    trial, other = run.state.progress
    run.started(trial, threads=2, workers=1)
    run.started(other)
    run.reported(trial, Report(metrics(1), replace(final(1), threads=2, workers=1)))
    first, second, end = lines(run, "events.jsonl")[1:]
    assert [(one["threads"], one["workers"]) for one in (first, end)] == [(2, 1), (2, 1)]
    assert not second.keys() & {"threads", "workers"}
    for line in (first, second, end):
        check_event(line)


def test_results_name_every_trial_in_any_state(open_folder: Any):
    run = open_folder(grid={"lr": [1, 2, 3, 4, 5, 6]})
    finished, stopped, diverged, failed, running, _waiting = run.state.progress
    train(run, finished)
    train(run, stopped, epochs=1)
    run.judged(stopped, epoch=1, decision=Decision(1.0, 0.1, 0.2, stop=True))
    train(run, diverged, epochs=1)
    run.ended(diverged, outcome_of(DivergenceError(2)))
    run.ended(failed, {"status": "failed", "error": "OSError: no disk", "details": "a\nlong\ntraceback"})
    train(run, running, epochs=2)
    assert [r.status for r in run.state.results()] == [
        "finished",
        "stopped",
        "diverged",
        "failed",
        "unfinished",
        "unfinished",
    ]
    assert [r.epochs for r in run.state.results()] == [3, 1, 1, 0, 2, 0]
    assert run.state.results()[2].error == "the training loss was not finite in epoch 2"
    assert run.state.results()[3].error == "OSError: no disk"
    assert trial_folder(run.folder, failed).read("error.txt") == b"a\nlong\ntraceback"
    assert {e["event"] for e in run.state.events} >= {"rung", "stopped", "diverged", "failed"}


def test_a_trial_that_did_not_finish_has_the_metrics_of_its_best_epoch(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    for epoch, (accuracy, loss) in enumerate([(0.5, 1.0), (0.8, 0.9), (0.8, 0.7)], start=1):
        run.reported(trial, Report(metrics(epoch, accuracy, loss=loss)))
    result = run.state.results()[0]
    assert (result.best_epoch, result.val_accuracy, result.val_loss) == (3, 0.8, 0.7)


def test_of_equal_epochs_the_first_is_the_best(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    for epoch in (1, 2):
        run.reported(trial, Report(metrics(epoch, 0.8)))
    assert run.state.results()[0].best_epoch == 1


def test_a_report_that_comes_twice_counts_once(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    for epoch in (1, 2, 1, 2, 2):
        run.reported(trial, Report(metrics(epoch)))
    assert [row["epoch"] for row in lines(run, "metrics.jsonl", "trials", trial)] == [1, 2]
    assert run.state.progress[trial].seconds == 4.0


def test_an_epoch_that_is_trained_again_replaces_it_and_later_ones(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    for epoch in (1, 2, 3):
        run.reported(trial, Report(metrics(epoch, 0.9)))
    run.reported(trial, Report(metrics(2, 0.3)))
    rows = lines(run, "metrics.jsonl", "trials", trial)
    assert [(row["epoch"], row["val_accuracy"]) for row in rows] == [(1, 0.9), (2, 0.3)]
    progress = run.state.progress[trial]
    assert (progress.epoch, progress.seconds, progress.best["epoch"]) == (2, 4.0, 1)


def test_a_last_epoch_without_its_end_is_completed_when_it_is_reported_again(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    run.started(trial)
    for epoch in (1, 2, 3):
        run.reported(trial, Report(metrics(epoch)))
    again = open_folder()
    again.reported(trial, Report(metrics(3), final(3)))
    assert again.state.results()[0].status == "finished"
    assert len(lines(again, "metrics.jsonl", "trials", trial)) == 3


# ---------------------------------------------------------------- taking up


@pytest.mark.parametrize(
    "name", ["events.jsonl", "trials.jsonl", "README.md", "trials", "trials/x", "trials/x/checkpoint"]
)
def test_a_run_folder_from_which_a_link_leads_out_is_not_written_to(open_folder: Any, tmp_path: Path, name: str):
    open_folder().close()
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "home")  # what is not there yet would be made
    with pytest.raises(RunFolderError, match=r"/run/.* is a link to .*/home, out of the run folder.*remove the link"):
        open_folder()
    assert not (tmp_path / "home").exists()


def test_a_run_folder_may_be_a_link_and_have_links_to_what_is_in_it(open_folder: Any, tmp_path: Path):
    open_folder().close()
    (tmp_path / "run").rename(tmp_path / "disk")
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    (tmp_path / "run" / "again.yaml").symlink_to("experiment.yaml")
    (tmp_path / "run" / "round").symlink_to("round")
    open_folder()


def test_opening_again_continues_where_it_was(open_folder: Any):
    run = open_folder(grid={"lr": [1, 2, 3, 4]})
    done, begun, failed, waiting = run.state.progress
    train(run, done)
    train(run, begun, epochs=2)
    run.started(failed)
    run.ended(failed, {"status": "failed", "error": "x", "details": ""})
    again = open_folder(grid={"lr": [1, 2, 3, 4]})
    assert [trial.id for trial in again.state.pending()] == [begun, failed, waiting]
    assert (again.state.progress[begun].epoch, again.state.progress[begun].seconds) == (2, 4.0)
    assert again.state.progress[done].result == run.state.progress[done].result
    again.started(failed)
    assert again.state.progress[failed].attempts == 2
    assert again.state.events[-1]["attempt"] == 2


@pytest.mark.parametrize("status", ["stopped", "diverged"])
def test_what_would_end_the_same_way_is_not_run_again(open_folder: Any, status: str):
    run = open_folder()
    trial = next(iter(run.state.progress))
    if status == "stopped":
        run.judged(trial, epoch=1, decision=Decision(1.0, 0.1, 0.2, stop=True))
    else:
        run.ended(trial, outcome_of(DivergenceError(1)))
    again = open_folder()
    assert trial not in [pending.id for pending in again.state.pending()]
    assert again.state.results()[0].status == status


def test_rungs_remember_earlier_decisions(open_folder: Any):
    asha = {"grace_period": 1, "reduction_factor": 3}
    run = open_folder(asha=asha, recipe={"epochs": 9})
    first, second = run.state.progress
    run.judged(first, epoch=1, decision=Decision(1.0, 0.6, None, stop=False))
    rungs = open_folder(asha=asha, recipe={"epochs": 9}).state.rungs()
    assert rungs.recorded == {1.0: {first: 0.6}, 3.0: {}}
    assert rungs.judge(second, epoch=1, quality=0.5).stop


@pytest.mark.parametrize(("schedule", "compared"), [("cosine", False), ("constant", True)])
def test_trials_of_more_epochs_are_compared_with_shorter_ones_only_where_the_course_is_the_same(
    open_folder: Any, schedule: str, *, compared: bool
):
    """At the epoch of the rung, the learning rate of the shorter trials was nearly 0."""
    asha = {"grace_period": 3, "reduction_factor": 3}
    run = open_folder(asha=asha, recipe={"epochs": 12, "schedule": schedule})
    short = [*run.state.progress]
    for trial in short:
        run.started(trial)
        run.judged(trial, epoch=9, decision=Decision(9.0, 0.9, None, stop=False))
    longer = open_folder(asha=asha, recipe={"epochs": 24, "schedule": schedule}).state
    assert not {*short} & {*longer.progress}
    assert longer.rungs().recorded == {3.0: {}, 9.0: dict.fromkeys(short, 0.9) if compared else {}}
    again = open_folder(asha=asha, recipe={"epochs": 24, "schedule": schedule}, grid={"lr": [0.2, 0.3]}).state
    assert again.rungs().recorded == longer.rungs().recorded


def test_without_asha_there_are_no_rungs(open_folder: Any):
    assert open_folder().state.rungs() is None


def test_another_experiment_is_refused_with_the_difference(open_folder: Any):
    open_folder()
    with pytest.raises(RunFolderError) as caught:
        open_folder(recipe={"epochs": 2}, seeds=[1, 2])
    message = str(caught.value)
    for part in ("recipe.epochs: 3 before, 2 now", "seeds: [0] before, [1, 2] now", "--name", "--fresh"):
        assert part in message


def test_many_differences_are_counted(open_folder: Any):
    open_folder()
    with pytest.raises(RunFolderError, match="; and 2 more"):
        open_folder(recipe={"epochs": 2, "lr": 0.5, "momentum": 0.5, "batch_size": 4, "width": 2})


def test_a_refused_experiment_changes_nothing(open_folder: Any):
    run = open_folder()
    before = run.folder.read("experiment.yaml")
    with pytest.raises(RunFolderError):
        open_folder(recipe={"epochs": 2})
    assert run.folder.read("experiment.yaml") == before


def test_other_resources_are_no_other_experiment(open_folder: Any):
    open_folder()
    run = open_folder(resources={"workers": 2, "gpus_per_worker": 0.5})
    assert b"workers: 2" in run.folder.read("experiment.yaml")


def test_more_epochs_are_no_other_experiment_unless_the_grid_has_them(open_folder: Any):
    open_folder()
    assert {trial.recipe.epochs for trial in open_folder(recipe={"epochs": 9}).state.pending()} == {9}
    with pytest.raises(RunFolderError, match=r"grid\.epochs"):
        open_folder(grid={"epochs": [9, 10]})


@pytest.mark.parametrize("there", [[], ["code"]], ids=["nothing", "code that a kill has left"])
def test_failed_trials_alone_are_refused_where_there_is_no_run(tmp_path: Path, there: list[str]):
    for name in there:
        (tmp_path / "x" / name).mkdir(parents=True)
    experiment = Experiment.model_validate(KEYS)
    with pytest.raises(RunFolderError, match=r"there is no run in .*/x whose failed trials could be run"):
        RunJournal.open(Folder.at(tmp_path / "x"), experiment, experiment.trials(), failed_only=True)


def test_more_seeds_leave_what_has_ended_as_it_is(open_folder: Any):
    run = open_folder(grid={})
    (trial,) = run.state.progress
    train(run, trial)
    again = open_folder(grid={}, seeds=[0, 7])
    assert [pending.recipe.seed for pending in again.state.pending()] == [7]
    assert not again.state.unlisted


def test_a_grid_grows_and_what_it_has_lost_stays_in_the_folder_and_out_of_the_state(open_folder: Any):
    run = open_folder(grid={"lr": [0.1, 0.2]})
    for trial in run.state.progress:
        train(run, trial)
    more = open_folder(grid={"lr": [0.1, 0.2, 0.3]})
    assert [pending.recipe.lr for pending in more.state.pending()] == [0.3]
    other = open_folder(grid={"lr": {"uniform": [0.1, 0.3]}}, include=[{"lr": 0.2}], samples=2)
    assert len(other.state.pending()) == 2
    assert [one.split("-")[2] for one in other.state.unlisted] == ["lr0.1"]
    assert len(read_results(run.folder)) == 2
    with pytest.raises(RunFolderError, match=r"grid\.lr: \{'uniform': .*before, \[0.5\] now"):
        open_folder(grid={"lr": [0.5]})


def test_a_trial_that_began_as_another_combination_that_trains_the_same_stays_what_it_is(tmp_path: Path):
    keys = {"name": "x", "grid": {"optimizer": ["sgd", "adam"], "momentum": [0.8, 0.85]}}
    experiment = Experiment.model_validate(keys)
    adam = Trial.of(experiment.recipe.replace(optimizer="adam", momentum=0.8))  # as an earlier version took the first
    assert adam not in experiment.trials()
    first = RunJournal.open(Folder.at(tmp_path / "x"), experiment, [adam])
    first.begin({adam.id: 7})
    first.started(adam.id)
    first.close()
    again = RunJournal.open(Folder.at(tmp_path / "x"), experiment, experiment.trials())
    assert [one.trial for one in again.state.progress.values() if one.trial.recipe.optimizer == "adam"] == [adam]
    assert not again.state.unlisted


def test_another_range_draws_other_samples_and_include_keeps_those_of_before(open_folder: Any):
    space = {"grid": {"lr": {"uniform": [0.1, 0.3]}}, "samples": 3}
    earlier = [trial.recipe.lr for trial in open_folder(**space).state.pending()]
    assert {*earlier} < {one.recipe.lr for one in open_folder(**space | {"samples": 5}).state.pending()}
    wider = space | {"grid": {"lr": {"uniform": [0.1, 0.4]}}}
    with pytest.raises(RunFolderError, match=r"(?s)holds another experiment.*list those to keep under include"):
        open_folder(**wider)
    kept = open_folder(**wider, include=[{"lr": lr} for lr in earlier])
    assert {*earlier} < {one.recipe.lr for one in kept.state.pending()}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"lr": {"uniform": [0.1, 1]}, "momentum": [0.5, 0.9]}, {"momentum": [0.5, 0.9], "lr": {"uniform": [0.1, 1]}}),
        (
            {"optimizer": {"sgd": {"momentum": {"uniform": [0.1, 0.9]}}, "adam": {"lr": {"uniform": [0.1, 1]}}}},
            {"optimizer": {"adam": {"lr": {"uniform": [0.1, 1]}}, "sgd": {"momentum": {"uniform": [0.1, 0.9]}}}},
        ),
    ],
)
def test_axes_in_another_order_draw_other_samples_and_are_refused(
    open_folder: Any, before: dict[str, Any], now: dict[str, Any]
):
    open_folder(grid=before, samples=6, seeds=[0])
    with pytest.raises(RunFolderError, match=r"holds another experiment \(order of the axes: "):
        open_folder(grid=now, samples=6, seeds=[0])


def test_a_stop_that_a_kill_kept_from_being_written_is_written_when_the_folder_is_opened_again(open_folder: Any):
    asha = {"grace_period": 1, "reduction_factor": 3}
    run = open_folder(asha=asha)
    trial = next(iter(run.state.progress))
    run.started(trial)
    run.reported(trial, Report(metrics(1)))
    run.note({"event": "rung", "trial": trial, "epoch": 1, **asdict(Decision(1.0, 0.1, 0.2, stop=True))})
    again = open_folder(asha=asha)
    assert [one.id for one in again.state.unwritten()] == [trial]
    assert trial not in [one.id for one in again.state.pending()]
    again.end_unwritten({trial: 17})
    (result,) = read_results(again.folder)
    assert (result.trial, result.status, result.epochs, result.parameters) == (trial, "stopped", 1, 17)
    assert open_folder(asha=asha).state.unwritten() == []


def test_an_epoch_that_asha_has_not_judged_is_reported_again(open_folder: Any):
    asha = {"grace_period": 1, "reduction_factor": 3}
    run = open_folder(asha=asha)
    trial = next(iter(run.state.progress))
    for epoch in (1, 2):
        run.reported(trial, Report(metrics(epoch)))
    assert run.state.epochs_known(trial, run.state.rungs()) == 0
    run.judged(trial, epoch=1, decision=Decision(1.0, 0.6, None, stop=False))
    assert run.state.epochs_known(trial, run.state.rungs()) == 2
    assert run.state.epochs_known(trial, None) == 2


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["trials.jsonl", "events.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_last_line_cut_by_a_kill_is_left_out_and_the_next_is_not_glued_to_it(open_folder: Any, name: str, kept: int):
    run = open_folder()
    first, second = run.state.progress
    train(run, first)
    # where a kill has cut an epoch short, nothing was written after it
    train(run, second, epochs=2 if name == "metrics.jsonl" else 3)
    within = ("trials", second) if name == "metrics.jsonl" else ()
    path = Path(str(run.folder)).joinpath(*within, name)
    *whole, last = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in whole) + last[:kept])

    again = open_folder()
    train(again, second, start=again.state.progress[second].epoch + 1 if name == "metrics.jsonl" else 1)
    read = list(read_lines(Folder.at(path.parent), name))
    assert read[: len(whole)] == [json.loads(line) for line in whole]
    assert path.read_bytes().endswith(b"\n")
    assert {r.trial: r.status for r in read_results(run.folder)} == {first: "finished", second: "finished"}
    assert [row["epoch"] for row in lines(again, "metrics.jsonl", "trials", second)] == [1, 2, 3]


# ---------------------------------------------------------------- TensorBoard


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Return step -> value by tag, read from the event files as TFRecord frames them."""
    values: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            for value in event.summary.value:
                values.setdefault(value.tag, {})[event.step] = value.simple_value
    return values


def test_tensorboard_shows_every_epoch_under_the_known_tags(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    train(run, trial)
    logged = scalars(trial_folder(run.folder, trial).local_path / "tb")
    assert {tag for tag in logged if not tag.startswith(("Result/", "_hparams_/"))} == {
        "Loss/Training",
        "Loss/Val",
        "Loss/Test",
        "Accuracy/Train",
        "Accuracy/Val",
        "Accuracy/Test",
        "LR",
    }
    assert logged["Accuracy/Val"] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})
    assert logged["Loss/Training"] == pytest.approx({1: 1.5, 2: 1.5, 3: 1.5})
    assert logged["Accuracy/Test"] == pytest.approx({3: 0.7})


def test_tensorboard_shows_the_tracked_test_set_of_every_epoch(open_folder: Any):
    run = open_folder()
    trial = next(iter(run.state.progress))
    for epoch in (1, 2, 3):
        run.reported(trial, Report(metrics(epoch, test=True), final(2) if epoch == 3 else None))
    logged = scalars(trial_folder(run.folder, trial).local_path / "tb")
    assert logged["Accuracy/Test"] == pytest.approx({1: 0.25, 2: 0.25, 3: 0.25})


def killed(run: RunJournal) -> None:
    """Leave of a run what a kill leaves now: what is in its files, and not what is to be written to them."""
    folder = Path(str(run.folder))
    shutil.copytree(folder, folder.with_name("left"))
    run.close()
    shutil.rmtree(folder)
    folder.with_name("left").rename(folder)


def test_tensorboard_shows_every_epoch_once_after_kills(open_folder: Any):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    for epochs in ([1, 2, 3, 4, 5], [6, 7], [8], [7, 8, 9]):
        run = open_folder(recipe={"epochs": 10})
        trial = next(iter(run.state.progress))
        run.started(trial, where="here")
        for epoch in epochs:
            run.reported(trial, Report(replace(metrics(epoch, (epoch + len(epochs)) / 20), seconds=0.001)))
        killed(run)
    run = open_folder(recipe={"epochs": 10})
    run.started(trial, where="here")
    run.reported(trial, Report(metrics(10), final(10)))
    read = reader.EventAccumulator(str(trial_folder(run.folder, trial).local_path / "tb")).Reload()
    rows = lines(run, "metrics.jsonl", "trials", trial)
    shown = [(one.step, one.value) for one in read.Scalars("Accuracy/Val")]
    assert shown == [(row["epoch"], pytest.approx(row["val_accuracy"])) for row in rows]
    assert [row["epoch"] for row in rows] == [*range(1, 11)]
    times = [one.wall_time for one in read.Scalars("LR")]
    assert times == sorted(times)
    assert [one.step for one in read.Scalars("Accuracy/Test")] == [10]


def test_tensorboard_keeps_the_times_of_what_a_paused_trial_has_logged(open_folder: Any):
    run = open_folder(recipe={"epochs": 10})
    trial = next(iter(run.state.progress))
    run.started(trial, where="here")
    for epoch in (1, 2):
        run.reported(trial, Report(metrics(epoch)))
    run.close()
    folder = trial_folder(run.folder, trial).local_path / "tb"
    (before,) = folder.iterdir()
    whole = scalars(folder)
    again = open_folder(recipe={"epochs": 10})
    again.reported(trial, Report(metrics(3)))
    assert len(lines(again, "metrics.jsonl", "trials", trial)) == 3
    before.unlink()
    assert set(whole["LR"]) == {1, 2}
    assert set(scalars(folder)["LR"]) == {3}


def test_a_run_outside_the_local_disk_has_every_epoch_in_tensorboard_after_a_kill(
    tmp_path: Path, opened: list[RunJournal]
):
    experiment = Experiment.model_validate(KEYS)
    trials = experiment.trials()
    trial = trials[0].id
    for epochs in ((1, 2), (3,)):
        remote = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
        run = RunJournal.open(Folder(remote, "run"), experiment, trials)
        run.begin({trial.id: 7 for trial in trials})
        opened.append(run)  # nothing of the first is sent: its file is closed only after the test
        train(run, trial, start=epochs[0], epochs=epochs[-1])
    assert set(scalars(tmp_path / "run" / "trials" / trial / "tb")["LR"]) == {1, 2, 3}


def test_a_run_outside_the_local_disk_gets_its_event_files_at_the_end(tmp_path: Path, opened: list[RunJournal]):
    from pyarrow import fs

    remote = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    experiment = Experiment.model_validate(KEYS)
    trials = experiment.trials()
    run = RunJournal.open(Folder(remote, "run"), experiment, trials)
    run.begin({trial.id: 7 for trial in trials})
    opened.append(run)
    for trial in run.state.progress:
        train(run, trial)
        assert scalars(tmp_path / "run" / "trials" / trial / "tb")["LR"] == pytest.approx(dict.fromkeys((1, 2, 3), 0.1))
    assert len(list(itertools.chain(read_results(run.folder)))) == 2


def test_two_threads_that_note_at_once_lose_no_line(tmp_path: Path) -> None:
    experiment = Experiment(**KEYS)
    run = RunJournal.open(Folder.at(tmp_path / "x"), experiment, experiment.trials())
    run.begin(dict.fromkeys(run.state.progress, 1))
    trial = next(iter(run.state.progress))
    folder, before = run.folder, len(run.state.events)
    run.folder = Rewriting(folder)  # type: ignore[assignment]

    def note(first: int) -> None:
        for number in range(first, first + 20):
            run.note({"event": "hung", "trial": trial, "seconds": float(number)})

    threads = [threading.Thread(target=note, args=(first,)) for first in (0, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(read_lines(folder, "events.jsonl"))) == before + 40


class Rewriting:
    """A folder in which adding to a file is to read it, to wait, and to write it anew, as in object storage."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def append(self, name: str, content: bytes) -> None:
        whole = self._folder.read(name) + content
        time.sleep(0.001)
        self._folder.write(name, whole)


def killing(act: Any, *, after: int) -> Any:
    """Return a function that does `act` a number of times, and then is interrupted in place of doing it."""
    left = iter(range(after))

    def wrapped(*arguments: Any, **how: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return act(*arguments, **how)

    return wrapped


@pytest.mark.parametrize("after", range(7))
@pytest.mark.parametrize("local", [True, False], ids=["disk", "object storage"])
def test_a_kill_while_fresh_deletes_leaves_what_the_same_command_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool, after: int
) -> None:
    storage = fs.LocalFileSystem() if local else fs._MockFileSystem(datetime.now(UTC))
    folder = Folder(storage, f"{tmp_path}/run" if local else "bucket/run")
    experiment = Experiment.model_validate(KEYS)

    def begin() -> None:
        RunJournal.open(folder, experiment, experiment.trials(), fresh=True).begin({})

    begin()
    for inside, name in (("", "README.md"), ("code", "a"), ("", "manifest.json"), ("plots", "a"), ("trials", "a")):
        (folder / inside if inside else folder).write(name, b"")
    with monkeypatch.context() as patch:
        if local:
            patch.setattr(removal, "_delete", killing(removal._delete, after=after))
        else:  # each counts for itself: four files and three folders
            patch.setattr(Folder, "delete", killing(Folder.delete, after=after // 2))
            patch.setattr(Folder, "remove", killing(Folder.remove, after=after // 2))
        with pytest.raises(KeyboardInterrupt):
            begin()
    assert folder.exists("experiment.yaml")
    begin()
    assert folder.names() == ["events.jsonl", "experiment.yaml"]
