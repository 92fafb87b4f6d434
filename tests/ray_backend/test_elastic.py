"""An elastic trial takes up a node that comes and gives up one that goes, and no epoch is lost or counted twice."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.ray_backend import tuner
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.runs.trial_files import read_epochs
from raytrain.runs.writing.journal import RunJournal

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1200)]

EPOCHS = 200
ELASTIC = Placement(workers=2, cpus=1, gpus=0.0, concurrent=1, fewest=1)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def workers(run: RunJournal) -> list[int]:
    """Return the numbers of workers that the trial has gone on with."""
    return [event["workers"] for event in list(run.state.events) if event["event"] == "resized"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 450
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_trial_grows_onto_a_node_that_comes_and_shrinks_when_it_goes(
    cluster: Cluster, open_run: Callable[..., RunJournal], splits: dict[DataKey, Splits]
) -> None:
    run = open_run(recipe={"epochs": EPOCHS})
    (progress,) = run.state.progress.values()
    # Ray starts nodes in the main thread only
    with ray_session(cluster.address), ThreadPoolExecutor() as pool:
        training = pool.submit(tuner.run_trials, run, splits, placement=ELASTIC)
        wait_for(lambda: progress.epoch >= 3)
        node: Any = cluster.add_node(num_cpus=1)
        wait_for(lambda: workers(run) == [1, 2])
        cluster.remove_node(node, allow_graceful=False)
        training.result()
    assert workers(run) == [1, 2, 1]
    (result,) = run.state.results()
    assert result.status == "finished"
    epochs = [row["epoch"] for row in read_epochs(run.folder, result.trial)]
    assert epochs == list(range(1, EPOCHS + 1))
