"""Tests of which fresh seeds a run has, once `confirm` asks for others or the search chooses other configurations."""

from pathlib import Path
from typing import Any

import pytest

from raytrain.analysis.record import read_record
from raytrain.errors import ExitCode
from raytrain.execution import local
from raytrain.execution.options import RunOptions
from raytrain.execution.plan import make_plan
from raytrain.execution.run import RunOutcome, run
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import Report
from raytrain.runs.trial_files import METRICS, trial_folder
from raytrain.runs.writing.journal import RunJournal

CONFIRM = {"top": 2, "seeds": [7, 8]}


@pytest.fixture
def keys(tiny_images: str, train_as_said: Any) -> dict[str, Any]:
    """Return a search in which the higher learning rate is the better one."""
    train_as_said(lambda recipe, _epoch: 0.5 + recipe.lr)
    recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 1}
    return {"name": "x", "recipe": recipe, "grid": {"lr": [0.1, 0.2]}, "confirm": CONFIRM}


def run_here(out: Path, keys: dict[str, Any], **options: Any) -> RunOutcome:
    return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True, **options))


def fresh(outcome: RunOutcome) -> list[tuple[float, int, str]]:
    """Return learning rate, seed and status of the trials that confirm, as the folder has them."""
    results = read_record(outcome.folder).listed
    return sorted((one.recipe["lr"], one.recipe["seed"], one.status) for one in results if one.phase == "confirm")


def interrupted_at(out: Path, keys: dict[str, Any], lr: float, seed: int) -> None:
    """Have a run interrupted when a trial is about to start."""
    real = RunJournal.started

    def started(journal: RunJournal, trial_id: str, **where: Any) -> None:
        recipe = journal.state.progress[trial_id].trial.recipe
        if (recipe.lr, recipe.seed) == (lr, seed):
            raise KeyboardInterrupt
        real(journal, trial_id, **where)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunJournal, "started", started)
        assert run_here(out, keys).interrupted


def failing_once(out: Path, keys: dict[str, Any], lr: float, seed: int) -> RunOutcome:
    """Have a trial of a run fail."""
    real = local._run_trial

    def run_trial(journal: RunJournal, trial: Any, *how: Any) -> None:
        if (trial.recipe.lr, trial.recipe.seed) != (lr, seed):
            real(journal, trial, *how)
            return
        journal.started(trial.id)
        journal.ended(trial.id, {"status": "failed", "error": "broken", "details": ""})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_run_trial", run_trial)
        return run_here(out, keys)


def test_a_configuration_with_a_part_of_its_fresh_seeds_is_not_ranked_once_it_is_not_chosen(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    interrupted_at(tmp_path, keys, 0.1, 8)
    after = run_here(tmp_path, {**keys, "confirm": {**CONFIRM, "top": 1}})
    assert fresh(after) == [(0.2, 7, "finished"), (0.2, 8, "finished")]
    ranked = [one for one in after.record.ranking.standings if one.rank != "–"]
    assert [one.seeds for one in ranked] == [2]
    # chosen again, it keeps the seed that it has
    again = run_here(tmp_path, keys)
    assert again.trained == 1
    assert fresh(again) == [(lr, seed, "finished") for lr in (0.1, 0.2) for seed in (7, 8)]


def test_a_configuration_that_another_one_displaces_is_ranked_only_with_all_of_its_fresh_seeds(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    one = {**keys, "confirm": {**CONFIRM, "top": 1}}
    interrupted_at(tmp_path / "part", one, 0.2, 8)
    run_here(tmp_path / "all", one)
    grown = {**one, "grid": {"lr": [0.1, 0.2, 0.3]}}
    new = [(0.3, 7, "finished"), (0.3, 8, "finished")]
    assert fresh(run_here(tmp_path / "part", grown)) == new
    assert fresh(run_here(tmp_path / "all", grown)) == [(0.2, 7, "finished"), (0.2, 8, "finished"), *new]


def test_a_configuration_that_lacks_new_fresh_seeds_is_not_ranked_beside_those_that_have_them(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    run_here(tmp_path, keys)
    after = run_here(tmp_path, {**keys, "confirm": {"top": 1, "seeds": [7, 8, 9]}})
    assert fresh(after) == [(0.2, seed, "finished") for seed in (7, 8, 9)]


@pytest.mark.parametrize("killed", [1, 2, 3])
def test_a_kill_while_a_configuration_leaves_the_table_does_not_make_it_look_complete(
    tmp_path: Path, keys: dict[str, Any], killed_at_event: Any, killed: int
) -> None:
    keys["confirm"] = {"top": 2, "seeds": [7, 8, 9]}
    interrupted_at(tmp_path, keys, 0.1, 9)
    del keys["confirm"]
    keys["grid"] = {"lr": [0.1, 0.2, 0.3]}  # so that the folder is open when the seeds go
    with killed_at_event(1 + 3 + killed):  # after its beginning, and the new trial
        run_here(tmp_path, keys)
    assert fresh(run_here(tmp_path, keys)) == [(0.2, seed, "finished") for seed in (7, 8, 9)]


@pytest.mark.parametrize("now", [{**CONFIRM, "train_on": "train"}, {"top": 2, "seeds": [9]}, None])
def test_a_failed_trial_that_confirms_nothing_any_more_is_not_tried_again(
    tmp_path: Path, keys: dict[str, Any], now: dict[str, Any] | None
) -> None:
    keys["confirm"] = {**CONFIRM, "train_on": "all"}
    assert failing_once(tmp_path, keys, 0.1, 8).exit_code == ExitCode.SOME_FAILED
    keys["confirm"] = now
    plan = make_plan(Experiment.model_validate(keys), out=str(tmp_path), local=True)
    after = run_here(tmp_path, keys)
    wanted = len(now["seeds"]) * 2 if now else 0
    assert (plan.trials if plan else 0, after.trained) == (wanted, wanted)
    assert after.exit_code == ExitCode.DONE
    assert {status for _, _, status in fresh(after)} == {"finished"}


def test_failed_only_leaves_out_a_failed_trial_that_confirms_nothing_any_more(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    keys["confirm"] = {**CONFIRM, "train_on": "all"}
    failing_once(tmp_path, keys, 0.1, 8)
    after = run_here(tmp_path, {**keys, "confirm": None}, mode="failed_only")
    assert (after.trained, after.exit_code) == (0, ExitCode.DONE)


def test_a_failed_trial_that_is_still_wanted_is_tried_again(tmp_path: Path, keys: dict[str, Any]) -> None:
    failing_once(tmp_path, keys, 0.1, 8)
    after = run_here(tmp_path, keys)
    assert after.trained == 1
    assert {status for _, _, status in fresh(after)} == {"finished"}


def test_a_trial_that_is_withdrawn_and_added_again_has_each_epoch_once(tmp_path: Path, keys: dict[str, Any]) -> None:
    keys["recipe"]["epochs"] = 2
    real = RunJournal.reported

    def reported(journal: RunJournal, trial_id: str, report: Report) -> None:
        real(journal, trial_id, report)
        if journal.state.progress[trial_id].stage == "confirm":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunJournal, "reported", reported)
        folder = run_here(tmp_path, keys).folder
    run_here(tmp_path, {**keys, "confirm": None})
    run_here(tmp_path, {**keys, "grid": {"lr": [0.1, 0.2, 0.05]}})
    (again,) = [one for one in read_record(folder).listed if (one.recipe["lr"], one.recipe["seed"]) == (0.2, 7)]
    assert len(trial_folder(folder, again.trial).read(METRICS).splitlines()) == again.epochs == 2
