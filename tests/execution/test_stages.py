"""Tests of what comes after a search: stopped trials that run on, and the best trained again with fresh seeds."""

from pathlib import Path
from typing import Any

import pytest

from raytrain.analysis import separation
from raytrain.analysis.record import read_record
from raytrain.errors import ExperimentError
from raytrain.execution import local
from raytrain.execution import run as run_module
from raytrain.execution.backend import Work
from raytrain.execution.options import RunOptions
from raytrain.execution.run import RunOutcome, run
from raytrain.execution.stages import stages
from raytrain.execution.stages.confirm import confirm
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Resources
from raytrain.ray_backend.placement import place
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines


@pytest.fixture
def keys(tiny_images: str) -> dict[str, Any]:
    recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 4}
    # the last two do not learn, so ASHA stops them
    return {"name": "x", "recipe": {**recipe, "precision": "fp32"}, "grid": {"lr": [0.02, 1e-9, 2e-9]}}


def run_here(out: Path, keys: dict[str, Any]) -> RunOutcome:
    return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True))


def of_phase(outcome: RunOutcome, phase: str) -> list[TrialResult]:
    return [result for result in outcome.results if result.phase == phase]


def test_the_best_configurations_are_trained_again_with_fresh_seeds(tmp_path: Path, keys: dict[str, Any]) -> None:
    outcome = run_here(tmp_path, {**keys, "confirm": {"top": 2, "seeds": [7, 8]}})
    search, confirmed = of_phase(outcome, "search"), of_phase(outcome, "confirm")
    best = sorted(search, key=lambda one: (-(one.val_accuracy or 0), one.val_loss))[:2]
    assert {(one.recipe["lr"], one.recipe["seed"]) for one in confirmed} == {
        (one.recipe["lr"], seed) for one in best for seed in (7, 8)
    }
    assert {one.status for one in confirmed} == {"finished"}
    assert {one.parameters for one in confirmed} == {search[0].parameters}
    readme = (tmp_path / "x" / "README.md").read_text()
    assert "fresh seeds" in readme


def test_confirming_on_all_images_leaves_no_validation_split(tmp_path: Path, keys: dict[str, Any]) -> None:
    confirm = {"top": 1, "seeds": [7], "train_on": "all"}
    (confirmed,) = of_phase(run_here(tmp_path, {**keys, "confirm": confirm}), "confirm")
    assert confirmed.recipe["val_size"] == 0
    assert (confirmed.val_accuracy, confirmed.best_epoch) == (None, 4)


