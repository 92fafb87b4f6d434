"""Commands as jobs, on a real head with a token: submitted, followed, stopped, refused, and their run folders home."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.heavy]

TOKEN = "0123456789abcdef" * 4


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's address of a cluster of one node, as `ray start` makes it."""
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


@pytest.fixture
def raytrain(head: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command at home, in an empty folder, with the token and the address in the environment."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        given = {"RAY_API_SERVER_ADDRESS": head, "RAY_AUTH_TOKEN": TOKEN, "HOME": str(tmp_path), **environment}
        return subprocess.run(
            [sys.executable, "-m", "raytrain", *words],
            env=kept | given,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture
def command(tiny_images: Path) -> list[str]:
    """A training run of a second; the images lie where this one-node cluster sees them."""
    fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=2"]
    return ["train", *(word for field in fields for word in ("--set", field))]


def test_a_job_is_followed_and_its_run_folder_comes_home(
    raytrain: Callable[..., Any], command: list[str], tmp_path: Path
) -> None:
    done = raytrain("submit", "--name", "first", "--", *command, "--name", "one")
    assert done.returncode == 0, done.stderr
    assert "started" in done.stderr  # the job's own log
    assert "the run folder was copied to runs/one" in done.stderr
    (result,) = read_results(Folder.at(tmp_path / "runs" / "one"))
    assert result.status == "finished"
    assert (tmp_path / "runs/one/trials" / result.trial / "metrics.jsonl").read_text().count("\n") == 2
    assert (tmp_path / "runs/one/report.html").read_text().startswith("<!doctype html>")
    manifest = json.loads((tmp_path / "runs/one/manifest.json").read_text())
    assert manifest["sessions"]
    (job,) = (job for job in json.loads(raytrain("jobs", "--json").stdout)["jobs"] if job["id"] == "first")
    assert (job["status"], job["exit_code"], job["run"]) == ("SUCCEEDED", 0, "one")
    assert job["command"].startswith("raytrain train")
    assert "SUCCEEDED" in raytrain("jobs").stdout
    assert "started" in raytrain("logs", "first").stdout
    # again: the head kept the run, so nothing is trained
    again = raytrain("submit", "--", *command, "--name", "one")
    assert "nothing was trained" in again.stderr
    assert again.returncode == 0


def test_a_job_ends_with_the_exit_code_of_its_command(raytrain: Callable[..., Any], command: list[str]) -> None:
    large = ["--set", "image_size=64"]  # of which one image for each worker is enough
    done = raytrain("submit", "--json", "--", *command, *large, "--name", "big", "--workers", "16")
    assert done.returncode == 3
    assert "no trial fits" in done.stderr
    assert "left no run folder" in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 3


def test_a_stopped_job_saves_its_trials_and_ends_with_7(
    raytrain: Callable[..., Any], command: list[str], tmp_path: Path
) -> None:
    long = ["--set", "epochs=100000", "--name", "long"]
    started = raytrain("submit", "--detach", "--name", "long", "--json", "--", *command, *long)
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["status"] in {"PENDING", "RUNNING"}
    wait_until(lambda: re.search(r"epoch \d", raytrain("logs", "long").stdout) is not None, seconds=90)
    taken = raytrain("submit", "--name", "long", "--", *command)
    assert taken.returncode == 2
    assert "there is already a job 'long'" in taken.stderr
    assert json.loads(raytrain("stop", "long", "--json").stdout)["status"] == "STOPPED"
    followed = raytrain("logs", "-f", "long")
    assert followed.returncode == 7
    assert "The same command continues the run." in followed.stdout
    pulled = raytrain("pull", "long")
    assert pulled.returncode == 0, pulled.stderr
    (metrics,) = (tmp_path / "runs" / "long" / "trials").glob("*/metrics.jsonl")
    assert metrics.read_text().count("\n") >= 1
    assert read_results(Folder.at(tmp_path / "runs" / "long")) == []  # no trial has ended


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


def test_code_of_the_users_is_trained_by_a_job_and_used_in_another_folder(
    raytrain: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.yaml").write_text(
        "recipe: {arch: mine.py:Net, dataset: mine.py:squares, augment: [mine.py:inverted], schedule: mine.py:steps, "
        "image_size: 8, width: 4, epochs: 1}\n"
    )
    done = raytrain("submit", "--name", "mine", "--", "train", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = read_results(Folder.at(tmp_path / "runs" / "mine"))
    assert (result.status, result.error) == ("finished", None)
    (tmp_path / "mine.py").rename(tmp_path / "gone.py")
    (tmp_path / "fresh").mkdir()
    exported = raytrain("export", "mine", "-o", "fresh/model.pth")
    assert exported.returncode == 0, exported.stderr
    Image.new("RGB", (8, 8)).save(tmp_path / "fresh" / "photo.png")
    refused = raytrain("predict", "fresh/model.pth", "fresh/photo.png")
    assert (refused.returncode, "mine.py (" in refused.stderr) == (2, True), refused.stderr
    predicted = raytrain("predict", "fresh/model.pth", "fresh/photo.png", "--allow-code", "--json")
    assert len(json.loads(predicted.stdout)["images"][0]["classes"]) == 2, predicted.stderr


@pytest.mark.parametrize("words", [("jobs",), ("submit", "--", "compare", "quick")])
def test_a_wrong_token_is_refused(raytrain: Callable[..., Any], words: tuple[str, ...]) -> None:
    done = raytrain(*words, RAY_AUTH_TOKEN="f" * 64)
    assert done.returncode == 6
    assert "refused the token" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_token_is_refused(raytrain: Callable[..., Any]) -> None:
    done = raytrain("jobs", RAY_AUTH_TOKEN="")
    assert done.returncode == 6
    assert "refused the token" in done.stderr


@pytest.mark.parametrize(
    "words", [("logs", "nobody"), ("logs", "-f", "nobody"), ("stop", "nobody"), ("pull", "nobody")]
)
def test_a_job_that_is_not_there_is_refused(raytrain: Callable[..., Any], words: tuple[str, ...]) -> None:
    done = raytrain(*words)
    assert done.returncode == 2
    assert "there is no job 'nobody'" in done.stderr
