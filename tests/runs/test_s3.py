"""Runs whose folder is in object storage: moto stands in for S3 on loopback, and is asked over HTTP as S3 would be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.runs.results import TrialResult, read_results
from raytrain.storage.folder import Folder

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

RAYTRAIN = (sys.executable, "-m", "raytrain")


@pytest.fixture(scope="module")
def bucket(s3_port: int) -> str:
    """The URI of an empty bucket, less the name of what is in it."""
    return f"s3://ours/{{}}?endpoint_override=127.0.0.1:{s3_port}&scheme=http&region=us-east-1"


@pytest.fixture
def command(tiny_images: Path) -> Callable[..., list[str]]:
    def build(out: str, *words: str) -> list[str]:
        fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=40"]
        assignments = [word for field in fields for word in ("--set", field)]
        return ["train", "--name", "lr", "--out", out, *assignments, *words]

    return build


def numbers(result: TrialResult) -> tuple[object, ...]:
    return (result.status, result.epochs, result.best_epoch, result.val_loss, result.test_loss, result.train_loss)


def asked(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.faults
@pytest.mark.usefixtures("empty_report")
@pytest.mark.timeout(900)
def test_a_run_that_was_killed_goes_on_from_what_is_in_the_bucket(
    bucket: str, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = bucket.format("killed")
    process = subprocess.Popen(
        [*RAYTRAIN, *command(out, "--local")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    there = Folder.at(out) / "lr"
    deadline = time.monotonic() + 480
    while not any(file.name.endswith("metrics.jsonl") for file in there.files()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_results(there) == []  # no trial has ended
    for again in (out, str(tmp_path)):  # the second is undisturbed
        asked(*command(again, "--local"))
    (here,) = read_results(Folder.at(tmp_path / "lr"))
    (result,) = read_results(there)
    assert numbers(result) == numbers(here)


@pytest.mark.ray
@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_workers_write_to_the_bucket_and_a_laptop_pulls_it(
    bucket: str, command: Callable[..., list[str]], tmp_path: Path
) -> None:
    words = command(bucket.format("runs"), "--set", "epochs=2")
    done = subprocess.run([*RAYTRAIN, *words], capture_output=True, text=True, timeout=360, check=False)
    assert done.returncode == 0, done.stderr
    pull = ("pull", bucket.format("runs/lr"), "--out", str(tmp_path))
    assert "had not changed" in asked(*pull)
    (result,) = read_results(Folder.at(tmp_path / "lr"))
    assert (result.status, result.epochs) == ("finished", 2)
    assert list((tmp_path / "lr" / "trials" / result.trial / "checkpoint").iterdir())
    assert "lr: 0 files copied" in asked(*pull)
    # what a laptop asks of the bucket, with no cluster up
    assert asked("results", bucket.format("runs/lr"), "--format", "csv").count("\n") == 2
    assert (tmp_path / "lr" / "report.html").read_bytes().startswith(b"<!doctype html>")
    page = tmp_path / "page.html"
    assert asked("report", bucket.format("runs/lr"), "--output", str(page)) == f"{page}\n"
    assert asked("report", bucket.format("runs/lr")).endswith("/report.html\n")
    assert "No trial was stopped early." in asked("audit", bucket.format("runs/lr"))
    model = tmp_path / "model.pth"
    assert asked("export", bucket.format("runs/lr"), "-o", str(model)) == f"{model}\n"
