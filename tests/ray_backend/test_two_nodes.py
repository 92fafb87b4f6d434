"""A cluster of two nodes that somebody else has started: what runs there, and what is refused before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import ClusterError
from raytrain.ray_backend import preflight
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.preflight import check_storage, judged
from raytrain.ray_backend.session import ray_session
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder
from raytrain.training.doctor import Check

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ONE_CPU = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1)


@pytest.fixture(scope="module")
def two_nodes(start_cluster: Callable[..., Any]) -> str:
    there = start_cluster(num_cpus=1)
    there.add_node(num_cpus=1)
    return str(there.address)


@pytest.fixture
def command(tiny_images: str, two_nodes: str) -> list[str]:
    fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=1"]
    return ["--address", two_nodes, *(word for field in fields for word in ("--set", field))]


@pytest.mark.usefixtures("empty_report")
def test_a_run_uses_the_cluster_at_an_address(
    command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["tune", "--grid", "lr=0.05,0.01", "--name", "grid", "--out", str(tmp_path), *command]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "2 at a time, each on 1 CPU" in caplog.messages
    assert {result.status for result in read_results(Folder.at(tmp_path / "grid"))} == {"finished"}


def test_nodes_of_other_versions_are_refused_with_both_and_a_folder_that_they_share_is_left_as_it_was(
    two_nodes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_another(name: str, said: dict[str, Any], *, here: dict[str, str]) -> Check:
        return judged(name, said, here={**here, "torch": "1.0"})

    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    with ray_session(two_nodes):
        check_storage(Folder.at(tmp_path / "new"), more_nodes=False)
        check_storage(Folder.at(kept), more_nodes=False)
        monkeypatch.setattr(preflight, "judged", by_another)
        with pytest.raises(ClusterError, match=r"torch .* there and 1\.0 here") as refused:
            preflight.refuse_unfit_nodes(ONE_CPU, Folder.at("/tmp"), address=None)
        assert refused.value.exit_code == 6
    assert not (tmp_path / "new").exists()
    assert [path.name for path in kept.iterdir()] == ["file"]


def test_a_run_whose_folder_a_node_does_not_see_is_refused(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # each process sees its own working directory there, as each host sees its own disk
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "--out", "/proc/self/cwd/runs", *command])
    assert (done.exit_code, type(done.exception)) == (3, SystemExit), done.output
    assert "it does not see files that are written here" in done.stderr
    assert not (tmp_path / "runs" / "train").exists()
