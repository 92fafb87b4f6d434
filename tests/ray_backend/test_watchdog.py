"""Tests of raytrain.ray_backend.watchdog: the process of a trial that stands still is ended."""

from collections.abc import Callable
from typing import Any

import pytest

from raytrain.ray_backend import watchdog
from raytrain.ray_backend.internals import head
from raytrain.ray_backend.watchdog import Watchdog
from raytrain.runs.writing.journal import RunJournal

pytestmark = pytest.mark.slow  # imports Ray, which takes seconds


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What workers have reported, by trial."""
    there: dict[str, Any] = {}
    ours = "progress/job/"
    monkeypatch.setattr(watchdog, "_job", lambda: "job")
    monkeypatch.setattr(head, "get_value", lambda key: there.get(key.removeprefix(ours)))
    monkeypatch.setattr(head, "put_value", lambda key, value: there.update({key.removeprefix(ours): value}))
    return there


def test_a_trial_is_ended_when_not_even_a_step_was_done_for_too_long(
    open_run: Callable[..., RunJournal], said: dict[str, Any]
) -> None:
    run = open_run(grid={"lr": [0.05, 0.01]})
    stuck, alive = run.state.progress
    now = 0.0
    ended: list[tuple[str, int]] = []
    dog = Watchdog(timeout_s=60, kill=lambda node, pid: ended.append((node, pid)), clock=lambda: now)
    for trial in (stuck, alive):
        run.started(trial)
    said[stuck] = {"within_epoch": 0.5, "pid": 11, "node": "n"}
    for now in range(0, 100, 10):
        said[alive] = {"within_epoch": now / 100, "pid": 12, "node": "n"}
        dog.look(run)
        assert ended == ([("n", 11)] if now > 60 else [])
    assert run.state.progress[stuck].within_epoch == 0.5
    assert dog.why(stuck) == "no progress for 60 s"
    assert dog.why(stuck) is None, "its next process may die of something else"
    assert dog.why(alive) is None
    assert [event["trial"] for event in run.state.events if event["event"] == "hung"] == [stuck]
    assert said[stuck] is None  # its next process has another id


def test_workers_that_wait_for_room_after_a_death_do_not_hang(
    open_run: Callable[..., RunJournal], said: dict[str, Any]
) -> None:
    run = open_run(grid={"lr": [0.05]})
    (trial,) = run.state.progress
    now = 0.0
    asked: list[int] = []

    def gone(_node: str, pid: int) -> None:
        asked.append(pid)
        raise ProcessLookupError

    dog = Watchdog(timeout_s=60, kill=gone, clock=lambda: now)
    run.started(trial)
    said[trial] = {"within_epoch": 0.5, "pid": 11, "node": "n"}
    for now in range(0, 300, 10):  # noqa: B007
        dog.look(run)
    assert asked == [11], "its process id may soon be another's"
    assert dog.why(trial) is None
    assert [event for event in run.state.events if event["event"] == "hung"] == []


def test_an_evaluation_that_goes_on_is_progress(open_run: Callable[..., RunJournal], said: dict[str, Any]) -> None:
    run = open_run(grid={"lr": [0.05]})
    (trial,) = run.state.progress
    now = 0.0
    dog = Watchdog(timeout_s=5, kill=lambda *_: pytest.fail("ended"), clock=lambda: now)
    run.started(trial)
    for now in range(0, 100, 4):
        said[trial] = {"within_epoch": 1.0, "evaluated": now, "pid": 11, "node": "n"}
        dog.look(run)


def test_equal_trials_of_two_commands_do_not_share_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: dict[str, Any] = {}
    monkeypatch.setattr(head, "get_value", stored.get)
    monkeypatch.setattr(watchdog, "_job", lambda: "02")
    stored["progress/01/t"] = {"within_epoch": 0.5, "evaluated": 0, "pid": 11, "node": "n"}
    assert watchdog.reported_progress("t") is None


def test_a_trial_that_waits_or_has_ended_is_left_alone(
    open_run: Callable[..., RunJournal], said: dict[str, Any]
) -> None:
    run = open_run(grid={"lr": [0.05]})
    (trial,) = run.state.progress
    now = 0.0
    dog = Watchdog(timeout_s=1, kill=lambda *_: pytest.fail("ended"), clock=lambda: now)
    said[trial] = {"within_epoch": 0.5, "pid": 11, "node": "n"}
    for now in (0, 10, 20):  # noqa: B007
        dog.look(run)
