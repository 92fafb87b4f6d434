"""Runs in this process, whose reports would take longer than they do; tests/report and tests/cli look at reports."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import pytest

from raytrain.runs.events import Event
from raytrain.runs.writing.journal import RunJournal


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> None:
    """Leave the charts out of every report."""
    request.getfixturevalue("empty_report")


@pytest.fixture
def killed_at_event(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which a run is interrupted in place of writing its event of some number, counted from 1."""
    real = RunJournal.note

    @contextmanager
    def killed(number: int) -> Generator[None]:
        seen = 0

        def note(self: RunJournal, event: Event) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                raise KeyboardInterrupt
            real(self, event)

        with monkeypatch.context() as patch:
            patch.setattr(RunJournal, "note", note)
            yield

    return killed
