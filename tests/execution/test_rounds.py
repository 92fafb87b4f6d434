"""Tests of a search in rounds, which tpe proposes: a whole run, grown, killed and continued; nothing is trained."""

import json
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.errors import RaytrainError
from raytrain.execution import inputs
from raytrain.execution.options import RunOptions
from raytrain.execution.plan import make_plan
from raytrain.execution.run import RunOutcome, run
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search import tpe
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

pytest.importorskip("optuna", reason="the extra raytrain[optuna] is not installed")

KEYS: dict[str, Any] = {
    "name": "x",
    "recipe": {"width": 2, "image_size": 8, "epochs": 4},
    "grid": {"lr": {"loguniform": [1e-3, 1]}},
    "samples": 7,
    "sampler": "tpe",
    "round_size": 3,
}


def reached(recipe: Recipe, epoch: int) -> float | None:
    """Return an accuracy: the closer the learning rate to 0.05, the better; from 0.9 on the trial diverges."""
    best = 0.9 - 0.1 * math.log10(recipe.lr / 0.05) ** 2 - 0.01 * recipe.seed
    return best * epoch / recipe.epochs if recipe.lr < 0.9 else None


@pytest.fixture(autouse=True)
def _nothing_is_trained(train_as_said: Any) -> None:
    train_as_said(reached)


def run_here(out: Path, **keys: Any) -> RunOutcome:
    return run(Experiment.model_validate(KEYS | keys), RunOptions(out=str(out), local=True))


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = (out / "x" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def ends(outcome: RunOutcome) -> list[tuple[Any, ...]]:
    return [(one.trial, one.status, one.epochs, one.parameters > 0) for one in outcome.results]


def test_rounds_follow_until_there_are_as_many_samples_and_more_samples_are_more_rounds(tmp_path: Path) -> None:
    outcome = run_here(tmp_path)
    assert [len(event["values"]) for event in events(tmp_path, "proposed")] == [3, 1]
    assert [(status, epochs, counted) for _, status, epochs, counted in ends(outcome)] == [("finished", 4, True)] * 7
    assert len({one.recipe["lr"] for one in outcome.results}) == 7

    assert run_here(tmp_path).trained == 0
    grown = run_here(tmp_path, samples=9)
    assert ends(grown)[:7] == ends(outcome)
    assert len(grown.results) == 9
    assert len(events(tmp_path, "started")) == 9

    fewer = run_here(tmp_path, samples=5)
    assert (fewer.trained, len(fewer.results), len(fewer.record.state.unlisted)) == (0, 5, 4)
    assert len(read_record(fewer.folder).results) == 5
    wider = Experiment.model_validate(KEYS | {"seeds": [0, 1]})
    seeded = run(wider, RunOptions(out=str(tmp_path), local=True))
    assert [one.recipe["seed"] for one in seeded.results].count(1) == 7
    assert len(events(tmp_path, "proposed")) == 3


@pytest.mark.parametrize("killed_at", [9, 24, 31])
def test_a_run_killed_at_any_event_and_continued_proposes_and_ends_as_one_that_was_not(
    tmp_path: Path, killed_at_event: Callable[[int], AbstractContextManager[None]], killed_at: int
) -> None:
    keys = {"asha": {"mode": "promote", "reduction_factor": 2}, "seeds": [0, 1]}
    whole = run_here(tmp_path / "whole", **keys)
    with killed_at_event(killed_at):
        assert run_here(tmp_path, **keys).interrupted
    assert ends(run_here(tmp_path, **keys)) == ends(whole)
    proposed = [[event["values"] for event in events(out, "proposed")] for out in (tmp_path, tmp_path / "whole")]
    assert proposed[0] == proposed[1]


def test_included_trials_and_arguments_of_components_are_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[dict[str, Any], float]] = []
    real = tpe.propose

    def listening(grid: Any, observed: Any, **how: Any) -> list[dict[str, Any]]:
        told.extend((dict(one.values), one.quality) for one in observed)
        return real(grid, observed, **how)

    monkeypatch.setattr(tpe, "propose", listening)
    space = {"optimizer": ["muon"], "optimizer.iterations": [2, 3], **KEYS["grid"]}
    run_here(tmp_path, grid=space, samples=4, include=[{"optimizer": "muon(iterations=3)", "lr": 0.05}])
    assert len(told) == 3
    assert {one["optimizer.iterations"] for one, _ in told} <= {2, 3}
    told.clear()
    run_here(tmp_path / "included", samples=4, include=[{"lr": 0.05}, {"lr": 5.0}])
    assert len(told) == 4
    assert told[-1] == ({"lr": 0.05}, pytest.approx(0.9))


