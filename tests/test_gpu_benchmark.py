"""Tests of benchmarks/gpu.py: its steps, their record, and what it does without a GPU or without time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow  # imports torchvision, too

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return gpu


@pytest.fixture
def start(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Return a function that starts the script with tiny sizes; its record is record.json in `tmp_path`."""

    def started(*words: str) -> int:
        usual = ["gpu.py", "--tiny", "--output", str(tmp_path / "record.json"), "--runs", str(tmp_path / "runs")]
        monkeypatch.setattr("sys.argv", [*usual, *words])
        return gpu.main()

    return started


@pytest.fixture
def steps_of(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Return a function that reads the steps of the record."""
    return lambda: json.loads((tmp_path / "record.json").read_text())["details"]["steps"]


TRAINING = {
    "kind": "training",
    "what": "fast.yaml",
    "epochs": 10,
    "test accuracy": 0.93,
    "test accuracy with TTA": None,
    "seconds of training": 3.0,
    "seconds from Enter to the end": 9.0,
}


def test_without_a_gpu_the_script_says_so_and_ends_with_3(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    assert gpu.main() == 3
    assert "There is no NVIDIA GPU here" in capsys.readouterr().err


def test_the_steps_stand_in_the_order_of_their_importance(gpu: ModuleType) -> None:
    kinds = [step.func.__name__ for step in gpu.STEPS.values()]
    assert list(gpu.STEPS)[:2] == ["fast", "accurate"]
    assert kinds == ["trained"] * 2 + ["against_the_student"] * 4 + ["loop_alone"] * 7


def test_a_session_that_ends_early_keeps_its_steps_and_the_next_one_makes_the_others(
    gpu: ModuleType, start: Callable[..., int], steps_of: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(name: str, _: Any) -> dict[str, Any]:
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"error": "exit code 1: no memory"} if name == "fast" else {**TRAINING, "what": f"{name}.yaml"}

    monkeypatch.setattr(gpu, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert list(steps_of()) == ["fast", "accurate"]
    assert start() == 4
    assert asked[3:] == [*list(gpu.STEPS)[2:], "fast"]
    assert list(steps_of()) == list(gpu.STEPS)


def test_a_step_without_time_is_left_for_the_next_session(
    gpu: ModuleType,
    start: Callable[..., int],
    steps_of: Callable[[], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu, "measured", lambda name, _: dict(TRAINING) if name == "fast" else None)
    assert start("--steps", "fast", "accurate") == 8
    assert "The same command goes on with: accurate" in capsys.readouterr().err
    assert list(steps_of()) == ["fast"]
    monkeypatch.setattr(gpu, "measured", lambda *_: dict(TRAINING))
    assert start("--steps", "fast", "accurate", "--minutes", "0") == 8
    assert start("--steps", "fast", "accurate") == 0


def test_a_record_of_other_settings_is_not_continued(
    gpu: ModuleType, start: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "measured", lambda *_: dict(TRAINING))
    assert start("--steps", "fast") == 0
    assert start("--steps", "fast", "--pairs", "7") == 2
    assert "Move it away, or name another file with --output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "epoch", "after"), [(40.0, 4.0, "22 epochs"), (15.0, 5.0, "12 epochs"), (30.0, 6.0, "never")]
)
@pytest.mark.usefixtures("gpu")
def test_a_compiled_loop_pays_after_the_epochs_that_make_up_for_its_start(
    first: float, epoch: float, after: str
) -> None:
    from gpu_tables import pays_after

    plain = {"first epoch": 10.0, "epochs": [5.5, 5.5]}
    assert pays_after(plain, start=first, epoch=epoch) == after
    if after != "never":
        count = int(after.split()[0])
        totals = [(10 + (n - 1) * 5.5, first + (n - 1) * epoch) for n in (count - 1, count)]
        assert [compiled < usual for usual, compiled in totals] == [False, True]


def run(*words: str, cwd: Path) -> str:
    """Run the script on a CPU with tiny sizes, where Ray cannot be imported, and return what it prints."""
    (cwd / "ray").mkdir(exist_ok=True)
    (cwd / "ray" / "__init__.py").write_text("raise ImportError('no Ray')\n")
    paths = os.pathsep.join(filter(None, [str(cwd), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--tiny", "--pairs", "1", *words],
        env={**os.environ, "PYTHONPATH": paths, "RAYTRAIN_DEVICE": "cpu"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(600)  # three processes import PyTorch: minutes on busy cores
def test_a_training_is_recorded_with_its_accuracy_and_its_seconds(tmp_path: Path) -> None:
    run("--steps", "fast", "--output", "record.json", cwd=tmp_path)
    details = json.loads((tmp_path / "record.json").read_text())["details"]
    found = details["steps"]["fast"]
    assert 0 < found["test accuracy"] <= 1
    assert 0 < found["test accuracy with TTA"] <= 1
    assert found["seconds from Enter to the end"] > found["seconds of training"] > 0
    assert [table["columns"][0] for table in details["tables"]] == ["trained"]
    assert details["about"]["tiny"]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("gpu")
def test_epochs_are_measured_against_the_students_loop_and_compiled(tmp_path: Path) -> None:
    from gpu_tables import tables_of

    names = ["resnet18-128", "fast-plain", "fast-compiled"]
    lines = run("--in-process", "--steps", *names, cwd=tmp_path).splitlines()
    steps = dict(zip(names, map(json.loads, lines), strict=True))
    assert len(steps["resnet18-128"]["ours"]) == len(steps["resnet18-128"]["the student's loop"]) == 1
    assert len(steps["fast-compiled"]["epochs"]) == 1
    tables = tables_of(steps)
    assert [table["columns"][0] for table in tables] == ["an epoch", "the loop"]
    assert [row[:2] for row in tables[1]["rows"]] == [["fast.yaml", "as it is"], ["fast.yaml", "compile: true"]]


@pytest.mark.usefixtures("gpu")
def test_the_peak_memory_of_each_loop_is_shown_and_why_a_step_failed() -> None:
    from gpu_tables import tables_of

    peak = {"taken": 3 * 2**29, "held": 2**31}
    loop = {"kind": "loop", "what": "fast.yaml", "how": "as it is", "first epoch": 2.0, "epochs": [1.0]}
    steps = {"fast-plain": {**loop, "peak bytes": peak}, "fast-graphs": {"error": "exit code 1: no memory"}}
    tables = {table["columns"][0]: table["rows"] for table in tables_of(steps)}
    assert tables["peak memory"] == [["fast.yaml", "as it is", "1.50", "2.00"]]
    assert tables["step that failed"] == [["fast-graphs", "exit code 1: no memory"]]
