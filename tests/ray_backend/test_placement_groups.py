"""No placement group outlives its trial: several trials of two workers, stopped early by ASHA."""

import time
from collections.abc import Callable

import pytest
import ray

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.ray_backend import internals, tuner
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.runs.writing.journal import RunJournal

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 40


def train(run: RunJournal, splits: dict[DataKey, Splits]) -> tuple[list[str], float]:
    """Run all trials on two workers each; return the placement groups and the free CPUs some seconds afterwards."""
    tuner.run_trials(run, splits, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
    deadline = time.monotonic() + 10
    while (groups := [group for group, _ in internals.placement_groups()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    return groups, free


def statuses(run: RunJournal) -> list[str]:
    return [result.status for result in run.state.results()]


@pytest.mark.timeout(900)
def test_an_early_stop_leaves_its_placement_group_unless_it_is_released(
    open_run: Callable[..., RunJournal], splits: dict[DataKey, Splits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial needs every CPU: the second run could not start while a group of the first is there."""
    # the first trial learns; the second cannot, and is stopped at its first rung
    sweep = {"recipe": {"epochs": EPOCHS}, "asha": {"grace_period": 5}}
    with ray_session(None, dashboard=False):
        with monkeypatch.context() as patched:
            patched.setattr(tuner, "release_orphaned_groups", lambda: None)
            patched.setattr(tuner, "release_all_groups", lambda: None)
            unreleased = open_run(name="unreleased", grid={"lr": [0.05, 1e-9]}, **sweep)
            groups, free = train(unreleased, splits)
        assert statuses(unreleased) == ["finished", "stopped"]
        assert groups != []
        assert free < 2
        released = open_run(name="released", grid={"lr": [0.04, 1e-9]}, **sweep)
        groups, free = train(released, splits)
    assert statuses(released) == ["finished", "stopped"]
    assert groups == []
    assert free == 2


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dashboard", [True, False])
def test_early_stops_leave_no_placement_group_and_all_cpus(
    open_run: Callable[..., RunJournal], splits: dict[DataKey, Splits], *, dashboard: bool
) -> None:
    # the second to be stopped has found the CPUs of the first
    run = open_run(recipe={"epochs": EPOCHS}, grid={"lr": [0.05, 1e-9, 2e-9]}, asha={"grace_period": 5})
    with ray_session(None, dashboard=dashboard):
        groups, free = train(run, splits)
    assert statuses(run) == ["finished", "stopped", "stopped"]
    assert groups == []
    assert free == 2
