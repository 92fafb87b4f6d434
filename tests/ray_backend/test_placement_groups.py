"""No placement group outlives its trial: several trials of two workers, stopped early by ASHA."""

import contextlib
import re
import time
from collections.abc import Callable

import psutil
import pytest
import ray

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.asha import Decision
from raytrain.ray_backend import tuner
from raytrain.ray_backend.internals import head
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.runs.writing.journal import RunJournal

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

FIRST_RUNG = 5


def stopped_early(open_run: Callable[..., RunJournal], name: str, *, trials: int) -> RunJournal:
    """Open a run of trials that cannot learn, and that are stopped at the first rung: a better one is on record."""
    rates = [(trial + 1) * 1e-9 for trial in range(trials)]
    asha = {"grace_period": FIRST_RUNG}
    run = open_run(name=name, recipe={"epochs": 40}, grid={"lr": rates}, asha=asha)
    better = Decision(FIRST_RUNG, accuracy=1.0, cut=None, stop=False)
    run.note({"event": "rung", "trial": "another", "epoch": FIRST_RUNG, **vars(better)})
    return run


def train(run: RunJournal, splits: dict[DataKey, Splits]) -> tuple[list[str], float]:
    """Run all trials on two workers each; return the placement groups and the free CPUs some seconds afterwards."""
    tuner.run_trials(run, splits, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
    deadline = time.monotonic() + 10
    while (groups := [group for group, _ in head.placement_groups()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    while (free := ray.available_resources().get("CPU", 0.0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    return groups, free


def actors() -> set[str]:
    """Return the classes of the actors that live below this process."""
    names: list[str] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            names.append(" ".join(process.cmdline()))
    return {found[1] for name in names if (found := re.match(r"ray::(\w+)", name))}


def statuses(run: RunJournal) -> list[str]:
    return [result.status for result in run.state.results()]


@pytest.mark.faults  # what Ray leaves is left
def test_an_early_stop_leaves_its_placement_group_unless_it_is_released(
    open_run: Callable[..., RunJournal], splits: dict[DataKey, Splits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial needs every CPU: the second run could not start while a group of the first is there."""
    with ray_session(None):
        with monkeypatch.context() as patched:
            patched.setattr(tuner, "release_orphaned_groups", lambda: None)
            patched.setattr(tuner, "release_all_groups", lambda: None)
            unreleased = stopped_early(open_run, "unreleased", trials=1)
            groups, free = train(unreleased, splits)
        assert statuses(unreleased) == ["stopped"]
        assert groups != []
        assert free < 2
        released = stopped_early(open_run, "released", trials=1)
        groups, free = train(released, splits)
        assert actors() & {"PlacementGroupCleaner", "DatasetManager", "PreemptionWatcher"} == set()
    assert statuses(released) == ["stopped"]
    assert groups == []
    assert free == 2


@pytest.mark.long
def test_early_stops_leave_no_placement_group_and_all_cpus(
    open_run: Callable[..., RunJournal], splits: dict[DataKey, Splits]
) -> None:
    run = stopped_early(open_run, "two", trials=2)  # the second has found the CPUs of the first
    with ray_session(None):
        groups, free = train(run, splits)
    assert statuses(run) == ["stopped", "stopped"]
    assert groups == []
    assert free == 2