def test_a_configuration_of_which_a_seed_is_paused_is_not_confirmed_before_a_complete_one(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    asha = {"mode": "promote", "grace_period": 1}
    changes = {"grid": {"lr": [0.02, 0.03]}, "seeds": [0, 1], "asha": asha, "confirm": {"top": 1, "seeds": [7]}}
    state = RunState(Experiment.model_validate({**keys, **changes}))
    for progress in state.progress.values():
        recipe = progress.trial.recipe
        if (recipe.lr, recipe.seed) == (0.02, 1):
            progress.status = "paused"
        else:
            accuracy = 0.9 if recipe.lr == 0.02 else 0.8
            progress.end(progress.result_so_far("finished", val_accuracy=accuracy, val_loss=1.0))
    confirm(RunJournal(Folder.at(tmp_path / "x"), state))
    assert [one.trial.recipe.lr for one in state.progress.values() if one.stage == "confirm"] == [0.03]


def test_the_same_command_confirms_nothing_twice(tmp_path: Path, keys: dict[str, Any]) -> None:
    keys["confirm"] = {"top": 1, "seeds": [7]}
    first = run_here(tmp_path, keys)
    again = run_here(tmp_path, keys)
    assert (again.trained, again.results) == (0, first.results)


@pytest.mark.parametrize("stage", ["search", "rescue", "confirm", "separate"])
def test_failed_only_trains_the_failed_trials_of_every_stage_and_no_others(
    tmp_path: Path, keys: dict[str, Any], train_as_said: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    train_as_said(lambda recipe, _epoch: (0.9 if recipe.lr > 0.01 else 0.3) - 0.01 * recipe.seed)
    keys["grid"] = {"lr": [0.02, 0.003]}
    if stage == "separate":
        keys["separate"] = {"points": 5, "max_seeds": 2}
    else:
        keys |= {"asha": {"grace_period": 1, "reduction_factor": 4, "rescue": 1}, "confirm": {"top": 1, "seeds": [7]}}
    reported = RunJournal.reported

    def failing(journal: RunJournal, trial_id: str, report: Any) -> None:
        if journal.state.progress[trial_id].stage == stage:
            raise ValueError("broken")
        reported(journal, trial_id, report)

    real = local._run_trial

    def run_trial(journal: RunJournal, trial: Any, *how: Any) -> None:
        try:
            real(journal, trial, *how)
        except ValueError:
            journal.ended(trial.id, {"status": "failed", "error": "broken", "details": ""})

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "reported", failing)
        patch.setattr(local, "_run_trial", run_trial)
        before = run_here(tmp_path, keys)
    failed = {one.trial for one in before.results if one.status == "failed"}
    assert failed
    options = RunOptions(out=str(tmp_path), local=True, mode="failed_only")
    after = run(Experiment.model_validate(keys), options)
    assert after.trained == len(failed)
    assert {one.status for one in after.results if one.trial in failed} <= {"finished", "stopped"}
    assert {one.trial for one in after.results} == {one.trial for one in before.results}
    assert run(Experiment.model_validate(keys), options).trained == 0


def test_a_finished_search_can_be_confirmed_later(tmp_path: Path, keys: dict[str, Any]) -> None:
    before = run_here(tmp_path, keys)
    after = run_here(tmp_path, {**keys, "confirm": {"top": 1, "seeds": [7]}})
    assert after.trained == 1
    assert of_phase(after, "search") == before.results
    assert len(of_phase(after, "confirm")) == 1


def test_an_interrupted_confirmation_goes_on(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys["confirm"] = {"top": 1, "seeds": [7, 8]}
    advance = stages.advance

    def interrupted(journal: RunJournal, **how: Any) -> bool:
        goes_on = advance(journal, **how)
        monkeypatch.setattr(stages, "advance", advance)
        raise KeyboardInterrupt if goes_on else AssertionError

    monkeypatch.setattr(stages, "advance", interrupted)
    assert run_here(tmp_path, keys).interrupted == 130
    after = run_here(tmp_path, keys)
    assert after.trained == 2
    assert [one.status for one in of_phase(after, "confirm")] == ["finished", "finished"]


def test_the_best_stopped_trial_is_rescued_and_runs_to_its_end(tmp_path: Path, keys: dict[str, Any]) -> None:
    asha = {"grace_period": 1, "reduction_factor": 4}
    stopped = run_here(tmp_path / "without", {**keys, "asha": asha})
    assert [one.status for one in stopped.results] == ["finished", "stopped", "stopped"]
    outcome = run_here(tmp_path, {**keys, "asha": {**asha, "rescue": 1}})
    assert sorted(one.status for one in outcome.results) == ["finished", "finished", "stopped"]
    (event,) = [event for event in read_lines(outcome.folder, "events.jsonl") if event["event"] == "rescued"]
    (rescued,) = [one for one in outcome.results if one.trial == event["trial"]]
    assert (event["stopped_at"], rescued.epochs, rescued.status) == (1, 4, "finished")
    again = run_here(tmp_path, {**keys, "asha": {**asha, "rescue": 1}})
    assert again.trained == 0
    assert sorted(one.status for one in read_record(again.folder).results) == sorted(
        one.status for one in again.results
    )


def test_a_rescued_trial_ends_as_if_it_had_never_been_stopped(tmp_path: Path, keys: dict[str, Any]) -> None:
    asha = {"grace_period": 1, "reduction_factor": 4, "rescue": 2}
    rescued = run_here(tmp_path / "a", {**keys, "asha": asha})
    straight = run_here(tmp_path / "b", keys)
    for one, other in zip(rescued.results, straight.results, strict=True):
        assert (one.trial, one.test_loss, one.val_loss) == (other.trial, other.test_loss, other.val_loss)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What each command says of its work when it opens the backend."""
    seen: list[Work] = []
    real = run_module.open_backend

    def listening(experiment: Experiment, work: Work, **how: Any) -> Any:
        seen.append(work)
        return real(experiment, work, **how)

    monkeypatch.setattr(run_module, "open_backend", listening)
    return seen


def placed(work: Work, *, cores: int) -> tuple[int, int]:
    """Return the number of trials at a time, and the number of threads of each."""
    placement = place(Resources(), nodes=[{"CPU": float(cores)}], trials=work.trials, left=work.left)
    return placement.concurrent, placement.cpus


def test_the_last_trial_of_a_continued_run_has_as_many_threads_as_at_its_start(
    tmp_path: Path, keys: dict[str, Any], works: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunJournal.started

    def started(journal: RunJournal, trial_id: str, **where: Any) -> None:
        if trial_id == list(journal.state.progress)[-1]:
            raise KeyboardInterrupt
        real(journal, trial_id, **where)

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "started", started)
        assert run_here(tmp_path, keys).interrupted
    assert run_here(tmp_path, keys).trained == 1
    assert [placed(work, cores=2) for work in works] == [(2, 1), (1, 1)]
    assert [placed(work, cores=8) for work in works] == [(3, 2), (1, 2)]


def test_later_stages_have_a_slot_for_each_of_their_trials(
    tmp_path: Path, keys: dict[str, Any], works: list[Work]
) -> None:
    one = {**keys, "grid": {"lr": [0.02]}}
    run_here(tmp_path, {**one, "confirm": {"top": 3, "seeds": [7, 8, 9, 10]}})  # there is one configuration
    assert placed(works[0], cores=8) == (1, 8)  # as its search had them
    keys["asha"] = {"grace_period": 1, "reduction_factor": 4, "rescue": 2}
    state = RunState(Experiment.model_validate({**keys, "confirm": {"top": 2, "seeds": [7]}}))
    first, *others = state.progress.values()
    for progress in (first, *others):
        progress.end(progress.result_so_far("finished" if progress is first else "stopped"))
    assert stages.most_waiting_from_now(state, listed=3) == 2
    separate = Experiment.model_validate({**keys, "asha": None, "separate": {"points": 1.0}, "seeds": [0, 1]})
    assert stages.most_waiting_in_search(separate, listed=6) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"confirm": {"seeds": [0, 1]}},
            "confirm.seeds has 0, which the search uses too; give seeds that chose nothing",
        ),
        ({"seeds": [4, 5], "confirm": {"seeds": [5]}}, "such as [6]"),
        ({"confirm": {}, "recipe": {"val_size": 0}}, "confirm chooses by validation accuracy, and val_size is 0"),
        ({"confirm": {"seeds": []}}, "at least 1"),
    ],
)
def test_what_would_confirm_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ExperimentError, ValueError)) as refusal:
        Experiment.model_validate({"name": "x", **changes})
    assert message in str(refusal.value)


def interrupt_at_the_first_rescue(monkeypatch: pytest.MonkeyPatch) -> None:
    started = RunJournal.started

    def interrupting(journal: RunJournal, trial_id: str, **where: Any) -> None:
        started(journal, trial_id, **where)
        if journal.state.stage == "rescue":
            raise KeyboardInterrupt

    monkeypatch.setattr(RunJournal, "started", interrupting)


def rescues(outcome: RunOutcome) -> list[str]:
    return [event["trial"] for event in read_lines(outcome.folder, "events.jsonl") if event["event"] == "rescued"]


@pytest.mark.parametrize("fewer", [1, 0])
def test_fewer_rescues_than_before_rescue_nobody_more_and_run_nobody_else(
    tmp_path: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fewer: int
) -> None:
    keys["grid"] = {"lr": [0.02, 1e-9, 2e-9, 3e-9]}
    asha = {"grace_period": 1, "reduction_factor": 4}
    with monkeypatch.context() as patch:
        interrupt_at_the_first_rescue(patch)
        before = run_here(tmp_path, {**keys, "asha": {**asha, "rescue": 2}})
    assert before.interrupted == 130
    (rescued,) = rescues(before)
    assert [one.status for one in before.results if one.trial == rescued] == ["unfinished"]
    after = run_here(tmp_path, {**keys, "asha": {**asha, "rescue": fewer}})
    assert rescues(after) == [rescued]
    statuses = {one.trial: one.status for one in after.results}
    assert statuses.pop(rescued) == "finished"
    assert sorted(statuses.values()) == ["finished", "stopped", "stopped"]
    assert after.trained <= 1
    again = run_here(tmp_path, {**keys, "asha": {**asha, "rescue": fewer}})
    assert (again.trained, again.results) == (0, after.results)


@pytest.fixture
def separating(keys: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment of two networks of which one learns and the other does not, and few seeds."""
    recipe = {**keys["recipe"], "epochs": 1}
    return {**keys, "recipe": recipe, "grid": {"lr": [0.02, 1e-9]}, "separate": {"points": 5, "max_seeds": 3}}


def seeds_of(outcome: RunOutcome) -> list[tuple[float, int]]:
    return sorted((one.recipe["lr"], one.recipe["seed"]) for one in outcome.results if one.status == "finished")


def test_seeds_are_added_in_pairs_until_there_are_enough(tmp_path: Path, separating: dict[str, Any]) -> None:
    outcome = run_here(tmp_path, separating)
    assert seeds_of(outcome) == [(lr, seed) for lr in (1e-9, 0.02) for seed in (0, 1, 2)]
    assert {one.phase for one in outcome.results} == {"search"}
    (first, *_) = outcome.record.ranking.standings
    assert first.seeds == 3
    readme = (tmp_path / "x" / "README.md").read_text()
    assert "lr=0.02 and lr=1e-09 are not decided after 3 seeds" in readme
    again = run_here(tmp_path, separating)
    assert (again.trained, again.results) == (0, outcome.results)


def test_no_seed_is_added_once_every_pair_is_decided(
    tmp_path: Path, separating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decided_after_two = lambda differences, **_: ("ahead" if len(differences) > 1 else "open", len(differences))  # noqa: E731
    monkeypatch.setattr(separation, "decided", decided_after_two)
    assert len(seeds_of(run_here(tmp_path, separating))) == 4


def test_a_finished_run_gets_the_seeds_that_separate_it(tmp_path: Path, separating: dict[str, Any]) -> None:
    before = run_here(tmp_path, {**separating, "separate": None})
    after = run_here(tmp_path, separating)
    assert len(seeds_of(after)) == 6
    assert after.results[:2] == before.results


def test_an_interrupted_separation_goes_on_where_it_was(
    tmp_path: Path, separating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_here(tmp_path / "whole", separating)
    assert [(one.status, one.error) for one in whole.results] == [("finished", None)] * 6
    started, count = RunJournal.started, iter(range(100))

    def interrupting(journal: RunJournal, trial_id: str, **where: Any) -> None:
        started(journal, trial_id, **where)
        if next(count) == 3:  # the second trial of the first round
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "started", interrupting)
        before = run_here(tmp_path / "cut", separating)
    assert before.interrupted == 130
    assert len(seeds_of(before)) == 3
    after = run_here(tmp_path / "cut", separating)
    assert [(one.trial, one.test_loss) for one in after.results] == [
        (one.trial, one.test_loss) for one in whole.results
    ]


def test_a_configuration_of_which_a_seed_failed_gets_no_further_ones(
    tmp_path: Path, separating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    separating["grid"] = {"lr": [0.02, 1e-9, 2e-9]}
    reported = RunJournal.reported

    def failing(journal: RunJournal, trial_id: str, report: Any) -> None:
        recipe = journal.state.progress[trial_id].trial.recipe
        if (recipe.lr, recipe.seed) == (0.02, 1):
            raise ValueError("broken")
        reported(journal, trial_id, report)

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "reported", failing)
        outcome = run_here(tmp_path, separating)
    assert seeds_of(outcome) == [*[(lr, seed) for lr in (1e-9, 2e-9) for seed in (0, 1, 2)], (0.02, 0)]
    (failed,) = [one for one in outcome.results if one.status == "failed"]
    assert failed.attempts == 1
    assert any("seed 1 of lr=0.02 failed" in note for note in outcome.record.ranking.notes)
    # the same command tries it again, and then goes on with it
    assert len(seeds_of(run_here(tmp_path, separating))) == 9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asha": {}}, "run without asha (--no-asha)"),
        ({"confirm": {}}, "separate and confirm both train further seeds"),
        ({"seeds": [0, 1, 2, 3]}, "give at least 4"),
        ({"grid": {}}, "separate needs at least two configurations"),
    ],
)
def test_what_cannot_be_separated_is_refused(separating: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ExperimentError, ValueError)) as refusal:
        Experiment.model_validate({**separating, **changes}).trials()
    assert message in str(refusal.value)


def test_seeds_that_confirmed_a_choice_do_not_keep_a_run_from_being_separated(
    tmp_path: Path, separating: dict[str, Any]
) -> None:
    run_here(tmp_path, {**separating, "separate": None, "confirm": {"top": 2, "seeds": [1, 2]}})
    after = run_here(tmp_path, separating)
    assert sorted((one.recipe["lr"], one.recipe["seed"]) for one in of_phase(after, "search")) == [
        (lr, seed) for lr in (1e-9, 0.02) for seed in (0, 3, 4)
    ]


def test_seeds_that_separated_configurations_cannot_confirm_them(tmp_path: Path, separating: dict[str, Any]) -> None:
    run_here(tmp_path, separating)
    with pytest.raises(ExperimentError, match=r"confirm\.seeds has 1, which this run has trained already"):
        run_here(tmp_path, {**separating, "separate": None, "confirm": {"top": 1, "seeds": [1]}})
