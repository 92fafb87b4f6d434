"""Commands that are started, watched from outside and hurt; and what is left of them afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.runs.results import TrialResult, read_results
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

PATIENCE_S = 270.0


@dataclass
class Command:
    """A raytrain command that runs.

    Attributes:
        process: Of the command.
        folder: Its run folder.
        log: Where its standard error goes.
        words: Words of the command after `raytrain`.
    """

    process: subprocess.Popen[str]
    folder: Path
    log: Path
    words: tuple[str, ...]

    @property
    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        there = read_lines(Folder.at(self.folder), "events.jsonl")
        return [event for event in there if name in (None, event["event"])]

    def epochs(self) -> int:
        """Return how many epochs are on record, of all trials."""
        return sum(path.read_text().count("\n") for path in self.folder.glob("trials/*/metrics.jsonl"))

    def wait_until(self, happened: Callable[[], Any], *, seconds: float = PATIENCE_S) -> Any:
        """Return what `happened` returns once it is true."""
        deadline = time.monotonic() + seconds
        while not (result := happened()):
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.stderr}"
            assert time.monotonic() < deadline, f"did not happen in {seconds:.0f} s:\n{self.stderr}"
            time.sleep(0.05)
        return result

    def end(self, *, seconds: float = PATIENCE_S) -> int:
        """Wait for the command's end and return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {seconds:.0f} s:\n{self.stderr}") from None

    def continued(self) -> Result:
        """Run the same command again, here and without Ray, which saves the seconds of a start; return how it ended."""
        return CliRunner().invoke(app, [*self.words, "--local", "--quiet"])

    def results(self) -> list[TrialResult]:
        """Return the newest result of each trial that has ended."""
        return newest_results(self.folder)

    def numbers(self) -> list[dict[str, Any]]:
        """Return the results without how long they took and how often they were started."""
        return numbers_of(self.folder)

    def contiguous(self) -> bool:
        """Return whether every trial has each of its epochs once, in order."""
        tables = [list(read_lines(Folder.at(path.parent), path.name)) for path in self._metrics()]
        return all([row["epoch"] for row in rows] == list(range(1, len(rows) + 1)) for rows in tables)

    def _metrics(self) -> list[Path]:
        return list(self.folder.glob("trials/*/metrics.jsonl"))

    def rays(self, name: str) -> list[psutil.Process]:
        """Return the processes of the command's own Ray that `name` is in the command line of."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in below if _named(one, name)]


def newest_results(folder: Path | str) -> list[TrialResult]:
    """Return the newest result of each trial of a run that has ended."""
    newest = {result.trial: result for result in read_results(Folder.at(folder))}
    return [newest[trial] for trial in sorted(newest)]


def numbers_of(folder: Path) -> list[dict[str, Any]]:
    """Return the results of a run without how long they took and how often they were started."""
    return [{k: v for k, v in vars(one).items() if k not in {"seconds", "attempts"}} for one in newest_results(folder)]


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return any(name in word for word in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def write(tmp_path: Path, tiny_images: str) -> Callable[..., Path]:
    """Return a function that writes an experiment on tiny images, with what is given in addition."""

    def experiment(
        *, lr: tuple[float, ...] = (0.05, 0.01), include: list[dict[str, object]] | None = None, **fields: object
    ) -> Path:
        recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 8, "val_size": 8, "epochs": 60}
        values = {"recipe": recipe | fields, "grid": {"lr": list(lr)}, "include": include or []}
        values["resources"] = {"cpus_per_worker": 1}
        file = tmp_path / "x.yaml"
        file.write_text(json.dumps(values))  # JSON is YAML
        return file

    return experiment


@pytest.fixture
def start(tmp_path: Path, write: Callable[..., Path]) -> Iterator[Callable[..., Command]]:
    """Return a function that starts `raytrain tune` on what `write` writes."""
    started: list[Command] = []

    def begin(
        *options: str,
        out: str | Path | None = None,
        environment: dict[str, str] | None = None,
        group: bool = False,
        **values: object,
    ) -> Command:
        place = tmp_path / "out" if out is None else out
        log = tmp_path / f"log-{len(started)}"
        words = ("tune", "--grid", str(write(**values)), "--out", str(place), *options)
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "raytrain", *words],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=group,
            )
        started.append(Command(process, Path(place) / "x", log, words))
        return started[-1]

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGTERM)
            try:
                command.process.wait(30)
            except subprocess.TimeoutExpired:
                command.process.kill()


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> None:
    """Leave the charts out of the reports of runs in this process."""
    request.getfixturevalue("empty_report")


@pytest.fixture
def results_of() -> Callable[..., list[TrialResult]]:
    return newest_results


@pytest.fixture(scope="session")
def known() -> dict[str, list[dict[str, Any]]]:
    """What experiments came to undisturbed: several tests hurt the same one."""
    return {}


@pytest.fixture
def undisturbed(
    write: Callable[..., Path], tmp_path: Path, known: dict[str, list[dict[str, Any]]]
) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that says what the same experiment comes to in this process, with nothing going wrong."""

    def numbers(*, code: int = 0, **values: object) -> list[dict[str, Any]]:
        if repr(values) not in known:
            out = tmp_path / "undisturbed"
            command = ["tune", "--grid", str(write(**values)), "--out", str(out), "--local", "--quiet"]
            ended = CliRunner().invoke(app, command)
            assert ended.exit_code == code, ended.output
            known[repr(values)] = numbers_of(out / "x")
        return known[repr(values)]

    return numbers
