"""A run that is killed at any moment at which it writes goes on to what it would have come to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parent / "crash_points.py"


def crash(images: str, out: Path, *runs: tuple[str, ...]) -> list[dict[str, Any]]:
    """Run the script with each of some options, side by side: a run has one thread."""
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), images, str(out / str(number)), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        for number, options in enumerate(runs)
    ]
    found = []
    try:
        for process in started:
            stdout, stderr = process.communicate()
            assert process.returncode == 0, stderr
            found.append(json.loads(stdout))
    finally:
        for process in started:
            with process:  # one that a time limit has left
                process.kill()
    return found


def test_a_run_that_is_killed_at_any_write_goes_on_to_the_results_epochs_rungs_and_table_of_an_undisturbed_one(
    tiny_images: str, tmp_path: Path
) -> None:
    for found in crash(tiny_images, tmp_path, (), ("--half",)):
        assert found["kills"] > 30
        assert found["differing"] == []


def test_seeds_that_are_added_one_by_one_are_the_same_after_a_kill(tiny_images: str, tmp_path: Path) -> None:
    for found in crash(
        tiny_images, tmp_path, ("--separate", "--every", "15"), ("--separate", "--half", "--every", "15")
    ):
        assert found["kills"] >= 3
        assert found["differing"] == []


def test_what_a_continued_run_relies_on_is_missed_when_it_is_taken_away(tiny_images: str, tmp_path: Path) -> None:
    # a report that ASHA was not asked about comes of a kill between writes, half a line of one in the middle
    runs = [("--without", "epochs_known", "--every", "4"), ("--without", "mend_last_line", "--half", "--every", "4")]
    for found in crash(tiny_images, tmp_path, *runs):
        assert found["differing"] != []
