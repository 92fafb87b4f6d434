"""A run while it runs, where there is no terminal: a line for what happens, and now and then for how far it is."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from raytrain.background import repeating
from raytrain.report.table import per_cent, status
from raytrain.runs.folder import RunFolder

EPOCH_LINE_EVERY_S = 5.0
"""Least time between lines about the same trial when it has done further epochs ..."""
WITHIN_EPOCH_LINE_EVERY_S = 30.0
"""... and when it is only further within an epoch."""


@contextmanager
def lines_shown(run: RunFolder, console: Console) -> Generator[None]:
    """Write lines about `run` for as long as the context lasts."""
    lines = _Lines(run)

    def write() -> None:
        for line in lines.new():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        with repeating(write, every=0.5):
            yield
    finally:
        write()


class _Lines:
    """Which lines have been written."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._events = 0
        self._written: dict[str, tuple[float, float]] = {}  # trial -> when, and how many epochs were done

    def new(self) -> Iterator[str]:
        """Yield a line for each event since the last call, and for each trial that has gone on."""
        events = self._run.events[self._events :]
        self._events += len(events)
        for event in events:
            if event["event"] != "rung" and "trial" in event:
                yield self._line(event["trial"], _what(event))
        now = time.monotonic()
        for trial_id, progress in self._run.progress.items():
            if progress.status != "running":
                continue
            done = progress.epoch + round(progress.within_epoch, 2)
            when, before = self._written.get(trial_id, (now, float(progress.epoch)))
            self._written.setdefault(trial_id, (when, before))
            patience = EPOCH_LINE_EVERY_S if int(done) > int(before) else WITHIN_EPOCH_LINE_EVERY_S
            if done > before and now - when >= patience:
                self._written[trial_id] = (now, done)
                yield self._line(trial_id, f"epoch {done:g}/{progress.trial.recipe.epochs}")

    def _line(self, trial_id: str, what: str) -> str:
        progress = self._run.progress[trial_id]
        accuracies = ""
        if progress.latest:
            seen = {name: progress.latest.get(f"{name}_accuracy") for name in ("train", "val", "test")}
            accuracies = "  " + "  ".join(f"{name} {per_cent(v)} %" for name, v in seen.items() if v is not None)
        if what not in {"started"} and progress.result and what == progress.result.status:
            what = status(progress.result)
        return f"{time.strftime('%H:%M:%S')}  {trial_id}  {what}{accuracies}"


def _what(event: dict[str, Any]) -> str:
    if event["event"] == "elsewhere":
        return f"on {', '.join(event['hosts'])}"
    if event["event"] == "resized":
        return f"with {event['workers']} worker{'s' if event['workers'] != 1 else ''}"
    return str(event["event"])
