"""The nodes that an autoscaler may add: from the file of `ray up` on the head, or as the environment declares them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import PreflightError
from raytrain.experiment.sections import Resources
from raytrain.ray_backend import session
from raytrain.ray_backend.internals import autoscaler
from raytrain.ray_backend.placement import place

GPU = {"CPU": 4.0, "GPU": 1.0}
CPU = {"CPU": 8.0}
HEAD = {"resources": {"CPU": 0, "GPU": 0}, "node_config": {}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder on a head, where Ray knows nothing of its autoscaler."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(autoscaler.DECLARED, raising=False)
    monkeypatch.setattr(autoscaler, "_reported", lambda _most: [])
    monkeypatch.setattr(autoscaler, "_is_head", lambda: True)
    return tmp_path


def write(home: Path, **values: Any) -> None:
    """Write the file that `ray up` leaves on the head."""
    types = values.pop("types")
    content = {"head_node_type": "head", "available_node_types": {"head": HEAD, **types}, **values}
    (home / "ray_bootstrap_config.yaml").write_text(json.dumps(content))


def test_they_are_the_workers_of_the_file_and_not_its_head(home: Path) -> None:
    write(home, max_workers=4, types={"gpu_worker": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 3}})
    assert autoscaler.addable_nodes(most=1000) == [GPU] * 3


def test_a_type_without_a_limit_has_that_of_the_cluster(home: Path) -> None:
    write(home, max_workers=5, types={"gpu_worker": {"resources": GPU}})
    assert autoscaler.addable_nodes(most=1000) == [GPU] * 5


def test_all_types_together_stay_within_the_limit_of_the_cluster_and_each_keeps_a_node(home: Path) -> None:
    types = {"cpu": {"resources": CPU, "max_workers": 4}, "gpu": {"resources": GPU, "max_workers": 4}}
    write(home, max_workers=4, types=types)
    assert autoscaler.addable_nodes(most=1000) == [GPU, CPU, GPU, GPU]


def test_a_type_whose_resources_ray_measures_later_counts_when_its_nodes_are_up(home: Path) -> None:
    write(home, max_workers=2, types={"mine": {"resources": {}, "max_workers": 2}})
    assert autoscaler.addable_nodes(most=1000) == []


def test_none_are_known_without_the_file(home: Path) -> None:
    assert not list(home.iterdir())
    assert autoscaler.addable_nodes(most=1000) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"available_node_types": 3}', '{"max_workers": 2}'])
def test_a_damaged_file_is_warned_of(content: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "ray_bootstrap_config.yaml").write_text(content)
    assert autoscaler.addable_nodes(most=1000) == []
    assert "does not say which nodes may come" in caplog.text


def test_a_file_on_another_machine_than_the_head_is_of_another_cluster(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, max_workers=2, types={"gpu_worker": {"resources": GPU}})
    monkeypatch.setattr(autoscaler, "_is_head", lambda: False)
    assert autoscaler.addable_nodes(most=1000) == []


def test_the_environment_declares_them_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, max_workers=2, types={"gpu_worker": {"resources": CPU}})
    monkeypatch.setenv("RAYTRAIN_NODES", autoscaler.EXAMPLE)
    assert autoscaler.addable_nodes(most=1000) == [GPU] * 4


@pytest.mark.parametrize("declared", ["4", "[", "{gpu: 4}", "{gpu: {resources: 4}}", "{gpu: {resources: {CPU: many}}}"])
def test_a_declaration_that_is_none_is_refused(declared: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(home.iterdir())
    monkeypatch.setenv("RAYTRAIN_NODES", declared)
    with pytest.raises(PreflightError, match=r"declares no nodes\. Write it as in RAYTRAIN_NODES='\{gpu:"):
        autoscaler.addable_nodes(most=1000)


@pytest.fixture(scope="module")
def joined(start_cluster: Callable[..., Any]) -> Iterator[None]:
    """A connection to a cluster whose head has no CPUs, from the machine of the head."""
    with session.ray_session(str(start_cluster(num_cpus=0).address)):
        yield


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("joined")
def test_a_sweep_on_a_head_without_cpus_is_placed_on_the_nodes_that_the_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(autoscaler.DECLARED, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PreflightError, match=r"no trial fits(?s:.*)run the command on the head .*RAYTRAIN_NODES="):
        place(Resources(), nodes=session.nodes(), trials=3)
    assert not session.may_grow()
    write(tmp_path, max_workers=4, types={"gpu_worker": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 4}})
    head, *workers = session.nodes()
    assert head.get("CPU", 0) == 0
    assert workers == [GPU] * 4
    assert session.may_grow()
    placement = place(Resources(), nodes=session.nodes(), trials=8)
    assert (placement.concurrent, placement.cpus, placement.gpus) == (4, 4, 1)
    assert session.nodes(autoscaled=False) == [head], "a Ray that was started here has no autoscaler"
