"""Tests of raytrain.ray_backend.preflight: what is said of Ray here, of a cluster, and of one that is not there."""

import pytest

from raytrain.ray_backend.preflight import check_ray, judged, versions


def test_a_node_is_judged_by_its_versions_and_its_device() -> None:
    here = versions()
    good = {"versions": here, "device": "NVIDIA L4, bf16", "problem": None}
    assert judged("node a", good, here=here).ok
    other = judged("node a", {**good, "versions": {**here, "torch": "1.0"}}, here=here)
    assert (other.ok, other.found) == (False, f"torch 1.0 there and {here['torch']} here")
    broken = judged("node a", {**good, "problem": "no kernel image"}, here=here)
    assert (broken.ok, broken.found) == (False, "no kernel image")


@pytest.mark.ray
@pytest.mark.slow
def test_ray_on_this_machine_is_checked_by_asking_it(tmp_path: object) -> None:
    checks = list(check_ray(address=None, out=str(tmp_path)))
    assert [check.ok for check in checks] == [True] * 3
    assert checks[1].found.startswith("1 at a time")
    assert checks[2].found.endswith("the same versions as here")


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_one_failed_check() -> None:
    (check,) = check_ray(address="127.0.0.1:1", out="runs")
    assert (check.ok, "nobody answers there" in check.found, "Check the address" in check.advice) == (False, True, True)
