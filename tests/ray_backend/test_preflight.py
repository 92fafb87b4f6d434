"""Tests of raytrain.ray_backend.preflight: what is said of Ray, its nodes, and the storage that they must share."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import ClusterError, PreflightError
from raytrain.experiment.sections import Resources
from raytrain.ray_backend import preflight, session
from raytrain.ray_backend.placement import Placement, place
from raytrain.ray_backend.preflight import check_ray, check_storage, judged, versions
from raytrain.ray_backend.session import ray_session
from raytrain.storage.folder import Folder
from raytrain.training.doctor import Check

ONE_CPU = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1)


def test_a_node_is_judged_by_its_versions_and_its_device() -> None:
    here = versions()
    good = {"versions": here, "device": "NVIDIA L4, bf16", "problem": None}
    assert judged("node a", good, here=here).ok
    other = judged("node a", {**good, "versions": {**here, "torch": "1.0"}}, here=here)
    assert (other.ok, other.found) == (False, f"torch 1.0 there and {here['torch']} here")
    broken = judged("node a", {**good, "problem": "no kernel image"}, here=here)
    assert (broken.ok, broken.found) == (False, "no kernel image")


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_failed_check() -> None:
    (check,) = check_ray(address="127.0.0.1:1", out="runs")
    assert (check.ok, "nothing answers at this address" in check.found, "Check the address" in check.advice) == (
        False,
        True,
        True,
    )


def test_a_node_on_which_raytrain_cannot_be_imported_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import RayTaskError

    node = {"NodeID": "a", "NodeManagerHostname": "box", "Resources": {}}
    traceback = "Traceback\n  line\nModuleNotFoundError: No module named 'raytrain'"
    said = RayTaskError("f", traceback, ModuleNotFoundError())
    monkeypatch.setattr(preflight, "_nodes", lambda: [node])
    monkeypatch.setattr(preflight, "_answers", lambda *_, **__: iter([(node, said)]))
    with pytest.raises(ClusterError, match=r"node box: raytrain does not run there: .*No module named") as refused:
        preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
    assert refused.value.exit_code == 6


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="PyTorch finds the GPU of this machine")
def test_a_gpu_that_ray_counts_and_pytorch_does_not_find_is_refused(
    start_cluster: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(start_cluster(num_cpus=1, num_gpus=1).address)
    with ray_session(address) as here:
        on_gpu = place(Resources(), nodes=session.nodes(), trials=1)
        assert on_gpu.gpus
        with pytest.raises(PreflightError, match=r"the GPU of node .*PyTorch .* finds no GPU there\.\n.*--gpus 0"):
            preflight.refuse_unfit_nodes(on_gpu, Folder.at("/tmp"), address=None)
        preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
        monkeypatch.setattr(session, "ray_session", lambda _: nullcontext(here))
        found = {check.name.partition(" of ")[0]: check.ok for check in check_ray(address=address, out="/tmp")}
    assert found["the GPU"] is False


def test_a_gpu_that_is_refused_has_exit_code_3_and_one_that_is_taken_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Check("the GPU of node a", ok=False, found="no kernel image", advice="Install another.")
    taken = Check("node a", ok=False, found=preflight.NO_ANSWER)
    monkeypatch.setattr(preflight, "check_nodes", lambda **_: iter([taken]))
    preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
    monkeypatch.setattr(preflight, "check_nodes", lambda **_: iter([taken, broken]))
    with pytest.raises(PreflightError, match="the GPU of node a: no kernel image") as refused:
        preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
    assert refused.value.exit_code == 3


# ---------------------------------------------------------------- storage


@pytest.mark.ray
def test_nodes_that_are_still_to_come_would_not_see_a_local_disk(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="the cluster may add other hosts"):
        check_storage(Folder.at(tmp_path), more_nodes=True)


@pytest.mark.parametrize(("kind", "shared"), [("nfs4", True), ("fuse.s3fs", True), ("ext4", False), ("overlay", False)])
def test_a_disk_in_the_network_is_known_by_its_mount(
    kind: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home /data {kind} rw 0 0\n")
    monkeypatch.setattr(preflight, "MOUNTS", mounts)
    assert preflight.is_on_network_disk(Path("/data/runs/lr")) is shared
    assert not preflight.is_on_network_disk(Path("/home/runs"))


def test_a_run_folder_that_a_link_leads_to_is_on_the_disk_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "runs").symlink_to("shared")
    (tmp_path / "shared" / "here").symlink_to(tmp_path)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {tmp_path.resolve()}/shared nfs4 rw 0 0\n")
    monkeypatch.setattr(preflight, "MOUNTS", mounts)
    assert preflight.is_on_network_disk(tmp_path / "runs" / "lr")
    assert not preflight.is_on_network_disk(tmp_path / "shared" / "here" / "lr")
