"""Nodes of a cluster that die, and a cluster whose nodes are not as they must be."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from raytrain.errors import ClusterError, PreflightError
from raytrain.ray_backend import preflight
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.storage.folder import Folder
from raytrain.training.doctor import Check

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(720)]

Start = Callable[..., Any]  # of a Command, as conftest.py has it
ONE_CPU = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1)


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


def test_other_versions_on_a_node_are_refused_with_both(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = preflight.judged

    def by_another(name: str, said: dict[str, Any], *, here: dict[str, str]) -> Check:
        return judged(name, said, here={**here, "torch": "1.0"})

    monkeypatch.setattr(preflight, "judged", by_another)
    with ray_session(cluster.address, dashboard=False):
        with pytest.raises(ClusterError, match=r"torch .* there and 1\.0 here") as refused:
            preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
        assert refused.value.exit_code == 6


def test_a_node_on_which_raytrain_cannot_be_imported_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"NodeID": "a", "NodeManagerHostname": "box", "Resources": {}}
    traceback = "Traceback\n  line\nModuleNotFoundError: No module named 'raytrain'"
    said = RayTaskError("f", traceback, ModuleNotFoundError())
    monkeypatch.setattr(preflight, "_nodes", lambda: [node])
    monkeypatch.setattr(preflight, "_answers", lambda *_, **__: iter([(node, said)]))
    with pytest.raises(ClusterError, match=r"node box: raytrain does not run there: .*No module named") as refused:
        preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
    assert refused.value.exit_code == 6


def test_a_gpu_that_pytorch_cannot_use_is_refused_and_one_that_is_taken_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Check("the GPU of node a", ok=False, found="no kernel image", advice="Install another.")
    taken = Check("node a", ok=False, found=preflight.NO_ANSWER)
    monkeypatch.setattr(preflight, "check_nodes", lambda **_: iter([taken]))
    preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
    monkeypatch.setattr(preflight, "check_nodes", lambda **_: iter([taken, broken]))
    with pytest.raises(PreflightError, match="the GPU of node a: no kernel image"):
        preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
