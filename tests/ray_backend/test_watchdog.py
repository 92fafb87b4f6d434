"""Trials that stand still are noticed by what they say, and their process is ended."""

from collections.abc import Callable
from typing import Any

import pytest

from raytrain.ray_backend import board
from raytrain.ray_backend.deaths import as_death
from raytrain.ray_backend.watchdog import Silence
from raytrain.runs.folder import RunFolder

pytestmark = pytest.mark.ray  # imports it


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What workers have put on the board, by trial."""
    there: dict[str, Any] = {}
    monkeypatch.setattr(board, "get", lambda trial, _topic: there.get(trial))
    monkeypatch.setattr(board, "put", lambda trial, _topic, value: there.update({trial: value}))
    return there


def test_a_trial_is_ended_when_not_even_a_step_was_done_for_too_long(
    open_run: Callable[..., RunFolder], said: dict[str, Any]
) -> None:
    run = open_run(grid={"lr": [0.05, 0.01]})
    stuck, alive = run.progress
    now = 0.0
    ended: list[tuple[str, int]] = []
    silence = Silence(timeout_s=60, kill=lambda node, pid: ended.append((node, pid)), clock=lambda: now)
    for trial in (stuck, alive):
        run.started(trial)
    said[stuck] = {"within_epoch": 0.5, "pid": 11, "node": "n"}
    for now in range(0, 100, 10):
        said[alive] = {"within_epoch": now / 100, "pid": 12, "node": "n"}
        silence.look(run)
        assert ended == ([("n", 11)] if now > 60 else [])
    assert run.progress[stuck].within_epoch == 0.5
    assert silence.why(stuck) == "no progress for 60 s"
    assert silence.why(alive) is None
    assert [event["trial"] for event in run.events if event["event"] == "hung"] == [stuck]
    assert said[stuck] is None  # its next process has another id


def test_a_trial_that_waits_or_has_ended_is_left_alone(
    open_run: Callable[..., RunFolder], said: dict[str, Any]
) -> None:
    run = open_run(grid={"lr": [0.05]})
    (trial,) = run.progress
    now = 0.0
    silence = Silence(timeout_s=1, kill=lambda *_: pytest.fail("ended"), clock=lambda: now)
    said[trial] = {"within_epoch": 0.5, "pid": 11, "node": "n"}
    for now in (0, 10, 20):  # noqa: B007
        silence.look(run)


def test_errors_of_rays_own_are_deaths_and_others_stay_what_they_are() -> None:
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError

    low = as_death(OutOfMemoryError("the node running low on memory"))
    assert isinstance(low, RayActorError)
    assert "OutOfMemoryError: the node running low on memory" in str(low)
    for other in (ActorDiedError(), RayTaskError("f", "traceback", ValueError("x")), ValueError("x")):
        assert as_death(other) is other
