"""A run while it runs, as plain lines for where there is no terminal: one for each start and end, and for progress."""

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from raytrain.background import repeating
from raytrain.report.table import status
from raytrain.report.text.quantities import per_cent
from raytrain.report.text.visible import in_one_line
from raytrain.runs.events import Event
from raytrain.runs.progress import TrialProgress
from raytrain.runs.state import RunState

EPOCH_LINE_EVERY_S = 5.0
"""Least seconds between two lines about finished epochs of the same trial."""
WITHIN_EPOCH_LINE_EVERY_S = 30.0
"""Least seconds between two lines about the same epoch of the same trial."""


@contextmanager
def lines_shown(state: RunState, console: Console) -> Generator[None]:
    """Write lines about a run for as long as the context lasts."""
    lines = _Lines(state)

    def write() -> None:
        for line in lines.new():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        with repeating(write, every=0.5):
            yield
    finally:
        write()


class _Lines:
    """The new lines about a run since the last call."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._events = len(state.events)
        self._written: dict[str, tuple[float, float]] = {}  # trial -> when, and how many epochs were done

    def new(self) -> Iterator[str]:
        """Yield a line for each event since the last call, and for each trial that has gone on."""
        events = self._state.events[self._events :]
        self._events += len(events)
        for event in events:
            if line := self._of_event(event):
                yield line
        now = time.monotonic()
        for trial_id, progress in self._state.progress.items():
            if progress.status == "running" and (line := self._of_progress(trial_id, progress, now)):
                yield line

    def _of_event(self, event: Event) -> str | None:
        if event["event"] == "rung" and event.get("pause"):
            return _line(event["trial"], f"paused at {event['epoch']}")
        if event["event"] in {"rung", "begun", "added", "withdrawn"} or "trial" not in event:
            return None
        result = self._state.progress[event["trial"]].result
        if result and event["event"] == result.status:
            seen = {name: getattr(result, f"{name}_accuracy") for name in ("train", "val", "test")}
            return _line(event["trial"], status(result) + _figures(seen))
        return _line(event["trial"], _event_text(event))

    def _of_progress(self, trial_id: str, progress: TrialProgress, now: float) -> str | None:
        row = progress.latest
        epoch, epochs = int(row.get("epoch", 0)), progress.trial.recipe.epochs
        done = epoch + round(progress.within_epoch, 2)
        when, before = self._written.setdefault(trial_id, (now, float(epoch)))
        if epoch > int(before) and now - when >= EPOCH_LINE_EVERY_S:
            self._written[trial_id] = (now, float(epoch))
            seen = {name: row.get(f"{name}_accuracy") for name in ("train", "val", "test")}
            return _line(trial_id, f"epoch {epoch}/{epochs}{_figures(seen)}")
        if done > before and now - when >= WITHIN_EPOCH_LINE_EVERY_S:
            self._written[trial_id] = (now, done)
            return _line(trial_id, f"{progress.within_epoch:.0%} of epoch {epoch + 1}/{epochs}")
        return None


def _line(trial_id: str, what: str) -> str:
    return f"{time.strftime('%H:%M:%S')}  {trial_id}  {what}"


def _figures(accuracies: Mapping[str, float | None]) -> str:
    return "".join(f"  {name} {per_cent(value)} %" for name, value in accuracies.items() if value is not None)


def _event_text(event: Event) -> str:
    if event["event"] == "elsewhere":
        return f"on {', '.join(map(in_one_line, event['hosts']))}"
    if event["event"] == "resized":
        return f"with {event['workers']} worker{'s' if event['workers'] != 1 else ''}"
    return str(event["event"])
