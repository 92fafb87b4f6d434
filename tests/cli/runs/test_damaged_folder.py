"""A run folder whose files are damaged: every command says which file it is, and none ends in a traceback."""

import json
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.errors import ExitCode
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.predictions import Predictions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("empty_report")]

FILES = ("experiment.yaml", "manifest.json", "trials.jsonl", "events.jsonl", "metrics.jsonl", "predictions.npz")
OF_A_TRIAL = {"metrics.jsonl", "predictions.npz"}
"""Files without which the results of a trial stand."""
READERS = {
    "results": ["results", "x"],
    "report": ["report", "x"],
    "audit": ["audit", "x"],
    "export": ["export", "x", "-o", "model.pth", "--force"],
}
RESUME = ["resume", "x", "--local", "--quiet"]


def ended(place: Path, images: str, **keys: object) -> Path:
    """Put `runs/x`, a small run of two trials that has ended, and `x.yaml`, its experiment, into a folder."""
    recipe = {"dataset": images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    keys = {"name": "x", "recipe": recipe, "grid": {"lr": [0.02, 0.01]}, **keys}
    (place / "x.yaml").write_text(json.dumps(keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.render", lambda *_, **__: "")
        patch.setattr("raytrain.report.page.pictures", lambda *_, **__: {})
        run(Experiment.model_validate(keys), RunOptions(out=str(place / "runs"), local=True))
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_images: str) -> Path:
    """A folder with a run under ASHA, of whose two trials one has finished."""
    return ended(tmp_path_factory.mktemp("finished"), tiny_images, asha={"grace_period": 1})


@pytest.fixture(scope="module")
def both_finished(tmp_path_factory: pytest.TempPathFactory, tiny_images: str) -> Path:
    """A folder with a run whose two trials have finished."""
    return ended(tmp_path_factory.mktemp("both"), tiny_images)


def copied(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path / "copy" / "runs" / "x"


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run folder, to be damaged; the working folder is the one that `runs` is in."""
    return copied(finished, tmp_path, monkeypatch)


@pytest.fixture
def two(both_finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run folder with two finished trials, in the same way."""
    return copied(both_finished, tmp_path, monkeypatch)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def without_the_second_line(path: Path) -> None:
    first, _, *others = lines(path)
    path.write_bytes(first + b"".join(others))


def with_the_first_line_twice(path: Path) -> None:
    first, *others = lines(path)
    path.write_bytes(first + first + b"".join(others))


def with_a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


def with_a_pipe_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_nan(path: Path) -> None:
    with_number(path, "NaN")


def with_number(path: Path, number: str) -> None:
    """Put a number into the first one that has a fraction, or before everything where there is none."""
    if path.suffix not in {".jsonl", ".json", ".yaml"}:
        path.write_bytes(number.encode())
        return
    text = path.read_text()
    number = ".nan" if (path.suffix, number) == (".yaml", "NaN") else number
    changed = text
    for name in ("train_accuracy", "accuracy", "val_size", "epochs", "val"):
        for quote in (f'"{name}": ', f"{name}: "):
            start = changed.find(quote)
            if start >= 0 and changed == text:
                end = min(changed.index(mark, start) for mark in ",}\n" if changed.find(mark, start) >= 0)
                changed = changed[: start + len(quote)] + number + changed[end:]
    path.write_text(changed if changed != text else number + "\n" + text)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) * 6 // 10]),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(600)),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()[2:]),
    "of another shape": lambda path: path.write_bytes(b'{"sessions": 1, "trial": [7]}\n[1, 2]\n"x"\n'),
    "NaN": with_nan,
    "missing": lambda path: path.unlink(),
    "a folder": with_a_folder_in_its_place,
    "a pipe": with_a_pipe_in_its_place,
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "a line less": without_the_second_line,
    "a line twice": with_the_first_line_twice,
}


def call(words: list[str], caplog: pytest.LogCaptureFixture) -> tuple[Result, str]:
    """Return what a command came to, and all that it said: messages and warnings."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        result = CliRunner().invoke(app, words)
    return result, result.stderr + "".join(record.getMessage() for record in caplog.records)


def finished_trial(folder: Path) -> Path:
    (path,) = folder.glob("trials/*/predictions.npz")
    return path.parent


def damage(folder: Path, file: str, how: str) -> Path:
    path = (finished_trial(folder) if file in OF_A_TRIAL else folder) / file
    DAMAGES[how](path)
    return path


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_never_a_traceback(
    folder: Path, file: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder, file, how)
    known = {int(code) for code in ExitCode} - {ExitCode.BUG}
    said: dict[str, tuple[int, str]] = {}
    for name, words in (READERS | {"resume": RESUME}).items():
        result, text = call(words, caplog)
        said[name] = (result.exit_code, text)
        assert result.exception is None or isinstance(result.exception, SystemExit), (name, result.exc_info)
        assert result.exit_code in known, (name, text)
        assert "Traceback" not in text, (name, text)
        if result.exit_code:
            assert file in text, (name, text)
            assert sum(line.startswith("raytrain: ") for line in result.stderr.splitlines()) == 1, (name, text)
    if file in OF_A_TRIAL:  # what is known of the trials is shown, and the loss is said
        assert any(file in text for _, text in said.values()), said
        assert {code for code, _ in said.values()} == {0}, said


def test_a_run_that_has_lost_its_manifest_does_not_go_on_with_images_that_nobody_compared(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "manifest.json").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for words in (RESUME, ["compare", "x.yaml", "--local", "--quiet", "--set", "epochs=4"]):
        result, text = call(words, caplog)
        assert result.exit_code == 2, text
        assert "manifest.json: is missing\nRestore it from a copy" in text
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def measured(folder: Path) -> list[dict[str, object]]:
    """Return the table of a run, without times and numbers of starts."""
    rows = parquet.read_table(folder / "trials.parquet").to_pylist()
    return sorted(
        ({k: v for k, v in row.items() if "seconds" not in k and k != "attempts"} for row in rows),
        key=lambda row: str(row["trial"]),
    )


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("manifest.json", "noise"),
        ("manifest.json", "a folder"),
        ("manifest.json", "missing"),
        ("trials.jsonl", "NaN"),
        ("trials.jsonl", "a line less"),
        ("trials.jsonl", "missing"),
        ("events.jsonl", "noise"),
        ("events.jsonl", "a folder"),
        ("metrics.jsonl", "NaN"),
        ("metrics.jsonl", "a line less"),
        ("metrics.jsonl", "missing"),
        ("predictions.npz", "noise"),
        ("predictions.npz", "a folder"),
        ("predictions.npz", "missing"),
    ],
)
def test_repair_makes_a_damaged_run_what_it_was(
    folder: Path, file: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = measured(folder)
    path = damage(folder, file, how)
    damaged = path.exists()
    result, text = call([*RESUME, "--repair"], caplog)
    assert result.exit_code == 0, text
    assert measured(folder) == before
    if damaged and (file, how) != ("trials.jsonl", "a line less"):  # all that is left there is sound
        assert any(path.parent.glob(f"{file}.damaged*"))
    for name, words in (READERS | {"resume": RESUME}).items():
        again, text = call(words, caplog)
        assert (again.exit_code, [record for record in caplog.records if file in record.getMessage()]) == (0, []), (
            name,
            text,
        )


def test_the_predictions_of_another_trial_are_noticed_and_measured_again(
    two: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = sorted(two.glob("trials/*/predictions.npz"))
    before = [first.read_bytes(), second.read_bytes()]
    assert before[0] != before[1]
    first.write_bytes(before[1])
    second.write_bytes(before[0])
    for name in ("report", "audit"):
        result, text = call(READERS[name], caplog)
        assert result.exit_code == 0, text
        for path in (first, second):
            where = path.relative_to(two.parents[1])
            assert f"{where}: is damaged: it is not the file that the trial wrote, and is left out" in text
    seen = [Predictions.from_bytes(content).predicted.tolist() for content in before]
    assert call([*RESUME, "--repair"], caplog)[0].exit_code == 0
    assert [Predictions.from_bytes(path.read_bytes()).predicted.tolist() for path in (first, second)] == seen
    assert "is left out" not in call(READERS["report"], caplog)[1]


def accuracies(folder: Path) -> dict[object, tuple[object, object]]:
    return {row["trial"]: (row["val_accuracy"], row["test_accuracy"]) for row in measured(folder)}


def test_the_results_of_a_run_stand_without_the_folders_of_its_trials(
    two: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, lines = accuracies(two), (two / "trials.jsonl").read_bytes()
    shutil.rmtree(two / "trials")
    text = ""
    for name, words in (READERS | {"resume": RESUME, "resume --repair": [*RESUME, "--repair"]}).items():
        result, text = call(words, caplog)
        assert (name, result.exit_code) == (name, 2 if name == "export" else 0), text
        said = "has no checkpoint that can be read" if name == "export" else "predictions.npz: is missing"
        assert said in text
    assert "has no checkpoint of the last epoch, so its predictions cannot be made again" in text
    assert accuracies(two) == before
    assert (two / "trials.jsonl").read_bytes() == lines


@pytest.mark.parametrize("file", ["trials.jsonl", "metrics.jsonl"])
def test_an_accuracy_above_one_is_damage(folder: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    path = (finished_trial(folder) if file in OF_A_TRIAL else folder) / file
    with_number(path, "7.0")
    where = path.relative_to(folder.parents[1])
    said = f"{where}:1: is damaged: train_accuracy: Input should be less than or equal to 1, given 7.0"
    for name in ("audit", "resume"):
        result, text = call((READERS | {"resume": RESUME})[name], caplog)
        assert result.exit_code == (0 if file in OF_A_TRIAL else 2), text
        assert said in text
    assert call([*RESUME, "--repair"], caplog)[0].exit_code == 0
    assert "7.0" not in path.read_text()
