"""A run that is killed at any moment at which it writes goes on to what it would have come to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).parent / "crash_points.py"


def crash(images: str, out: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), images, str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_that_is_killed_at_any_write_goes_on_to_the_results_epochs_rungs_and_table_of_an_undisturbed_one(
    tiny_images: str, tmp_path: Path
) -> None:
    found = crash(tiny_images, tmp_path)
    assert found["kills"] > 60
    assert found["differing"] == []


@pytest.mark.parametrize("lacking", ["heard", "mend"])
def test_what_a_continued_run_relies_on_is_missed_when_it_is_taken_away(
    tiny_images: str, tmp_path: Path, lacking: str
) -> None:
    assert crash(tiny_images, tmp_path, "--without", lacking, "--every", "4")["differing"] != []
