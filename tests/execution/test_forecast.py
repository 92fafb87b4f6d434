"""Tests of execution.forecast: how long a run still takes, by a clock that stands."""

from typing import Any

import pytest

from raytrain.execution.forecast.left import Forecast
from raytrain.experiment.duration.order import Order
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.runs.planned import Range
from raytrain.runs.progress import Setting
from raytrain.runs.state import RunState

EPOCH_S = 30.0


def begun(*done: float, slots: int = 1, planned: Range | None = None, **keys: Any) -> RunState:
    """Return a run of two epochs a trial, of which each has done so many, in epochs of 30 s; those with a part run."""
    grid = {"lr": [0.1, 0.2, 0.3, 0.4][: len(done)]}
    recipe = {"epochs": 2, "width": 2, "image_size": 8}
    state = RunState(Experiment.model_validate({"name": "x", "recipe": recipe, "grid": grid, **keys}))
    key = state.experiment.recipe.data_key
    state.setting = Setting(slots, {key: 600}, {key: 10}, planned, order="longest")
    for progress, epochs in zip(state.progress.values(), done, strict=True):
        for epoch in range(1, int(epochs) + 1):
            progress.add_epoch({"epoch": epoch, "seconds": EPOCH_S, "val_accuracy": None})
        if epochs == progress.trial.recipe.epochs:
            state.end(progress.result_so_far("finished"))
        elif epochs:
            progress.status, progress.within_epoch = "running", epochs % 1
    return state


def left(state: RunState) -> float | None:
    return Forecast(state, clock=lambda: 0.0).seconds_left()


def test_one_slot_takes_the_epochs_that_are_left_of_all_trials() -> None:
    assert left(begun(2, 1.5, 0)) == pytest.approx((0.5 + 2) * EPOCH_S)


def test_two_slots_take_the_longer_of_two_trials() -> None:
    assert left(begun(2, 1.5, 0, slots=2)) == pytest.approx(2 * EPOCH_S)


def test_a_trial_that_waits_takes_the_slot_that_is_free_first() -> None:
    assert left(begun(1.75, 1.25, 0, slots=2)) == pytest.approx((0.25 + 2) * EPOCH_S)


def test_another_architecture_takes_longer_by_its_operations() -> None:
    alike, deeper = (
        begun(1.5, 0, grid={"arch": archs}) for archs in (["resnet18", "resnet9"], ["resnet18", "resnet152"])
    )
    known = left(alike)
    assert known
    assert 0 < known < 0.5 * EPOCH_S + 2 * EPOCH_S < (left(deeper) or 0.0)


@pytest.mark.parametrize(("order", "epochs"), [("longest", 4), ("shortest", 1 + 4), ("listed", 1 + 4)])
def test_trials_start_in_the_order_of_the_run(order: Order, epochs: int) -> None:
    state = begun(2, 0, 0, 0, slots=2, grid={"epochs": [2, 1, 3, 4]})
    assert state.setting
    state.setting.order = order
    assert left(state) == pytest.approx(epochs * EPOCH_S)


def test_trials_that_are_confirmed_later_count() -> None:
    confirm = {"top": 1, "seeds": [7, 8]}
    alone, confirmed = left(begun(2, 1.5)), left(begun(2, 1.5, confirm=confirm))
    assert alone == pytest.approx(0.5 * EPOCH_S)
    assert confirmed == pytest.approx((0.5 + 2 * 2) * EPOCH_S)


def confirmed(state: RunState, number: int, *, epochs: int) -> None:
    """Have the configuration of a trial be trained with seed 7, for so many epochs."""
    recipe = list(state.progress.values())[number].trial.recipe.replace(seed=7)
    trial, fields = Trial.of(recipe), recipe.model_dump(mode="json")
    state.apply({"event": "added", "trial": trial.id, "stage": "confirm", "recipe": fields, "parameters": 1})
    for epoch in range(1, epochs + 1):
        state.progress[trial.id].add_epoch({"epoch": epoch, "seconds": EPOCH_S, "val_accuracy": None})
    if epochs == recipe.epochs:
        state.end(state.progress[trial.id].result_so_far("finished"))


@pytest.mark.parametrize(("epochs", "others"), [(0, 4), (1, 3), (2, 2)])
def test_of_what_confirms_only_the_epochs_that_are_left_count(epochs: int, others: int) -> None:
    state = begun(2, 1.5, confirm={"top": 2, "seeds": [7]})
    confirmed(state, 0, epochs=epochs)
    assert left(state) == pytest.approx((0.5 + others) * EPOCH_S)


def test_of_finished_trials_the_best_one_is_expected_to_be_confirmed() -> None:
    state = begun(2, 2, 2, confirm={"top": 1, "seeds": [7]})
    for accuracy, progress in zip((0.5, 0.9, 0.7), list(state.progress.values()), strict=True):
        progress.end(progress.result_so_far("finished", val_accuracy=accuracy, val_loss=1.0))
    confirmed(state, 1, epochs=2)
    assert left(state) == 0.0


@pytest.mark.parametrize(("begun_epochs", "rescue", "epochs"), [(2, 1, 2), (1, 1, 3), (1, 2, 4)])
def test_of_what_is_rescued_only_the_epochs_that_are_left_count(begun_epochs: int, rescue: int, epochs: int) -> None:
    state = begun(2, begun_epochs, 1, 0, asha={"grace_period": 1, "rescue": rescue})
    _, rescued, stopped, _ = state.progress.values()
    rescued.stage, stopped.status = "rescue", "stopped"
    if begun_epochs == 1:
        rescued.status = "waiting"
    assert left(state) == pytest.approx(epochs * EPOCH_S)


def test_a_paused_trial_that_goes_on_to_its_end_is_not_rescued_as_well() -> None:
    state = begun(2, 1, 2, asha={"mode": "promote", "grace_period": 1, "reduction_factor": 2, "rescue": 1})
    _, paused, _ = state.progress.values()
    paused.status = "paused"
    assert left(state) == pytest.approx(EPOCH_S)


def test_before_the_first_epoch_the_plan_says_how_long_and_the_clock_runs() -> None:
    now = 100.0
    assert Forecast(begun(0, 0), clock=lambda: now).seconds_left() is None
    forecast = Forecast(begun(0, 0, planned=Range(50.0, 60.0, 90.0)), clock=lambda: now)
    assert forecast.seconds_left() == 60.0
    now = 103.0
    assert forecast.seconds_left() == 57.0
    now = 170.0
    assert forecast.seconds_left() == 0.0


def test_nothing_is_said_of_a_run_that_is_not_trained() -> None:
    state = begun(1.5, 0)
    state.setting = None
    assert left(state) is None
