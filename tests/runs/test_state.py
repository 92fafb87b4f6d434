"""Tests of raytrain.runs.state: what follows from events is the same whether they are read or have just happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import DivergenceError
from raytrain.experiment.asha import Decision, Promotion
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.runs.folder import read_state
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.outcome import outcome_of

EXPERIMENT = Experiment.model_validate(
    {
        "name": "x",
        "recipe": {"epochs": 3},
        "grid": {"lr": [1, 2, 3, 4, 5, 6]},
        "asha": {"grace_period": 1, "reduction_factor": 3, "rescue": 1},
        "confirm": {"top": 1, "seeds": [7, 8]},
    }
)
FINISHED, RESCUED, DIVERGED, FAILED, INTERRUPTED, WAITING = EXPERIMENT.trials()
AGAIN, UNWANTED = (Trial.of(FINISHED.recipe.replace(seed=seed)) for seed in (7, 8))
PARAMETERS = 7
EPOCH_S = 2.0


def report(epoch: int) -> Report:
    val = Evaluation(1.0, epoch / 10)
    final = FinalMetrics(3, Evaluation(0.1, 0.9), Evaluation(0.2, 0.8), Evaluation(0.3, 0.7), "bf16", "cpu")
    return Report(EpochMetrics(epoch, 1.5, 0.4, val, None, 0.1, EPOCH_S), final if epoch == 3 else None)


def happen(folder: Folder) -> RunJournal:
    """Write by two commands: trials that end in every way, one that runs on, one that confirms, one that waits."""
    first = RunJournal.open(folder, EXPERIMENT, EXPERIMENT.trials())
    first.begin({trial.id: PARAMETERS for trial in EXPERIMENT.trials()})
    first.started(FINISHED.id, where="here")
    first.reported(FINISHED.id, report(1))
    first.judged(FINISHED.id, epoch=1, decision=Decision(1.0, 0.1, None, stop=False))
    first.reported(FINISHED.id, report(2))
    first.reported(FINISHED.id, report(3))
    first.started(RESCUED.id)
    first.reported(RESCUED.id, report(1))
    first.judged(RESCUED.id, epoch=1, decision=Decision(1.0, 0.05, 0.1, stop=True))
    first.started(DIVERGED.id)
    first.reported(DIVERGED.id, report(1))
    first.ended(DIVERGED.id, outcome_of(DivergenceError(2)))
    first.started(FAILED.id)
    first.ended(FAILED.id, {"status": "failed", "error": "no disk", "details": ""})
    first.started(INTERRUPTED.id)
    first.reported(INTERRUPTED.id, report(1))
    first.note({"event": "interrupted", "exit_code": 130})
    first.close()

    second = RunJournal.open(folder, EXPERIMENT, EXPERIMENT.trials())
    second.begin({FAILED.id: PARAMETERS})
    second.started(FAILED.id)
    for epoch in (1, 2, 3):
        second.reported(FAILED.id, report(epoch))
    second.state.stage = "rescue"
    second.state.run_on(RESCUED.id)
    second.started(RESCUED.id)
    second.reported(RESCUED.id, report(2))
    second.reported(RESCUED.id, report(3))
    second.state.stage = "confirm"
    second.add({AGAIN: PARAMETERS, UNWANTED: PARAMETERS}, stage="confirm")
    second.add({AGAIN: PARAMETERS}, stage="confirm")
    second.started(AGAIN.id)
    for epoch in (1, 2, 3):
        second.reported(AGAIN.id, report(epoch))
    second.close()
    return second


def ended(trial: Trial, status: Any, epochs: int, **fields: Any) -> TrialResult:
    recipe = trial.recipe.model_dump(mode="json")
    val = {"best_epoch": epochs, "val_loss": 1.0, "val_accuracy": epochs / 10} if epochs else {}
    return TrialResult(trial.id, status, recipe, PARAMETERS, epochs, seconds=EPOCH_S * epochs, **(val | fields))


def finished(trial: Trial, **fields: Any) -> TrialResult:
    losses = {"train_loss": 0.1, "val_loss": 0.2, "test_loss": 0.3}
    accuracies = {"train_accuracy": 0.9, "val_accuracy": 0.8, "test_accuracy": 0.7}
    return ended(trial, "finished", 3, **losses, **accuracies, **fields)


def fold() -> RunState:
    """Return the state after the same happenings, from events and results that are written out here."""
    state = RunState(EXPERIMENT)

    def started(trial: Trial, attempt: int, *, after: int = 0, where: str = "") -> None:
        state.apply({"event": "started", "trial": trial.id, "attempt": attempt, "after_epoch": after, "where": where})

    def rung(trial: Trial, accuracy: float, cut: float | None, *, stop: bool) -> None:
        judged: dict[str, Any] = {"epoch": 1, "rung": 1.0, "accuracy": accuracy, "cut": cut, "stop": stop}
        judged["epochs"] = 3
        state.apply({"event": "rung", "trial": trial.id, **judged})  # type: ignore[arg-type]

    def end(result: TrialResult, **ran_on: str) -> None:
        state.end(result)
        line: Any = {"event": result.status, "trial": result.trial, "epoch": result.epochs, **ran_on}
        state.apply(line)

    def added(trial: Trial) -> None:
        recipe = trial.recipe.model_dump(mode="json")
        state.apply(
            {"event": "added", "trial": trial.id, "stage": "confirm", "recipe": recipe, "parameters": PARAMETERS}
        )

    on = {"device": "cpu", "precision": "bf16"}
    state.apply({"event": "begun", "parameters": {trial.id: PARAMETERS for trial in EXPERIMENT.trials()}})
    started(FINISHED, 1, where="here")
    rung(FINISHED, 0.1, None, stop=False)
    end(finished(FINISHED), **on)
    started(RESCUED, 1)
    rung(RESCUED, 0.05, 0.1, stop=True)
    end(ended(RESCUED, "stopped", 1))
    started(DIVERGED, 1)
    end(ended(DIVERGED, "diverged", 1, error="the training loss was not finite in epoch 2"))
    started(FAILED, 1)
    end(ended(FAILED, "failed", 0, error="no disk"))
    started(INTERRUPTED, 1)
    state.apply({"event": "interrupted", "exit_code": 130})
    state.apply({"event": "begun", "parameters": {FAILED.id: PARAMETERS}})
    started(FAILED, 2)
    end(finished(FAILED, attempts=2), **on)
    state.apply({"event": "rescued", "trial": RESCUED.id, "stopped_at": 1})
    started(RESCUED, 2, after=1)
    end(finished(RESCUED, attempts=2), **on)
    added(AGAIN)
    added(UNWANTED)
    state.apply({"event": "withdrawn", "trial": UNWANTED.id})
    started(AGAIN, 1)
    end(finished(AGAIN, phase="confirm"), **on)
    state.progress[INTERRUPTED.id].add_epoch(report(1).metrics.row())  # epochs are no events
    state.suspend()
    return state


def without_time(events: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != "time"} for event in events]


def seen(state: RunState) -> dict[str, Any]:
    """Return all that a state says, stage by stage."""
    said: dict[str, Any] = {
        "results": state.results(),
        "unwritten": state.unwritten(),
        "rescued": [trial for trial in state.progress if state.is_rescued(trial)],
        "events": without_time(state.events),
        "progress": {
            trial: (one.status, one.stage, one.epoch, one.seconds, one.attempts, one.parameters, one.result)
            for trial, one in state.progress.items()
        },
    }
    for stage in ("search", "rescue", "confirm"):
        state.stage = stage
        rungs = state.rungs()
        said[stage] = ([trial.id for trial in state.pending()], rungs and rungs.recorded)
    return said


def test_a_state_of_events_alone_is_the_one_that_is_read_from_what_a_journal_wrote(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "x")
    journal = happen(folder)
    read, folded = read_state(folder), fold()
    assert seen(folded) == seen(read)
    assert folded.progress == read.progress
    journal.state.suspend()
    assert seen(journal.state) == seen(read)


def test_the_happenings_are_what_the_name_of_each_trial_says(tmp_path: Path) -> None:
    happen(Folder.at(tmp_path / "x"))
    state = read_state(Folder.at(tmp_path / "x"))
    assert list(state.progress) == [*(trial.id for trial in EXPERIMENT.trials()), AGAIN.id]
    assert [(one.status, one.attempts) for one in state.results()] == [
        ("finished", 1), ("finished", 2), ("diverged", 1), ("finished", 2), ("unfinished", 1), ("unfinished", 0),
        ("finished", 1),
    ]  # fmt: skip
    assert [trial.id for trial in state.pending()] == [INTERRUPTED.id, WAITING.id]
    rungs = state.rungs()
    assert rungs is not None
    assert rungs.recorded[1.0] == {FINISHED.id: 0.1, RESCUED.id: 0.05}


@pytest.mark.parametrize(
    "without",
    ["begun", "rung", "rescued", "added", "withdrawn", "started", "finished"],
)
def test_a_state_that_misses_an_event_is_another(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seen(fold())
    apply: Callable[[RunState, Any], None] = RunState.apply

    def forgetful(state: RunState, event: Any) -> None:
        if event["event"] != without:
            apply(state, event)

    monkeypatch.setattr(RunState, "apply", forgetful)
    assert seen(fold()) != whole


def test_the_live_figures_of_a_trial_that_ran_again_are_those_of_its_last_end() -> None:
    state = RunState(EXPERIMENT)
    state.end(ended(FAILED, "failed", 0, error="no disk"))
    state.end(finished(FAILED, attempts=2))
    latest = state.progress[FAILED.id].latest
    assert (latest["train_accuracy"], latest["val_accuracy"]) == (0.9, 0.8)


def added_line(trial: Trial, stage: str) -> Any:
    recipe = trial.recipe.model_dump(mode="json")
    return {"event": "added", "trial": trial.id, "stage": stage, "recipe": recipe, "parameters": PARAMETERS}


def growing(**keys: Any) -> Experiment:
    return Experiment.model_validate({"name": "x", "recipe": {"epochs": 3}, "grid": {"lr": [1, 2]}, **keys})


@pytest.mark.parametrize("stage", ["separate", "confirm"])
@pytest.mark.parametrize("now", [{"recipe": {"epochs": 5}}, {"grid": {"lr": [2]}}], ids=["more epochs", "fewer values"])
def test_what_was_added_to_a_configuration_that_is_listed_no_more_stays_out(stage: str, now: dict[str, Any]) -> None:
    listed = growing().trials()
    extra = Trial.of(listed[0].recipe.replace(seed=1))
    state = RunState(growing(**now))
    state.apply(added_line(extra, stage))
    state.apply({"event": "started", "trial": extra.id, "attempt": 1, "after_epoch": 0, "where": ""})
    state.end(finished(extra, phase="confirm" if stage == "confirm" else "search"))
    assert extra.id not in state.progress
    assert state.unlisted == {extra.id}
    before = RunState(growing())
    before.apply(added_line(extra, stage))
    assert extra.id in before.progress


def test_a_trial_that_was_dropped_and_is_added_again_is_listed() -> None:
    listed = growing().trials()
    extra = Trial.of(listed[0].recipe.replace(seed=1))
    state = RunState(growing())
    state.apply({"event": "started", "trial": extra.id, "attempt": 1, "after_epoch": 0, "where": ""})
    assert state.unlisted == {extra.id}
    state.apply(added_line(extra, "separate"))
    assert (state.unlisted, extra.id in state.progress) == (set(), True)


def test_a_seed_that_confirmed_a_choice_belongs_to_the_search_once_it_is_listed() -> None:
    state = RunState(growing(seeds=[0, 1]))
    again = next(trial for trial in state.experiment.trials() if trial.recipe.seed == 1)
    state.apply(added_line(again, "confirm"))
    state.end(finished(again, phase="confirm"))
    assert {result.phase for result in state.results()} == {"search"}


def test_a_trial_that_was_withdrawn_and_is_listed_by_now_stays() -> None:
    state = RunState(growing(seeds=[0, 1]))
    for trial in state.experiment.trials():
        state.apply({"event": "withdrawn", "trial": trial.id})
    assert len(state.progress) == 4


@pytest.mark.parametrize(("given", "at"), [({}, [1, 3]), ({"rungs": 1}, [1]), ({"rungs": 2}, [1, 3])])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_run_has_as_many_rungs_as_are_given_or_chosen(given: dict[str, int], at: list[int], chosen: bool) -> None:
    setting: dict[str, Any] = {"grace_period": 1, "reduction_factor": 3, **given}
    asha = {"lose_at_most": 0.2} if chosen else setting
    state = RunState(
        Experiment.model_validate({"name": "x", "recipe": {"epochs": 9}, "grid": {"lr": [1, 2]}, "asha": asha})
    )
    if chosen:  # a run of before there was `rungs` has no such key
        state.apply({"event": "asha chosen", "mode": "stop", "epochs": 9, "curves": 8, "why": "", **setting})
    rungs = state.rungs()
    assert rungs is not None
    assert list(rungs.recorded) == at


PROMOTING = EXPERIMENT.replace(
    grid={"lr": [1, 2, 3]},
    asha={"mode": "promote", "grace_period": 2, "reduction_factor": 3, "rescue": 1},
    confirm=None,
)


def paused_at_two(folder: Folder) -> RunJournal:
    """Have three trials pause at epoch 2, the second as the best of them."""
    journal = RunJournal.open(folder, PROMOTING, PROMOTING.trials())
    journal.begin({trial.id: PARAMETERS for trial in PROMOTING.trials()})
    for trial, accuracy in zip(PROMOTING.trials(), (0.2, 0.4, 0.3), strict=True):
        journal.started(trial.id)
        journal.reported(trial.id, report(1))
        journal.reported(trial.id, report(2))
        journal.judged(trial.id, epoch=2, decision=Decision(2.0, accuracy, None, stop=False, pause=True))
    return journal


def test_a_paused_trial_that_starts_again_is_promoted_and_the_others_stay_paused(tmp_path: Path) -> None:
    journal = paused_at_two(Folder.at(tmp_path))
    state, (_, best, _) = journal.state, PROMOTING.trials()
    rungs = state.rungs()
    assert isinstance(rungs, Promotion)
    assert rungs.promotable() == best.id
    assert state.pending() == PROMOTING.trials()
    assert (state.epochs_known(best.id, rungs), state.runs_to(best.id, rungs)) == (2, 3)
    journal.started(best.id)
    assert [event["event"] for event in state.events][-2:] == ["promoted", "started"]
    assert state.progress[best.id].attempts == 1
    journal.reported(best.id, report(3))
    assert state.pending() == []
    for one in (state, read_state(Folder.at(tmp_path))):
        assert [(result.status, result.epochs) for result in one.results()] == [
            ("paused", 2),
            ("finished", 3),
            ("paused", 2),
        ]


def test_a_trial_killed_on_its_way_from_a_rung_is_not_paused_and_not_judged_there_again(tmp_path: Path) -> None:
    journal = paused_at_two(Folder.at(tmp_path))
    _, best, _ = PROMOTING.trials()
    journal.started(best.id)
    state = read_state(Folder.at(tmp_path), RunState(PROMOTING))
    state.suspend()
    rungs = state.rungs()
    assert isinstance(rungs, Promotion)
    assert state.progress[best.id].status == "waiting"
    assert best.id not in rungs.paused
    assert state.runs_to(best.id, rungs) == 3


def test_a_paused_trial_that_was_to_run_to_its_end_and_has_not_started_is_paused_again(tmp_path: Path) -> None:
    state = paused_at_two(Folder.at(tmp_path)).state
    first, *_ = PROMOTING.trials()
    state.stage = "rescue"
    state.run_on(first.id)
    assert state.pending() == [first]
    state.suspend()
    assert (state.progress[first.id].status, state.progress[first.id].stage) == ("paused", "search")
