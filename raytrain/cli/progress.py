"""How far the reading of a data set is, on standard error: a bar on a terminal, else lines."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from raytrain.data import progress

SHOWN_AFTER_S = 0.5
"""Seconds after which something gets a bar: what takes less flickers."""


@contextmanager
def reading_shown(console: Console | None = None) -> Generator[None]:
    """Show the reading of data sets for as long as the context lasts.

    Args:
        console: Console to write to, which may be quiet; None for standard error.
    """
    console = console or Console(stderr=True)
    if console.quiet:
        yield
    elif console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter:
        bars = _Bars(console)
        try:
            with progress.told_to(bars.show):
                yield
        finally:
            bars.end()
    else:
        before = progress.log.level
        progress.log.setLevel(logging.INFO)
        try:
            yield
        finally:
            progress.log.setLevel(before)


class _Bars:
    """A bar for one thing at a time, which is gone when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._what = ""
        self._begun = 0.0

    def show(self, what: str, done: int, total: int) -> None:
        if what != self._what or done == 0:
            self.end()
            self._what, self._begun = what, time.monotonic()
        if done >= total:
            self.end()
        elif self._bar:
            self._bar.update(self._task, completed=done)
        elif time.monotonic() - self._begun >= SHOWN_AFTER_S:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(what, total=total, completed=done)
            self._bar.start()

    def end(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
        self._bar = None
