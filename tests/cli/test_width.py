"""Tests of the width of tables: in a terminal of 80 columns they have no line that is wider, and no word is broken."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from raytrain.cli.cluster.cluster import job_table
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.yaml_source import dump_yaml

WIDTH = 80


def in_a_terminal(*words: str, width: int = WIDTH) -> list[str]:
    """Return the lines that a command prints in a terminal of `width` columns."""
    mine, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "raytrain", *words]
    with subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, env=environment, text=True) as process:
        os.close(its)
        read = b""
        while part := _read(mine):
            read += part
        os.close(mine)
        assert process.stderr
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    return read.decode().splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end was closed
        return b""


def test_a_baseline_fits_the_terminal() -> None:
    lines = in_a_terminal("baseline", "show", "student")
    assert max(map(len, lines)) <= WIDTH
    assert any("claimed" in line for line in lines[:6])
    assert max(map(len, in_a_terminal("baseline", "show", "student", width=200))) > WIDTH


def test_an_audit_fits_the_terminal() -> None:
    tables = [line for line in in_a_terminal("audit", "--baseline", "student") if not line[:1].isalnum()]
    assert len(tables) > 3
    assert max(map(len, tables)) <= WIDTH


def test_the_trials_of_a_plan_fit_the_terminal() -> None:
    changes = [f"--set={one}" for one in ("lr=0.01234567", "weight_decay=0.001234567")]
    lines = in_a_terminal("plan", "compare", "--list", *changes, "--seeds", "0,1")
    assert max(map(len, lines)) <= WIDTH


def test_the_difference_of_two_runs_fits_the_terminal(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for place, folder in enumerate(folders):
        fields = {"dataset": f"{'a-folder-of-images-' * 3}{place}", "lr": 0.1 + place}
        experiment = Experiment.model_validate({"name": folder.name, "recipe": fields})
        folder.mkdir()
        (folder / "experiment.yaml").write_text(dump_yaml(experiment.model_dump(mode="json")))
        (folder / "manifest.json").write_text(json.dumps({"data": {}, "inputs": [], "seeds": [], "sessions": []}))
    lines = in_a_terminal("diff", *map(str, folders))
    assert any("1.1" in line for line in lines)
    assert max(map(len, (line for line in lines if not line[:1].isalnum()))) <= WIDTH


def test_jobs_fit_the_terminal() -> None:
    words = " ".join(f"--set=field{place}=value" for place in range(20))
    job = {"id": "raytrain-20261129-101010", "status": "SUCCEEDED", "exit_code": 0, "started": 1.7e9}
    job |= {"ended": 1.7e9 + 100, "command": f"raytrain compare quick {words}", "seconds": 100.0}
    lines = job_table([job], width=WIDTH).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "--set=field7=value" in "".join(lines).replace(" ", "")
