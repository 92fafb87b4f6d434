"""Commands as jobs, on a real head with a token: submitted, followed, stopped, refused, and their run folders home."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.cluster import jobs
from raytrain.ray_backend.internals import driver
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef" * 4


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's address of a cluster of one node, as `ray start` makes it, but for two of its processes."""
    home = tmp_path_factory.mktemp("home")
    port, dashboard, client, agent = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="rj-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
                *("--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={scratch}", "--num-gpus=0"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
                *(f"--dashboard-agent-listen-port={agent}", "--object-store-memory=100000000"),
                *("--no-monitor", "--include-log-monitor=false"),  # two processes less, which jobs do not need
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{dashboard}"
        try:
            wait_until(lambda: answers(address), seconds=60)
            yield address
        finally:
            driver.reread_environment()  # `Commands` has had Ray read another one
            process.terminate()  # only this one: it ends those that it started
            with contextlib.suppress(subprocess.TimeoutExpired):  # on a busy machine; how Ray ends is not tested here
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(address: str) -> bool:
    request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        return urllib.request.urlopen(request, timeout=2).status == 200
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


class Commands:
    """Runs commands in this process, in a home of their own, with the token and the address in the environment."""

    def __init__(self, head: str, home: Path) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = {**kept, "RAY_API_SERVER_ADDRESS": head, "RAY_AUTH_TOKEN": TOKEN, "HOME": str(home)}

    def __call__(self, *words: str, **environment: str) -> Result:
        token = {"RAY_AUTH_MODE": "token"}  # which a process of its own would set before it imports Ray
        with (
            patch.dict(os.environ, self.environment | token | environment, clear=True),
            contextlib.chdir(self.home),
            patch.object(jobs, "POLL_INTERVAL_S", 0.2),
        ):
            driver.reread_environment()
            return CliRunner().invoke(app, words)


@pytest.fixture
def raytrain(head: str, tmp_path: Path) -> Commands:
    """Return what runs commands in an empty folder."""
    return Commands(head, tmp_path)


@pytest.fixture
def command(tiny_images: Path) -> list[str]:
    """A training run of a second; the images lie where this one-node cluster sees them."""
    fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=2"]
    return ["train", *(word for field in fields for word in ("--set", field))]


@dataclass
class Submitted:
    """A job that was submitted and followed to its end.

    Attributes:
        command: Its command, as it was given.
        done: What `raytrain submit`, a process of its own, printed, and its exit code.
        raytrain: What runs further commands in the folder to which the run folder came home.
    """

    command: tuple[str, ...]
    done: subprocess.CompletedProcess[str]
    raytrain: Commands


MINE = """
import numpy
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, *, width):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.body(images).relu().mean((2, 3)))


def inverted(images):
    return 255 - images


def steps(progress):
    return 1.0 if progress < 0.5 else 0.1


def squares():
    labels = numpy.arange(64) % 2
    return (numpy.ones((64, 8, 8)) * (100 * labels + numpy.arange(64))[:, None, None]).astype("uint8"), labels
"""


@pytest.fixture(scope="module")
def first(head: str, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """A job that trains code of the user's; not to be changed. Each job takes some twenty seconds."""
    raytrain = Commands(head, tmp_path_factory.mktemp("laptop"))
    (raytrain.home / "mine.py").write_text(MINE)
    (raytrain.home / "mine.yaml").write_text(
        "recipe: {arch: mine.py:Net, dataset: mine.py:squares, augment: [mine.py:inverted], schedule: mine.py:steps, "
        "image_size: 8, width: 4, epochs: 2}\n"
    )
    command = ("train", "mine.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "raytrain", "submit", "--name", "first", "--", *command],
        env=raytrain.environment,
        cwd=raytrain.home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Submitted(command, done, raytrain)


def test_a_job_is_followed_and_its_run_folder_comes_home(first: Submitted) -> None:
    done, raytrain, home = first.done, first.raytrain, first.raytrain.home
    assert done.returncode == 0, done.stderr
    assert "started" in done.stderr  # the job's own log
    assert "the run folder was copied to runs/mine" in done.stderr
    (result,) = read_results(Folder.at(home / "runs" / "mine"))
    assert (result.status, result.error) == ("finished", None)
    assert (home / "runs/mine/trials" / result.trial / "metrics.jsonl").read_text().count("\n") == 2
    assert (home / "runs/mine/report.html").read_text().startswith("<!doctype html>")
    manifest = json.loads((home / "runs/mine/manifest.json").read_text())
    assert manifest["sessions"]
    (job,) = (job for job in json.loads(raytrain("jobs", "--json").stdout)["jobs"] if job["id"] == "first")
    assert (job["status"], job["exit_code"], job["run"]) == ("SUCCEEDED", 0, "mine")
    assert job["command"].startswith("raytrain train")
    assert "SUCCEEDED" in raytrain("jobs").stdout
    assert "started" in raytrain("logs", "first").stdout
    # again: the head kept the run, so nothing is trained
    again = raytrain("submit", "--", *first.command)
    assert "nothing was trained" in again.stderr
    assert again.exit_code == 0


def test_code_of_the_users_that_a_job_has_trained_is_used_in_another_folder(first: Submitted, tmp_path: Path) -> None:
    raytrain = copy(first.raytrain)
    raytrain.home = tmp_path / "laptop"
    shutil.copytree(first.raytrain.home, raytrain.home)
    (raytrain.home / "mine.py").rename(raytrain.home / "gone.py")
    (raytrain.home / "fresh").mkdir()
    exported = raytrain("export", "mine", "-o", "fresh/model.pth")
    assert exported.exit_code == 0, exported.output
    Image.new("RGB", (8, 8)).save(raytrain.home / "fresh" / "photo.png")
    refused = raytrain("predict", "fresh/model.pth", "fresh/photo.png")
    assert (refused.exit_code, "mine.py (" in refused.stderr) == (2, True), refused.output
    predicted = raytrain("predict", "fresh/model.pth", "fresh/photo.png", "--allow-code", "--json")
    assert len(json.loads(predicted.stdout)["images"][0]["classes"]) == 2, predicted.output


def test_a_job_ends_with_the_exit_code_of_its_command(raytrain: Commands, command: list[str]) -> None:
    large = ["--set", "image_size=64"]  # of which one image for each worker is enough
    done = raytrain("submit", "--json", "--", *command, *large, "--name", "big", "--workers", "16")
    assert done.exit_code == 3, done.output
    assert "no trial fits" in done.stderr
    assert "left no run folder" in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 3


def test_a_stopped_job_saves_its_trials_and_ends_with_7(raytrain: Commands, command: list[str]) -> None:
    long = ["--set", "epochs=100000", "--name", "long"]
    started = raytrain("submit", "--detach", "--name", "long", "--json", "--", *command, *long)
    assert started.exit_code == 0, started.output
    assert json.loads(started.stdout)["status"] in {"PENDING", "RUNNING"}
    wait_until(lambda: re.search(r"epoch \d", raytrain("logs", "long").stdout) is not None, seconds=90)
    taken = raytrain("submit", "--name", "long", "--", *command)
    assert taken.exit_code == 2
    assert "there is already a job 'long'" in taken.stderr
    assert json.loads(raytrain("stop", "long", "--json").stdout)["status"] == "STOPPED"
    followed = raytrain("logs", "-f", "long")
    assert followed.exit_code == 7
    assert "The same command continues the run." in followed.stdout
    pulled = raytrain("pull", "long")
    assert pulled.exit_code == 0, pulled.output
    (metrics,) = (raytrain.home / "runs" / "long" / "trials").glob("*/metrics.jsonl")
    assert metrics.read_text().count("\n") >= 1
    assert read_results(Folder.at(raytrain.home / "runs" / "long")) == []  # no trial has ended


@pytest.mark.parametrize("words", [("jobs",), ("submit", "--", "compare", "quick")])
def test_a_wrong_token_is_refused(raytrain: Commands, words: tuple[str, ...]) -> None:
    done = raytrain(*words, RAY_AUTH_TOKEN="f" * 64)
    assert (done.exit_code, type(done.exception)) == (6, SystemExit)
    assert "refused the token" in done.stderr


def test_a_missing_token_is_refused(raytrain: Commands) -> None:
    done = raytrain("jobs", RAY_AUTH_TOKEN="")
    assert done.exit_code == 6
    assert "refused the token" in done.stderr


@pytest.mark.parametrize(
    "words", [("logs", "nobody"), ("logs", "-f", "nobody"), ("stop", "nobody"), ("pull", "nobody")]
)
def test_a_job_that_is_not_there_is_refused(raytrain: Commands, words: tuple[str, ...]) -> None:
    done = raytrain(*words)
    assert done.exit_code == 2
    assert "there is no job 'nobody'" in done.stderr
