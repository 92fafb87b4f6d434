"""A short soak: workers killed at random while a sweep runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.faults
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_two_minutes_of_random_kills_change_no_number_and_leave_nothing(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    options = ["--minutes", "2", "--every", "10", "--compared", "2", "--output", str(record)]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text())
    assert found["details"]["kills"] >= 3
    assert found["details"]["restarts"] >= 3
    assert [target["what"] for target in found["targets"] if not target["met"]] == []
