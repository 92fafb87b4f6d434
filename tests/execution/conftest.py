"""Runs in this process, whose reports would take longer than they do; tests/report and tests/cli look at reports."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from raytrain.execution import local
from raytrain.experiment.duration.speed import Speed
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.runs.events import Event
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.recipe import Recipe

Reached = Callable[[Recipe, int], float | None]
"""Function of a recipe and an epoch that returns the accuracy after it, or None where the trial diverges."""


@pytest.fixture(autouse=True)
def quick_end(request: pytest.FixtureRequest) -> None:
    """Leave the charts out of every report."""
    request.getfixturevalue("empty_report")


@pytest.fixture
def train_as_said(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reached], None]:
    """Return a function that has trials report what another one says, after no time: nothing is trained or measured."""

    def patched(reached: Reached) -> None:
        def run_trial(journal: RunJournal, trial: Any, _splits: object, rungs: Any) -> None:
            journal.started(trial.id)
            epochs = range(journal.state.epochs_known(trial.id, rungs) + 1, journal.state.runs_to(trial.id, rungs) + 1)
            for epoch in epochs:
                accuracy = reached(trial.recipe, epoch)
                if accuracy is None:
                    journal.ended(trial.id, {"status": "diverged", "error": "not finite", "details": ""})
                    return
                seen = Evaluation(1.0, accuracy)
                final = FinalMetrics(epoch, seen, seen, seen, "fp32", "none") if epoch == trial.recipe.epochs else None
                report = Report(EpochMetrics(epoch, 1.0, seen.accuracy, seen, None, 0.1, 0.01), final)
                journal.reported(trial.id, report)
                if rungs and not report.final and not local._goes_on(journal, trial, report, rungs):
                    break

        def measure(_self: object, recipes: list[Recipe], _splits: object) -> list[Speed]:
            return [Speed(1.0, 0.01, steps=3, device="cpu")] * len(recipes)

        monkeypatch.setattr(local, "_run_trial", run_trial)
        monkeypatch.setattr(local.LocalBackend, "measure", measure)

    return patched


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
