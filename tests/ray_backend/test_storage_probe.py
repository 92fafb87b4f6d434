"""Storage is tried on the nodes before a run starts: a folder that one of them does not see is refused."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytrain.errors import PreflightError
from raytrain.ray_backend import storage_probe
from raytrain.ray_backend.session import ray_session
from raytrain.ray_backend.storage_probe import check_storage
from raytrain.storage.folder import Folder

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        there = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        there.add_node(num_cpus=1)
        yield there.address
        there.shutdown()


@pytest.mark.slow
def test_a_folder_that_all_nodes_share_is_taken_and_left_as_it_was(two_nodes: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    with ray_session(two_nodes, dashboard=False):
        check_storage(Folder.at(tmp_path / "new"), more_nodes=False)
        check_storage(Folder.at(kept), more_nodes=False)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in kept.iterdir()] == ["file"]


@pytest.mark.slow
def test_a_run_whose_folder_a_node_does_not_see_is_refused(two_nodes: str, tmp_path: Path, tiny_images: Path) -> None:
    # each process sees its own working directory there, as each host sees its own disk
    command = [sys.executable, "-m", "raytrain", "train", "--out", "/proc/self/cwd/runs", "--address", two_nodes]
    fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=1"]
    done = subprocess.run(
        [*command, *(word for field in fields for word in ("--set", field))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "it does not see what is written here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "train").exists()


def test_nodes_that_are_still_to_come_would_not_see_a_local_disk(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="the cluster may add others"):
        check_storage(Folder.at(tmp_path), more_nodes=True)


@pytest.mark.parametrize(("kind", "shared"), [("nfs4", True), ("fuse.s3fs", True), ("ext4", False), ("overlay", False)])
def test_a_disk_in_the_network_is_known_by_its_mount(
    kind: str, shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home /data {kind} rw 0 0\n")
    monkeypatch.setattr(storage_probe, "MOUNTS", mounts)
    assert storage_probe.is_on_network_disk(Path("/data/runs/lr")) is shared
    assert not storage_probe.is_on_network_disk(Path("/home/runs"))
