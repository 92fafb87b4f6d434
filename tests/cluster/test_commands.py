"""The commands as a user runs them, through Ray, killed and continued."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.reading import read_experiment
from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RATES = "[0.05, 0.01, 1.0e+9]"
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "grid.yaml"
    path.write_text(
        f"recipe: {{dataset: {tiny_images}, image_size: 8, width: 2, epochs: 30, batch_size: 8, val_size: 0.2}}\n"
        f"grid: {{lr: {RATES}}}\n"
        "resources: {cpus_per_worker: 1}\n"
    )
    return path


@pytest.fixture
def undisturbed(experiment: Path, tmp_path: Path) -> list[dict[str, object]]:
    """What the experiment comes to without Ray and without a kill."""
    out = tmp_path / "undisturbed"
    run(read_experiment(experiment), RunOptions(out=str(out), local=True))
    return outcomes(out)


def start(experiment: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    # -P: as the command `raytrain` does, it imports nothing from the folder in which it is started
    command = [sys.executable, "-P", "-m", "raytrain", "tune", "--grid", str(experiment), "--out", str(out), *options]
    environment = {**os.environ, "COLUMNS": "200"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=out.parent
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    """End what a test that failed has left running: it would take the cores from the next."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def wait_for_epochs(out: Path, epochs: int) -> None:
    """Return when the trials have reported so many epochs together."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if sum(path.read_text().count("\n") for path in out.glob("grid/trials/*/metrics.jsonl")) >= epochs:
            return
        time.sleep(0.05)
    raise AssertionError("no trial has reported in three minutes")


def outcomes(out: Path) -> list[dict[str, object]]:
    """Return all of the results but how long they took and how often they were started."""
    results = sorted(read_results(Folder.at(out / "grid")), key=lambda result: result.trial)
    return [{k: v for k, v in vars(result).items() if k not in {"seconds", "attempts"}} for result in results]


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("empty_report")
def test_a_run_that_was_killed_goes_on_to_the_numbers_of_an_undisturbed_one(
    experiment: Path, undisturbed: list[dict[str, object]], tmp_path: Path
) -> None:
    for module in ("numpy", "random", "torch"):  # nothing of the working folder is run, not in Ray's workers either
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit")
    first = start(experiment, tmp_path / "out")
    wait_for_epochs(tmp_path / "out", 5)
    first.kill()
    first.communicate(timeout=180)
    assert "finished" not in {result["status"] for result in outcomes(tmp_path / "out")}
    # one diverged, the others finish: exit code 4
    again = start(experiment, tmp_path / "out", "--json")
    printed, said = again.communicate(timeout=360)
    assert again.returncode == 4, said
    assert not [line for line in said.splitlines() if line.startswith(("[", "("))], "Ray's own log lines show"
    assert {row["status"] for row in json.loads(printed)["trials"]} == {"finished", "diverged"}
    for folder in (tmp_path / "out" / "grid" / "trials").iterdir():
        epochs = [row["epoch"] for row in read_lines(Folder.at(folder), "metrics.jsonl")]
        assert epochs == list(range(1, len(epochs) + 1))
    assert outcomes(tmp_path / "out") == undisturbed
    assert not (tmp_path / "ran").exists()


def refusal(experiment: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["tune", "--grid", str(experiment), "--out", str(out), *options])


def test_what_does_not_fit_the_machine_is_refused_before_ray_starts_and_leaves_nothing(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("COLUMNS", "200")
    cores = os.cpu_count() or 1
    too_much = ("--workers", str(8 * cores), "--set", f"batch_size={16 * cores}")
    refused = refusal(experiment, tmp_path / "out", *too_much)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert f"one needs {8 * cores} × (1 CPU); there are {cores} CPUs" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert "starting Ray" not in caplog.text


def test_a_cluster_that_is_not_there_is_said_so(
    experiment: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    refused = refusal(experiment, tmp_path / "out", "--address", "127.0.0.1:1")
    assert refused.exit_code == 6
    assert "connecting to Ray at 127.0.0.1:1" in caplog.text  # where "starting Ray" would stand, too
    assert "the Ray cluster at 127.0.0.1:1 cannot be used" in refused.stderr
    assert not (tmp_path / "out").exists()
