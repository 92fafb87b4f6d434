"""No placement group outlives its trial: several trials of two workers, stopped early by ASHA."""

import time
from collections.abc import Callable

import pytest
import ray

from raytrain.cluster import guard, tuner
from raytrain.cluster.placement import Placement
from raytrain.cluster.session import ray_session
from raytrain.data import Splits
from raytrain.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 40


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Placement groups that are there when the sweep has ended, before the last clean-up."""
    found: list[str] = []
    release_all = guard.release_all

    def look_then_release() -> None:
        time.sleep(3)  # a group that is being removed may take a moment
        found.extend(guard.groups_of_this_job())
        release_all()

    monkeypatch.setattr(guard, "release_all", look_then_release)
    return found


def sweep(run: RunFolder, splits: dict[tuple[str, int, float], Splits], *, dashboard: bool) -> float:
    """Run all trials on two workers each, and return how many CPUs are free afterwards."""
    with ray_session(None, dashboard=dashboard):
        tuner.run_trials(run, splits, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
        deadline = time.monotonic() + 20
        while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        return free


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dashboard", [True, False])
def test_early_stops_leave_no_placement_group_and_all_cpus(
    open_run: Callable[..., RunFolder],
    splits: dict[tuple[str, int, float], Splits],
    leftovers: list[str],
    *,
    dashboard: bool,
) -> None:
    # the first learns; the others cannot, and are stopped at their first rung
    run = open_run(recipe={"epochs": EPOCHS}, grid={"lr": [0.05, 1e-9, 2e-9]}, asha={"grace_period": 5})
    free = sweep(run, splits, dashboard=dashboard)
    assert [result.status for result in run.results()] == ["finished", "stopped", "stopped"]
    assert leftovers == []
    assert free == 2


@pytest.mark.timeout(200)
def test_without_the_guard_an_early_stop_leaves_its_placement_group(
    open_run: Callable[..., RunFolder],
    splits: dict[tuple[str, int, float], Splits],
    leftovers: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "release", lambda _trial_id: None)
    # two trials only: a third would wait for ever for the CPUs of the second
    run = open_run(recipe={"epochs": EPOCHS}, grid={"lr": [0.05, 1e-9]}, asha={"grace_period": 5})
    sweep(run, splits, dashboard=False)
    assert [result.status for result in run.results()] == ["finished", "stopped"]
    assert len(leftovers) == 1
