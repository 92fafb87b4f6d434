"""Nodes of a cluster that die."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(720)]

Start = Callable[..., Any]  # of a Command, as conftest.py has it


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of a head without CPUs and two nodes of one each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    there = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    there.ours = [there.add_node(num_cpus=1) for _ in range(2)]
    yield there
    there.shutdown()


def test_a_trial_whose_node_dies_goes_on_at_another_to_the_same_numbers(
    cluster: Any, start: Start, undisturbed: Callable[..., list[dict[str, Any]]]
) -> None:
    expected = undisturbed(epochs=120)
    command = start("--address", cluster.address, epochs=120)
    command.wait_until(lambda: command.epochs() >= 4)
    cluster.remove_node(cluster.ours[0], allow_graceful=False)
    assert command.end() == 0, command.stderr
    assert [result.status for result in command.results()] == ["finished", "finished"]
    assert command.numbers() == expected
    assert command.contiguous()


def test_a_cluster_whose_head_is_gone_is_given_up_in_seconds(cluster: Any, start: Start) -> None:
    command = start("--address", cluster.address, epochs=5000)
    command.wait_until(lambda: command.epochs() >= 4)
    began = time.monotonic()
    cluster.head_node.kill_gcs_server()
    assert command.end() == 6, command.stderr
    assert time.monotonic() - began < 75
    assert "Traceback" not in command.stderr
    assert "The same command continues the run" in command.stderr
