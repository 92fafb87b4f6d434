"""Tests of raytrain.cli.output: a run is stored whatever becomes of its standard output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def command(tiny_images: str) -> list[str]:
    fields = [f"dataset={tiny_images}", "image_size=8", "width=2", "batch_size=16", "val_size=8", "epochs=1"]
    words = [word for field in fields for word in ("--set", field)]
    return [sys.executable, "-m", "raytrain", "train", "--local", "--name", "x", *words]


def assert_stored(place: Path) -> None:
    for name in ("README.md", "report.html", "trials.parquet"):
        assert (place / "runs" / "x" / name).stat().st_size > 0


def test_a_reader_that_leaves_at_once_takes_nothing_from_the_run_nor_from_its_exit_code(
    command: list[str], tmp_path: Path
) -> None:
    diverging = [*command, "--set", "lr=1e30"]
    train = subprocess.Popen(diverging, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert train.stdout
    train.stdout.close()  # as `| true` does
    assert train.stderr
    said = train.stderr.read()
    train.stderr.close()
    assert train.wait() == 5, said
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert_stored(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_output_takes_nothing_from_the_run_and_is_said(command: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert_stored(tmp_path)


def test_an_output_that_cannot_show_a_character_takes_nothing_from_the_run(command: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "finished" in done.stdout.decode(errors="replace")
    assert_stored(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("words", [["fields"], ["schema"], ["baseline", "show", "student"]])
def test_a_full_output_is_one_message_and_a_closed_one_is_none(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raytrain", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    message = "raytrain: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (3, message)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
