"""Tests of raytrain.trackers.live: a run is told of while it trains, and no tracker holds it up."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.analysis.record import RunRecord
from raytrain.cli.app import app
from raytrain.errors import ExperimentError, PreflightError, TrackerError
from raytrain.runs.writing.journal import RunJournal
from raytrain.trackers.content import Attachment, TrialContent
from raytrain.trackers.live import LiveLog

A_WHILE = 60.0
"""Seconds that end a test which would hang."""


class Memory:
    """A tracker that keeps what it was told, and says when it was told something."""

    where = "memory"

    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []
        self.files: list[str] = []
        self.more = threading.Condition()

    def write(self, content: TrialContent, attachments: Sequence[Attachment] = ()) -> str:
        with self.more:
            self.told.append((content.trial, len(content.curve), content.status))
            self.files += [one.name for one in attachments]
            self.more.notify_all()
        return "new"

    def disown(self, *_: str) -> None:
        raise AssertionError("these runs list all of their trials")

    def close(self) -> None:
        pass

    def wait_for(self, told: tuple[str, int, str]) -> bool:
        with self.more:
            return self.more.wait_for(lambda: told in self.told, A_WHILE)


@pytest.fixture(autouse=True)
def any_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every tracker count as installed."""
    monkeypatch.setattr("raytrain.trackers.tracker.find_spec", lambda _: object())


def finished(run: RunJournal, train: Callable[..., None]) -> RunRecord:
    for place in range(2):
        train(run, place, range(1, 4))
    run.close()
    run.folder.write("report.html", b"<h1>made</h1>")
    return RunRecord(run.folder, run.state)


def test_a_run_is_told_of_while_it_trains_and_gets_its_report_at_the_end(
    open_run_folder: Callable[..., RunJournal], train: Callable[..., None]
) -> None:
    run, memory = open_run_folder(), Memory()
    first = next(iter(run.state.progress))
    live = LiveLog("mlflow", run.folder, every_s=0.01, opened=lambda *_, **__: memory)
    with live.beside(lambda _: nullcontext())(run.state):
        train(run, 0, range(1, 3))
        assert memory.wait_for((first, 2, "running"))
        train(run, 0, range(3, 4))
        assert memory.wait_for((first, 3, "finished"))
        assert memory.files == []
        record = finished(run, lambda run, place, epochs: place and train(run, place, epochs))
    sent = live.finish(record, wait_s=A_WHILE)
    assert sent is not None
    assert memory.files == ["report.html"]
    assert {status for _, _, status in memory.told[-2:]} == {"finished"}


def test_a_tracker_that_never_answers_does_not_hold_up_the_end_and_what_is_missing_is_said(
    open_run_folder: Callable[..., RunJournal], train: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    run, answer, asked = open_run_folder(), threading.Event(), threading.Event()

    def opened(*_: object, **__: object) -> Any:
        asked.set()
        answer.wait(A_WHILE)
        raise TrackerError("too late")

    live = LiveLog("mlflow=http://away:1", run.folder, every_s=0.01, opened=opened)
    with live.beside(lambda _: nullcontext())(run.state):
        assert asked.wait(A_WHILE)
        record = finished(run, train)
    assert live.finish(record, wait_s=0.05) is None
    assert "mlflow has 0 of 2 trials in full (it takes too long)" in caplog.text
    assert f"raytrain log {run.folder} --to mlflow --tracking-uri http://away:1" in caplog.text
    answer.set()


def test_a_tracker_that_refuses_is_asked_again_and_said_once(
    open_run_folder: Callable[..., RunJournal], train: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    run, memory, tries = open_run_folder(), Memory(), []

    def opened(*_: object, **__: object) -> Any:
        tries.append(1)
        if len(tries) < 4:
            raise TrackerError("no entry")
        return memory

    live = LiveLog("mlflow", run.folder, every_s=0.01, opened=opened)
    with live.beside(lambda _: nullcontext())(run.state):
        train(run, 0, range(1, 2))
        assert memory.wait_for((next(iter(run.state.progress)), 1, "running"))
        record = finished(run, train)
    assert live.finish(record, wait_s=A_WHILE) is not None
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING] == [
        "mlflow: no entry; the run goes on, and raytrain tries the tracker again"
    ]


def test_a_run_that_ends_by_an_error_ends_the_thread(open_run_folder: Callable[..., RunJournal]) -> None:
    run = open_run_folder()
    live = LiveLog("mlflow", run.folder, every_s=A_WHILE, opened=lambda *_, **__: Memory())
    with pytest.raises(ZeroDivisionError), live.beside(lambda _: nullcontext())(run.state):
        raise ZeroDivisionError
    thread = live._start()
    thread.join(A_WHILE)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "instead"), [("mlfow", "did you mean 'mlflow'?"), ("", "choose mlflow, wandb or trackio")]
)
def test_an_unknown_tracker_is_refused_before_anything_starts(name: str, instead: str, tmp_path: Path) -> None:
    options = ["--local", "--out", str(tmp_path), "--set", "dataset=digits", "--log", f"{name}=x"]
    result = CliRunner().invoke(app, ["train", *options])
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(instead)
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, open_run_folder: Callable[..., RunJournal]
) -> None:
    monkeypatch.setattr("raytrain.trackers.tracker.find_spec", lambda _: None)
    with pytest.raises(ExperimentError, match=r"wandb is not installed; .* pip install '\.\[wandb\]'"):
        LiveLog("wandb", open_run_folder().folder)


def test_an_address_with_a_password_is_refused_because_the_run_folder_keeps_the_command(
    open_run_folder: Callable[..., RunJournal],
) -> None:
    with pytest.raises(PreflightError, match="MLFLOW_TRACKING_PASSWORD"):
        LiveLog("mlflow=http://me:secret@127.0.0.1:5000", open_run_folder().folder)
