"""cluster.yaml on AWS, for which moto stands in, in a network of its own that leads nowhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network namespace"),
    pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("ip")), reason="needs util-linux and iproute2"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace may be made here")
    box = Path(__file__).with_name("aws_in_a_box.py")
    inside = 'ip link set lo up && exec "$@"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", inside, "-", sys.executable, box, tmp_path_factory.mktemp("aws")],
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[-1].removeprefix("FOUND"))


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def test_up_starts_a_small_head_on_demand(found: dict[str, Any]) -> None:
    assert found["up"]["code"] == 0, found["up"]
    (head,) = found["head"]
    assert head["InstanceType"] == "m6i.xlarge"
    assert head["InstanceLifecycle"] != "spot"
    assert tags(head)["ray-node-type"] == "head"
    assert head["KeyName"]


def test_up_says_what_an_hour_costs_first(found: dict[str, Any]) -> None:
    assert "gpu_worker: 0 to 4 x g6.xlarge spot" in found["up"]["err"]


def test_workers_are_spot_machines_with_a_gpu(found: dict[str, Any]) -> None:
    (worker,) = found["workers"]
    assert worker["InstanceType"] == "g6.xlarge"
    assert worker["InstanceLifecycle"] == "spot"
    assert tags(worker)["ray-user-node-type"] == "gpu_worker"


def test_every_machine_has_our_group_and_role_and_no_group_is_open(found: dict[str, Any]) -> None:
    for machine in found["head"] + found["workers"]:
        assert [group["GroupName"] for group in machine["SecurityGroups"]] == ["raytrain"]
        assert machine["IamInstanceProfile"]["Arn"].endswith("/raytrain")
    assert found["open"] == []
    assert not [name for name in found["groups"] if name.startswith("ray-autoscaler")]


def test_down_ends_every_machine(found: dict[str, Any]) -> None:
    assert found["down"]["code"] == 0, found["down"]
    assert found["left"]
    assert set(found["left"]) <= {"terminated", "shutting-down"}
