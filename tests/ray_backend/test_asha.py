"""Tests of raytrain.ray_backend.asha: it decides as the rule does, and takes up decisions that are on record."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytrain.experiment.asha import Rungs
from raytrain.ray_backend.asha import AshaScheduler

pytestmark = pytest.mark.slow  # imports Ray Tune, which takes seconds


def tune_trial(name: str) -> Any:
    """Return what AshaScheduler looks at of a trial of Tune's: Ray's id and ours."""
    return SimpleNamespace(trial_id=f"ray-{name}", config={"job": {"trial_id": name}})


def rungs(recorded: dict[float, dict[str, float]] | None = None) -> Rungs:
    return Rungs(first=3, epochs=30, reduction_factor=3, recorded=recorded or {})


@pytest.mark.parametrize("seed", range(5))
def test_the_scheduler_and_the_rule_take_the_same_decisions_on_random_curves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rule, scheduler = rungs(), AshaScheduler(rungs())
    running = {f"t{number}": 0 for number in range(12)}
    trials = {name: tune_trial(name) for name in running}
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)
    stops = 0
    while running:
        name = str(rng.choice(list(running)))
        running[name] += 1
        epoch, accuracy = running[name], float(rng.random())
        decision = rule.judge(name, epoch=epoch, accuracy=accuracy)
        action = scheduler.on_trial_result(None, trials[name], {"epoch": epoch, "quality": accuracy})
        assert scheduler.fetch_decision(name) == decision
        stopped = bool(decision and decision.stop)
        assert (action == "STOP") == stopped
        stops += stopped
        if stopped or epoch == 30:
            del running[name]
    assert stops > 0


def test_a_report_without_accuracy_is_not_judged() -> None:
    scheduler, trial = AshaScheduler(rungs()), tune_trial("a")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"message": {"kind": "end"}}) == "CONTINUE"
    assert scheduler.fetch_decision("a") is None


def test_decisions_on_record_raise_the_bar_for_later_trials() -> None:
    scheduler, trial = AshaScheduler(rungs({3.0: {"a": 0.8, "b": 0.9}})), tune_trial("c")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 3, "quality": 0.5}) == "STOP"


def test_without_a_record_the_first_to_arrive_goes_on() -> None:
    scheduler, trial = AshaScheduler(rungs()), tune_trial("c")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 3, "quality": 0.5}) == "CONTINUE"


def test_a_trial_that_was_judged_before_an_interruption_is_not_judged_at_that_rung_again() -> None:
    scheduler, trial = AshaScheduler(rungs({3.0: {"a": 0.4, "b": 0.9}})), tune_trial("a")
    scheduler.on_trial_add(None, trial)
    assert scheduler.on_trial_result(None, trial, {"epoch": 4, "quality": 0.1}) == "CONTINUE"
    assert scheduler.fetch_decision("a") is None
