"""The template for `ray up`, checked by Ray's own validation; nothing is launched."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow  # imports Ray, which takes seconds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / "cluster.yaml")


@pytest.fixture(scope="module")
def head(template: dict[str, Any]) -> dict[str, Any]:
    return template["available_node_types"][template["head_node_type"]]


@pytest.fixture(scope="module")
def workers(template: dict[str, Any]) -> list[dict[str, Any]]:
    types = template["available_node_types"]
    return [node for name, node in types.items() if name != template["head_node_type"]]


def validate(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_accepts_the_template(template: dict[str, Any]) -> None:
    validate(template)


def test_ray_refuses_the_template_with_a_misspelt_key(template: dict[str, Any]) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError, match="idle_timeout_minute"):
        validate({**template, "idle_timeout_minute": 5})


def test_ray_refuses_more_workers_than_the_cluster_may_have(template: dict[str, Any]) -> None:
    broken = copy.deepcopy(template)
    broken["available_node_types"]["gpu_worker"]["min_workers"] = broken["max_workers"] + 1
    with pytest.raises(ValueError, match="max_workers"):
        validate(broken)


def test_an_idle_cluster_has_no_workers(template: dict[str, Any], workers: list[dict[str, Any]]) -> None:
    assert [worker["min_workers"] for worker in workers] == [0]
    assert 0 < template["idle_timeout_minutes"] <= 15


def test_the_number_of_workers_is_bounded(template: dict[str, Any], workers: list[dict[str, Any]]) -> None:
    assert template["max_workers"] == sum(worker["max_workers"] for worker in workers) == 4


def test_workers_are_spot_and_have_a_gpu(workers: list[dict[str, Any]]) -> None:
    for worker in workers:
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert worker["resources"]["GPU"] == 1


def test_the_head_is_on_demand_and_offers_nothing_to_trials(head: dict[str, Any]) -> None:
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}


def test_ssh_is_never_left_to_rays_open_security_group(
    template: dict[str, Any], head: dict[str, Any], workers: list[dict[str, Any]]
) -> None:
    assert all(node["node_config"]["SecurityGroupIds"] for node in [head, *workers])
    assert "0.0.0.0" not in json.dumps(template)


def test_every_node_starts_with_a_token_and_the_dashboard_on_loopback(template: dict[str, Any]) -> None:
    head_start = template["head_start_ray_commands"][-1]
    worker_start = template["worker_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in head_start
    assert "RAY_AUTH_MODE=token" in worker_start
    assert "--dashboard-host=127.0.0.1" in head_start
    assert "/home/ubuntu/.ray/auth_token" in template["file_mounts"]


def test_every_mounted_path_of_the_repository_exists(template: dict[str, Any]) -> None:
    ours = [local for local in template["file_mounts"].values() if not local.startswith("~")]
    assert [local for local in ours if not (ROOT / local).exists()] == []


def test_the_nodes_run_the_ray_that_the_tests_run(template: dict[str, Any]) -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert "ray==2.60.0" in pinned
    assert any("-c ~/raytrain/constraints.txt" in command for command in template["setup_commands"])
    assert any("--python 3.11" in command for command in template["setup_commands"])