def test_what_was_proposed_is_read_and_shown_where_optuna_is_not_installed_and_a_run_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_here(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert len(read_record(Folder.at(tmp_path / "x")).results) == 7
    tune = ["tune", "--local", "--out", str(tmp_path), "--grid", "lr=log:1e-3:1", "--samples", "12", "--sampler", "tpe"]
    answer = CliRunner().invoke(app, tune)
    assert answer.exit_code == 2
    assert "in the checkout of raytrain: pip install '.[optuna]'" in answer.stderr
    assert not (tmp_path / "tune").exists()


def test_a_plan_counts_the_rounds_that_are_proposed_later_and_lists_the_first(tmp_path: Path) -> None:
    plan = make_plan(Experiment.model_validate(KEYS), out=str(tmp_path), local=True)
    at_once = make_plan(Experiment.model_validate(KEYS | {"sampler": "sobol"}), out=str(tmp_path), local=True)
    assert plan
    assert at_once
    assert (plan.trials, plan.later, plan.rounds) == (3, 4, 2)
    assert plan.seconds.median == pytest.approx(at_once.seconds.median)
    promoting = KEYS | {"asha": {"mode": "promote", "reduction_factor": 2}}
    promoted = make_plan(Experiment.model_validate(promoting), out=str(tmp_path), local=True)
    assert promoted
    assert 1 <= promoted.stopped.low <= promoted.stopped.high < 7

    listed = ["plan", "--list", "--grid", "lr=log:1e-3:1", "--samples", "12", "--sampler", "tpe"]
    answer = CliRunner().invoke(app, listed)
    assert answer.stdout.count("resnet18-") == 8
    assert "the first 8 of 12 samples; tpe proposes the others" in answer.stderr


def test_proposals_that_cannot_be_built_are_passed_over_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = inputs.model_size

    def sized(recipe: Any, classes: int) -> Any:
        if recipe.lr > 0.01:
            raise ValueError("no such network\nat all")
        return real(recipe, classes)

    first = {trial.recipe.lr for trial in Experiment.model_validate(KEYS).trials()}
    monkeypatch.setattr(inputs, "model_size", lambda recipe, n: (real if recipe.lr in first else sized)(recipe, n))
    with caplog.at_level("WARNING"):
        outcome = run_here(tmp_path)
    assert {one.recipe["lr"] for one in outcome.results if one.recipe["lr"] > 0.01} <= first
    assert "combinations that cannot be trained; the first: no such network" in caplog.text


def test_a_plan_passes_over_points_that_are_no_valid_recipe_and_knows_what_confirm_trains(tmp_path: Path) -> None:
    keys = {
        "recipe": KEYS["recipe"] | {"accumulate": 16, "image_size": 16},  # of which one image at a time can be trained
        "grid": {"batch_size": {"int": [4, 64]}, "width": {"int": [2, 6]}},
        "confirm": {"top": 1, "seeds": [5], "train_on": "all"},
        "samples": 24,
        "round_size": 1,
    }
    plan = make_plan(Experiment.model_validate(KEYS | keys), out=str(tmp_path), local=True)
    assert plan
    assert 10 < plan.later < 23


def test_a_search_with_tpe_keeps_its_rounds_and_reads_no_weights_while_it_goes_on(tmp_path: Path) -> None:
    run_here(tmp_path)
    with pytest.raises(RaytrainError, match="round_size"):
        run_here(tmp_path, round_size=2)
    with pytest.raises(ValidationError, match="take arch out of the grid"):
        Experiment.model_validate(
            KEYS | {"recipe": {"arch": "timm:resnet18", "init": "pretrained"}, "grid": {"arch.drop_rate": [0.0, 0.5]}}
        )
