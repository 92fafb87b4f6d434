"""No placement group outlives its trial: several trials of two workers, stopped early by ASHA."""

import time
from collections.abc import Callable

import pytest
import ray

from raytrain.data import Splits
from raytrain.ray_backend import internals, tuner
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.runs.journal import RunJournal
from raytrain.training.recipe import DataKey

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 40


def sweep(run: RunJournal, splits: dict[DataKey, Splits], *, dashboard: bool) -> tuple[list[str], float]:
    """Run all trials on two workers each; return the placement groups and the free CPUs some seconds afterwards."""
    with ray_session(None, dashboard=dashboard):
        tuner.run_trials(run, splits, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
        deadline = time.monotonic() + 10
        while (groups := [group for group, _ in internals.placement_groups()]) and time.monotonic() < deadline:
            time.sleep(0.2)
        while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        return groups, free


@pytest.mark.timeout(900)
@pytest.mark.parametrize("dashboard", [True, False])
def test_early_stops_leave_no_placement_group_and_all_cpus(
    open_run: Callable[..., RunJournal],
    splits: dict[DataKey, Splits],
    *,
    dashboard: bool,
) -> None:
    # The first learns; the others cannot, and are stopped at their first rung. Each needs every CPU of the cluster,
    # so the second to be stopped has found those of the first.
    run = open_run(recipe={"epochs": EPOCHS}, grid={"lr": [0.05, 1e-9, 2e-9]}, asha={"grace_period": 5})
    groups, free = sweep(run, splits, dashboard=dashboard)
    assert [result.status for result in run.state.results()] == ["finished", "stopped", "stopped"]
    assert groups == []
    assert free == 2


@pytest.mark.timeout(600)
def test_without_a_release_an_early_stop_leaves_its_placement_group(
    open_run: Callable[..., RunJournal],
    splits: dict[DataKey, Splits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tuner, "release_orphaned_groups", lambda: None)
    monkeypatch.setattr(tuner, "release_all_groups", lambda: None)
    # two trials only: a third would wait for ever for the CPUs of the second
    run = open_run(recipe={"epochs": EPOCHS}, grid={"lr": [0.05, 1e-9]}, asha={"grace_period": 5})
    groups, free = sweep(run, splits, dashboard=False)
    assert [result.status for result in run.state.results()] == ["finished", "stopped"]
    assert groups != []
    assert free < 2
