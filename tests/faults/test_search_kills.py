"""Searches under each sampler and each mode of ASHA are killed and interrupted, and continue as promised."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

SCRIPT = Path(__file__).parent / "search_kills.py"


def faults_of(out: Path, *words: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(out), *words], capture_output=True, text=True, check=False, timeout=3500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("sampler", ["grid", "random", "sobol", "tpe"])
def test_a_local_search_ends_as_if_it_had_not_been_interrupted_in_every_mode(tmp_path: Path, sampler: str) -> None:
    modes = ["none", "stop", "promote", *(["lose_at_most"] if sampler != "tpe" else [])]
    names = [f"{sampler}-{mode}" for mode in modes]
    assert faults_of(tmp_path, *names) == {name: [] for name in names}


@pytest.mark.ray
@pytest.mark.parametrize("name", ["grid-none", "random-stop", "tpe-promote", "sobol-lose_at_most"])
def test_a_search_on_ray_keeps_its_trials_epochs_and_decisions_when_it_is_interrupted(
    tmp_path: Path, name: str
) -> None:
    assert faults_of(tmp_path, "--ray", name) == {name: []}


def test_tpe_is_refused_where_a_loss_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("asha: {lose_at_most: 1}\n")
    words = ["tune", str(file), "--grid", "lr=log:1e-3:1", "--samples", "12", "--sampler", "tpe", "--local"]
    done = subprocess.run(
        [sys.executable, "-m", "raytrain", *words, "--set", "dataset=digits", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "tpe" in done.stderr
    assert "lose_at_most" in done.stderr
    assert "Traceback" not in done.stderr
