"""What the autoscaler decides for cluster.yaml when trials of ours wait: its own decision, taken without a cloud."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray._raylet import GcsClient
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.cluster_utils import Cluster
from ruamel.yaml import YAML

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.sections import Resources
from raytrain.ray_backend import tuner
from raytrain.ray_backend.placement import place
from raytrain.ray_backend.session import ray_session
from raytrain.runs.writing.journal import RunJournal

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
HEAD = {"CPU": 0.0}
WORKER = {"CPU": 4.0, "GPU": 1.0}
AT_MOST = 4
"""Workers that cluster.yaml allows."""


@pytest.fixture(scope="module")
def template() -> AutoscalingConfig:
    values = YAML(typ="safe").load(ROOT / "cluster.yaml")
    return AutoscalingConfig(values, skip_content_hash=True)


def launched(template: AutoscalingConfig, **demand: Any) -> dict[str, int]:
    """Return how many nodes of which kind the autoscaler would start for a demand, with none but the head there."""
    kinds = template.get_node_type_configs()
    assert kinds
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=kinds,
        max_num_nodes=template.get_max_num_worker_nodes(),
        **demand,
    )
    return {one.instance_type: one.count for one in ResourceDemandScheduler().schedule(request).to_launch}


@pytest.mark.parametrize(
    ("resources", "trials", "expected"),
    [
        (Resources(), 3, {"gpu_worker": 3}),
        (Resources(), 24, {"gpu_worker": AT_MOST}),
        (Resources(gpus_per_worker=0.5), 4, {"gpu_worker": 2}),
        (Resources(workers=4), 1, {"gpu_worker": AT_MOST}),
    ],
)
def test_it_starts_a_gpu_node_for_each_that_trials_need(
    template: AutoscalingConfig, resources: Resources, trials: int, expected: dict[str, int]
) -> None:
    placement = place(resources, nodes=[HEAD, *[WORKER] * AT_MOST], trials=trials)
    one = ResourceRequestUtil.make(placement.per_worker())
    waiting = ResourceRequestUtil.group_by_count([one] * (placement.concurrent * placement.workers))
    assert launched(template, resource_requests=waiting) == expected


def test_it_starts_nothing_for_what_no_node_of_the_file_can_give(template: AutoscalingConfig) -> None:
    one = ResourceRequestUtil.make({"CPU": 4, "GPU": 2})
    assert launched(template, resource_requests=ResourceRequestUtil.group_by_count([one])) == {}


@pytest.fixture
def head(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster(num_cpus=0)


@pytest.mark.heavy
def test_a_sweep_on_a_head_without_cpus_asks_for_its_nodes_at_once_and_goes_on_when_they_come(
    template: AutoscalingConfig,
    head: Cluster,
    open_run: Callable[..., RunJournal],
    splits: dict[DataKey, Splits],
) -> None:
    run = open_run(grid={"lr": [0.05, 0.02, 0.01]})
    placement = place(Resources(trainer="local"), nodes=[HEAD, *[WORKER] * AT_MOST], trials=3)
    state = GcsClient(address=head.address)

    def decision() -> dict[str, int]:
        demand = get_cluster_resource_state(state)
        return launched(
            template,
            resource_requests=list(demand.pending_resource_requests),
            gang_resource_requests=list(demand.pending_gang_resource_requests),
        )

    # Ray starts nodes in the main thread only
    with ray_session(head.address), ThreadPoolExecutor() as pool:
        sweep = pool.submit(tuner.run_trials, run, splits, placement=placement)
        deadline = time.monotonic() + 180
        while decision() != {"gpu_worker": 3}:
            assert time.monotonic() < deadline, decision()
            time.sleep(0.5)
        assert [progress.status for progress in run.state.progress.values()] == ["waiting"] * 3
        head.add_node(num_cpus=4, num_gpus=1)
        sweep.result()
    assert [(result.status, result.error) for result in run.state.results()] == [("finished", None)] * 3
