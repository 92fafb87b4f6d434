"""Tests of cluster.submission: a command is read before it is sent, and what cannot work there is refused here."""

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from raytrain.cli.app import app
from raytrain.cli.submit import submission_of
from raytrain.cluster.submission import follow_home, pull_run
from raytrain.errors import ExperimentError, JobError

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text("name: lr\nrecipe: {dataset: digits, image_size: 8}\ngrid: {lr: [0.1, 0.2]}\n")
    return tmp_path


def read(*words: str, name: str | None = None, send: tuple[str, ...] = (), install: bool = False) -> Any:
    context = get_command(app).make_context("raytrain", ["jobs"])
    return submission_of(context, words, name=name, send=[Path(path) for path in send], install=install)


def test_the_experiment_is_read_with_what_the_command_changes() -> None:
    submission = read("tune", "--grid", "grid.yaml", "--set", "epochs=3", "--seeds", "0,1", "--name", "mine")
    trials = submission.experiment.trials()
    assert submission.experiment.name == "mine"
    assert len(trials) == 4
    assert {trial.recipe.epochs for trial in trials} == {3}
    assert submission.file == Path("grid.yaml")
    assert submission.job.startswith("mine-")


def test_raytrain_itself_may_stand_before_the_command() -> None:
    assert read("raytrain", "compare").arguments == ("compare",)


def test_a_shipped_experiment_needs_no_file() -> None:
    submission = read("compare", "quick")
    assert submission.experiment.name == "quick"
    assert submission.file is None


def test_the_package_holds_the_experiment_and_what_is_to_be_sent(here: Path) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "cat.png").write_bytes(b"png")
    with read("tune", "--grid", "grid.yaml", send=("photos",)).package() as package:
        assert {"grid.yaml", "photos/cat.png", "raytrain/cli/app.py"} <= set(package.sizes)
        folder = package.folder
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("results",), "'results' cannot be submitted; choose one of compare, tune, train"),
        (("raytrain",), "'nothing' cannot be submitted"),
        (("compare", "--local"), "leave --local out"),
        (("compare", "--address", "10.0.0.1:6379"), "leave --address out"),
        (("compare", "--out", "here"), "--out here would be lost with the job"),
        (("compare", "--set", "lr=fast"), "must be a number"),
    ],
)
def test_what_cannot_run_there_is_refused_here(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        read(*words)


def test_an_address_in_the_environment_is_no_option_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert read("compare").out is None


@pytest.mark.parametrize("out", ["s3://bucket/runs", "/shared/runs"])
def test_a_folder_that_the_cluster_sees_is_where_the_run_stays(out: str) -> None:
    assert read("compare", "--out", out).out == out


def test_data_that_stays_behind_is_noticed(here: Path) -> None:
    (here / "photos").mkdir()
    with pytest.raises(ExperimentError, match="--send photos"):
        read("train", "--set", "dataset=photos")
    assert read("train", "--set", "dataset=photos", send=("photos",)).send == (Path("photos"),)


@pytest.mark.parametrize("name", ["a/b", "", "-x", "a b", "x" * 101])
def test_a_jobs_name_can_be_typed(name: str) -> None:
    if not name:
        assert read("compare", name=name).job.startswith("compare-")
        return
    with pytest.raises(ExperimentError, match="use at most 100 letters"):
        read("compare", name=name)


def test_what_is_installed_leaves_ray_and_torch_to_the_nodes() -> None:
    required = read("compare", install=True).install
    assert any(one.startswith("typer") for one in required)
    assert not any(one.startswith(("ray[", "ray>", "torch", "kornia", "pytest")) for one in required)
    assert read("compare").install == ()


class Ended:
    """A job as `follow_home` sees it, and the cluster it ran on."""

    id, run, message, status, exit_code = "lr-1", "lr", "no such image", "FAILED", None

    def get(self, _job: str) -> "Ended":
        return self

    def fetch(self, _job: str) -> bytes:
        raise JobError("the job lr-1 left no run folder on the cluster")


def test_a_job_that_never_ran_says_why() -> None:
    said: list[str] = []
    follow_home(Ended(), read("compare"), Ended(), out="runs", say=said.append)  # type: ignore[arg-type]
    assert said == ["the job lr-1 did not run: no such image", "the job lr-1 left no run folder on the cluster"]


def test_a_run_in_shared_storage_is_pulled_under_its_name(here: Path) -> None:
    there = here / "there" / "lr"
    there.mkdir(parents=True)
    (there / "experiment.yaml").write_text("name: lr\n")
    folder, pulled = pull_run(f"file://{there}", out="runs", address=None, insecure=False)
    assert folder == Path("runs/lr")
    assert pulled == {"files": 1, "size": 9, "unchanged": 0}
    assert (here / "runs/lr/experiment.yaml").is_file()
