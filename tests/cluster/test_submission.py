"""Tests of cluster.submission: a command is read before it is sent, and what cannot work there is refused here."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from raytrain.background import InThread
from raytrain.cli.app import app
from raytrain.cli.cluster.submit import submission_of
from raytrain.cluster import jobs as jobs_module
from raytrain.cluster.jobs import Jobs
from raytrain.cluster.package import Package
from raytrain.cluster.submission import fetch, follow_home, pull_run
from raytrain.cluster.transfer import STORED
from raytrain.errors import ClusterError, ExperimentError, JobError

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


def test_architectures_need_no_file() -> None:
    submission = read("compare", "resnet18", "resnet34", "--set", "epochs=3")
    assert [trial.recipe.arch for trial in submission.experiment.trials()] == ["resnet18", "resnet34"]
    assert submission.file is None


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
        (("comparee",), "'comparee' cannot be submitted; did you mean 'compare'\\?$"),
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


@pytest.mark.parametrize("sent", [(), ("../photos",), ("..",), ("photos/../../photos",)])
@pytest.mark.parametrize("in_file", [False, True])
def test_data_that_would_be_called_otherwise_there_is_not_sent(
    sent: tuple[str, ...], in_file: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("photos", "work/photos"):
        (here / name).mkdir(parents=True)
    monkeypatch.chdir(here / "work")
    Path("x.yaml").write_text("recipe: {dataset: ../photos}\n")
    words = ("train", "x.yaml") if in_file else ("train", "--set", "dataset=../photos")
    with pytest.raises(
        ExperimentError, match=r"where the command looks for \.\./photos\.\nRun submit from a folder above"
    ):
        read(*words, send=sent)
    monkeypatch.chdir(here)
    if in_file:  # what the message advises
        assert read("train", "work/x.yaml", send=("photos",)).send == (Path("photos"),)


def test_an_absolute_path_is_one_that_all_nodes_share_and_is_not_sent(here: Path) -> None:
    (here / "photos").mkdir()
    named = f"dataset={here / 'photos'}"
    assert read("train", "--set", named).send == ()
    for sent in (str(here / "photos"), "photos", "."):
        with pytest.raises(ExperimentError, match=r"it would be photos on the cluster, where the command looks for /"):
            read("train", "--set", named, send=(sent,))


def test_data_beside_an_experiment_file_from_elsewhere_is_sent_and_is_not_what_the_command_line_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("study/photos", "work"):
        (here / name).mkdir(parents=True)
    (here / "study" / "x.yaml").write_text("recipe: {dataset: photos}\n")
    monkeypatch.chdir(here / "work")
    with pytest.raises(ExperimentError, match=r"--send \.\./study/photos"):
        read("train", "../study/x.yaml")
    for sent in ("../study/photos", "../study", str(here / "study" / "photos")):
        assert read("train", "../study/x.yaml", send=(sent,)).send == (Path(sent),)
    with pytest.raises(ExperimentError, match=r"where the command looks for \.\./study/photos"):
        read("train", "../study/x.yaml", "--set", "dataset=../study/photos", send=("../study/photos",))


def test_an_experiment_file_by_an_absolute_path_looks_for_its_data_beside_it(here: Path) -> None:
    for name in ("exp/photos", "other"):
        (here / name).mkdir(parents=True)
    file = here / "exp" / "x.yaml"
    file.write_text("recipe: {dataset: photos}\n")
    whole = here / "exp" / "photos"
    for sent in ((), ("exp/photos",), ("exp",)):
        with pytest.raises(ExperimentError, match=f"--send {whole}"):
            read("train", str(file), send=sent)
    for sent in (whole, whole.parent):
        assert read("train", str(file), send=(str(sent),)).send == (sent,)
    for words in ((str(file), "--set", "dataset=exp/photos"), ("exp/x.yaml",)):  # these look in the working folder
        assert read("train", *words, send=("exp/photos",)).send == (Path("exp/photos"),)
    file.write_text("recipe: {dataset: ../other}\n")
    with pytest.raises(ExperimentError, match=r"where the command looks for \.\./other"):
        read("train", str(file), send=("other",))


def test_linked_data_beside_an_experiment_file_by_an_absolute_path_is_sent(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "work").mkdir()
    (here / "work" / "photos").symlink_to(here / "elsewhere")
    (here / "work" / "x.yaml").write_text("recipe: {dataset: photos}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "work")
        assert read("train", str(here / "work" / "x.yaml"), send=("photos",)).send == (Path("photos"),)


def test_curves_that_stay_behind_are_noticed(here: Path) -> None:
    (here / "bank.parquet").touch()
    text = (here / "grid.yaml").read_text() + "asha: {lose_at_most: 0.2, curves: [bank.parquet, a-run-there]}\n"
    (here / "grid.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=r"asha.curves names bank.parquet, .*\n.*--send bank.parquet"):
        read("tune", "grid.yaml")
    assert read("tune", "grid.yaml", send=("bank.parquet",)).send == (Path("bank.parquet"),)


def test_a_linked_file_in_a_folder_is_sent_with_it(here: Path) -> None:
    for name in ("data", "elsewhere"):
        (here / name).mkdir()
    for name, target in {"a": here / "elsewhere" / "a", "b": here / "data" / "c"}.items():
        target.touch()
        (here / "data" / name).symlink_to(target)
        words = ("train", "--set", f"dataset=data/{name}")
        for sent in ("data", f"data/{name}"):
            assert read(*words, send=(sent,)).send == (Path(sent),)


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


class Stranger(Ended):
    """A cluster that says of its job whatever somebody has written there."""

    def __init__(self, run: str, fetched: bytes | str = b"") -> None:
        self.run, self._fetched = run, fetched

    def fetch(self, _job: str) -> bytes | str:  # type: ignore[override]
        return self._fetched


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("./experiment.yaml"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize("run", ["../../STOLEN", "/tmp/STOLEN", "a/b", ".", "..", "-rf", "a\nb", "a b"])
def test_the_name_that_a_cluster_gives_a_run_leads_nowhere_else(run: str, here: Path) -> None:
    out = here / "below" / "runs"
    with pytest.raises(JobError, match="names no run; nothing was copied"):
        fetch(Stranger(run, archive()), "lr-1", out=str(out))  # type: ignore[arg-type]
    assert [path.name for path in here.iterdir()] == ["grid.yaml"]


def test_a_run_of_a_cluster_is_written_below_out(here: Path) -> None:
    """The twin that shows that the archive above could have been written."""
    assert fetch(Stranger("lr", archive()), "lr-1", out="runs") == Path("runs/lr")  # type: ignore[arg-type]
    assert (here / "runs" / "lr" / "experiment.yaml").is_file()


@pytest.mark.parametrize("location", ["/etc", "file:///etc", "file:/etc", "etc"])
def test_a_cluster_cannot_have_a_folder_of_this_machine_copied(location: str, here: Path) -> None:
    with pytest.raises(JobError, match="which is no URI of shared storage"):
        fetch(Stranger("lr", location), "lr-1", out="runs")  # type: ignore[arg-type]
    assert [path.name for path in here.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize(("refusals", "told"), [(2, None), (9, "No available agent to submit job, please try again")])
def test_a_job_is_submitted_again_while_the_head_has_no_agent(
    refusals: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Client:
        def list_jobs(self) -> list[SimpleNamespace]:
            return []

        def submit_job(self, *, submission_id: str, **_: object) -> None:
            asked.append(submission_id)
            if len(asked) <= refusals:
                raise RuntimeError(
                    "Request failed with status code 500: No available agent to submit job, please try again later."
                )

    monkeypatch.setattr(jobs_module, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(jobs_module, "AGENT_TIMEOUT_S", 60.0 if told is None else 0.03)
    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", Client()  # type: ignore[assignment]
    package = Package(Path("somewhere"), {})
    with contextlib.nullcontext() if told is None else pytest.raises(ClusterError, match=told):
        jobs.submit(["train"], package, job="lr-1", run="lr", out=None, install=())
    assert set(asked) == {"lr-1"}
    assert told or len(asked) == refusals + 1


def test_a_job_that_was_taken_after_all_is_not_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Client:
        def list_jobs(self) -> list[SimpleNamespace]:
            return [SimpleNamespace(submission_id=name) for name in asked]

        def submit_job(self, *, submission_id: str, **_: object) -> None:
            asked.append(submission_id)
            raise RuntimeError("No available agent to submit job, please try again later.")

    monkeypatch.setattr(jobs_module, "POLL_INTERVAL_S", 0.01)
    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", Client()  # type: ignore[assignment]
    jobs.submit(["train"], Package(Path("somewhere"), {}), job="lr-1", run="lr", out=None, install=())
    assert asked == ["lr-1"]


def test_a_log_is_followed_on_where_the_dashboard_closes_the_connection_or_a_proxy_answers_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Any = SimpleNamespace(real_url="http://127.0.0.1:1")
    lost = [
        aiohttp.ServerDisconnectedError(),
        aiohttp.WSServerHandshakeError(asked, (), status=502, message="Bad Gateway"),
        RuntimeError("WebSocket connection closed unexpectedly with close code 1006"),
    ]

    class Client:
        async def tail_job_logs(self, _job: str) -> AsyncIterator[str]:
            yield "epoch 1\n"
            if lost:
                raise lost.pop(0)
            yield "epoch 2\n"

        def list_jobs(self) -> list[SimpleNamespace]:
            done = SimpleNamespace(value="SUCCEEDED")
            times = {"start_time": 1000, "end_time": 2000, "message": "", "driver_exit_code": 0}
            return [SimpleNamespace(submission_id="lr-1", status=done, metadata={}, entrypoint="", **times)]

    monkeypatch.setattr(jobs_module, "POLL_INTERVAL_S", 0.01)
    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", Client()  # type: ignore[assignment]
    shown: list[str] = []
    assert jobs.follow("lr-1", shown.append).status == "SUCCEEDED"
    assert ("".join(shown), lost) == ("epoch 1\nepoch 2\n", [])


def test_what_answers_and_is_no_http_is_no_dashboard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        call = InThread(answer)
        with pytest.raises(ClusterError, match="answers, but not as a Ray dashboard"):
            Jobs(f"http://127.0.0.1:{server.getsockname()[1]}")
        call.result()


@pytest.mark.parametrize(
    ("out", "place"),
    [
        (None, '"${RAYTRAIN_OUT:-$HOME/raytrain-runs}"/lr'),
        ("/nfs/runs of all", "'/nfs/runs of all'/lr"),
        ("s3://b/r;reboot", "'s3://b/r;reboot'/lr"),
    ],
)
def test_a_run_folder_is_fetched_from_where_its_command_wrote_it(out: str | None, place: str) -> None:
    started: list[dict[str, Any]] = []

    class Client:
        def list_jobs(self) -> list[SimpleNamespace]:
            return [self.get_job_info(one["submission_id"]) for one in started]

        def submit_job(self, **all_: Any) -> None:
            started.append(all_)

        def get_job_info(self, job: str) -> SimpleNamespace:
            (one,) = [one for one in started if one["submission_id"] == job]
            ended = {"start_time": 1000, "end_time": 2000, "message": "", "driver_exit_code": 0}
            status = SimpleNamespace(value="SUCCEEDED")
            return SimpleNamespace(status=status, **ended, **one)

        def get_job_logs(self, _job: str) -> str:
            return f"{STORED}s3://b/r/lr\n"

        def delete_job(self, _job: str) -> None: ...

    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", Client()  # type: ignore[assignment]
    jobs.submit(["train"], Package(Path("somewhere"), {}), job="lr-1", run="lr", out=out, install=())
    assert jobs.fetch("lr-1") == "s3://b/r/lr"
    assert started[-1]["entrypoint"].endswith(f" raytrain.cluster.transfer {place}")


@pytest.mark.slow
def test_no_file_of_the_users_is_on_the_import_path_of_a_job(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sitecustomize.py", "json.py", "typer.py"):
        (here / name).write_text("raise SystemExit('code of the working folder was run')")
    (here / "raytrain").mkdir()
    (here / "raytrain" / "__init__.py").write_text("raise SystemExit('code of the working folder was run')")
    monkeypatch.setenv("PYTHONPATH", str(here))
    monkeypatch.setattr(Jobs, "all", lambda _: [])
    asked: list[dict[str, Any]] = []
    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", SimpleNamespace(submit_job=lambda **all_: asked.append(all_))
    with read("compare", "quick", send=(".",)).package() as package:
        jobs.submit(["--version"], package, job="x-1", run="x", out="there", install=())
        (submitted,) = asked
        assert "PYTHONPATH" not in submitted["runtime_env"]["env_vars"]
        # what Ray does with the package on a node
        environment = {"PYTHONPATH": str(package.folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        there = {"cwd": package.folder, "env": environment, "capture_output": True, "text": True, "check": False}
        started = subprocess.run(["sh", "-c", submitted["entrypoint"]], **there)
        worker = subprocess.run(["python", "-c", "import json, raytrain; print(raytrain.__file__)"], **there)
    assert started.stdout.startswith("raytrain "), started.stderr
    assert worker.stdout == f"{package.folder}/raytrain/__init__.py\n", worker.stderr


@pytest.mark.parametrize("run", ["/tmp/..", "there/.."])
def test_a_path_without_the_name_of_a_run_cannot_be_pulled(run: str) -> None:
    with pytest.raises(ExperimentError, match="it ends in the run's name"):
        pull_run(run, out="runs", address=None, insecure=False)


def test_a_run_is_copied_to_no_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / "mine").mkdir(parents=True)
    (tmp_path / "elsewhere" / "mine" / "experiment.yaml").write_text("")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    out = ["--out", "s3://bucket/runs"]
    for words in (["pull", "../elsewhere/mine", *out], ["pull", "job", *out], ["submit", *out, "train", "-"]):
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 2
        assert "is s3://bucket/runs, a URI" in ended.output
        assert "give --out DIR" in ended.output
    assert not list((tmp_path / "here").iterdir())


def test_the_name_of_a_run_is_quoted_in_the_shell_of_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[str] = []

    about = {"run": "x; touch stolen; $(touch stolen) `touch stolen`"}

    class Client:
        def list_jobs(self) -> list[SimpleNamespace]:
            done = SimpleNamespace(value="SUCCEEDED")
            details = {
                "status": done,
                "metadata": about,
                "start_time": 1,
                "end_time": 2,
                "entrypoint": "",
                "message": "",
            }
            names = ["lr-1", *(["lr-1-fetch-000000"] if started else [])]
            return [SimpleNamespace(submission_id=name, driver_exit_code=0, **details) for name in names]

        def submit_job(self, *, entrypoint: str, **_: object) -> None:
            started.append(entrypoint)

        def get_job_logs(self, _job: str) -> str:
            return f"{STORED}s3://bucket/lr\n"

        def get_job_info(self, _job: str) -> SimpleNamespace:
            return SimpleNamespace(runtime_env={}, metadata=about)

        def delete_job(self, _job: str) -> None: ...

    monkeypatch.setattr(os, "urandom", bytes)
    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:1", Client()  # type: ignore[assignment]
    assert jobs.fetch("lr-1") == "s3://bucket/lr"
    script = started[0].replace("exec python -P -m raytrain.cluster.transfer", "printf %s")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={"HOME": "/home/me"})
    assert done.stdout == "/home/me/raytrain-runs/x; touch stolen; $(touch stolen) `touch stolen`"
    assert not (tmp_path / "stolen").exists()
