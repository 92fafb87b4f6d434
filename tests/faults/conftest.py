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
    """

    process: subprocess.Popen[str]
    folder: Path
    log: Path

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

    def results(self) -> list[TrialResult]:
        """Return the newest result of each trial that has ended."""
        newest = {result.trial: result for result in read_results(Folder.at(self.folder))}
        return [newest[trial] for trial in sorted(newest)]

    def numbers(self) -> list[dict[str, Any]]:
        """Return the results without how long they took and how often they were started."""
        return [{k: v for k, v in vars(one).items() if k not in {"seconds", "attempts"}} for one in self.results()]

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


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return any(name in word for word in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def start(tmp_path: Path, tiny_images: str) -> Iterator[Callable[..., Command]]:
    """Return a function that starts `raytrain tune` on a grid over tiny images, with what is given in addition."""
    started: list[Command] = []

    def begin(
        *options: str,
        lr: tuple[float, ...] = (0.05, 0.01),
        out: str | Path | None = None,
        environment: dict[str, str] | None = None,
        include: list[dict[str, object]] | None = None,
        group: bool = False,
        **fields: object,
    ) -> Command:
        recipe = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 8, "val_size": 8, "epochs": 60}
        file = tmp_path / "x.yaml"
        values = {"recipe": recipe | fields, "grid": {"lr": list(lr)}, "include": include or []}
        values["resources"] = {"cpus_per_worker": 1}
        file.write_text(json.dumps(values))  # JSON is YAML
        place = tmp_path / "out" if out is None else out
        log = tmp_path / f"log-{len(started)}"
        words = ["-m", "raytrain", "tune", "--grid", str(file), "--out", str(place), *options]
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=group,
            )
        started.append(Command(process, Path(place) / "x", log))
        return started[-1]

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.process.send_signal(signal.SIGTERM)
            try:
                command.process.wait(30)
            except subprocess.TimeoutExpired:
                command.process.kill()


@pytest.fixture(scope="session")
def known() -> dict[str, list[dict[str, Any]]]:
    """What experiments came to undisturbed: several tests hurt the same one."""
    return {}


@pytest.fixture
def undisturbed(
    start: Callable[..., Command], tmp_path: Path, known: dict[str, list[dict[str, Any]]]
) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that says what the same experiment comes to in one process, with nothing going wrong."""

    def numbers(**fields: object) -> list[dict[str, Any]]:
        if repr(fields) not in known:
            whole = start("--local", "--quiet", out=tmp_path / "undisturbed", **fields)
            assert whole.end() == 0, whole.stderr
            known[repr(fields)] = whole.numbers()
        return known[repr(fields)]

    return numbers
