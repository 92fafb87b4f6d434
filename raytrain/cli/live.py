"""A run while it runs: a live table on a terminal, and plain lines where there is none.

Both only read the run's progress.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytrain.background import repeating
from raytrain.report.table import cell, per_cent, status
from raytrain.report.text import clock, fitting
from raytrain.runs.folder import RunFolder
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import ranked, varied_fields

STYLES = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "diverged": "red",
    "failed": "bold red",
}
BAR_WIDTH = 16


@contextmanager
def shown(run: RunFolder, console: Console) -> Generator[None]:
    """Show `run` on `console` for as long as the context lasts; in plain lines if it is no terminal."""
    if not console.is_terminal:
        with lines_shown(run, console):
            yield
        return
    started = time.monotonic()
    varied = varied_fields(progress.trial.recipe.model_dump() for progress in run.progress.values())

    def table() -> RenderableType:
        seconds = time.monotonic() - started
        return live_table(run, varied=varied, rows=console.height - 6, width=console.width, seconds=seconds)

    with Live(get_renderable=table, console=console, refresh_per_second=4, transient=True):
        yield


def live_table(run: RunFolder, *, varied: list[str], rows: int, width: int, seconds: float) -> RenderableType:
    """Return what the terminal shows now: running trials first, then ended ones by rank, then waiting ones.

    Args:
        run: What is shown.
        varied: Recipe fields that get a column.
        rows: Most trials to list; the rest is counted.
        width: Characters per line; columns that matter less are left out until the others fit.
        seconds: Since the start.
    """
    everything = list(run.progress.values())
    running = [progress for progress in everything if progress.status == "running"]
    results = ranked(progress.result for progress in everything if progress.result)
    ended = [run.progress[result.trial] for result in results]
    waiting = [progress for progress in everything if progress.status == "waiting"]
    listed = [*running, *ended, *waiting]
    more = len(listed) - max(rows, 1)
    counts = {name: sum(progress.status == name for progress in everything) for name in ("running", "waiting", *STYLES)}
    summary = " · ".join(f"{count} {name}" for name, count in counts.items() if count)
    header = Text(f"{run.experiment.name}  {summary}  {clock(seconds)}", style="bold")
    table = _table(listed[: max(rows, 1)], varied, width)
    return Group(header, table, Text(f"… and {more} more", style="dim") if more > 0 else Text(""))


def _table(listed: list[TrialProgress], varied: list[str], width: int) -> Table:
    columns: dict[str, Callable[[TrialProgress], str]] = {
        "trial": lambda progress: progress.trial.recipe.digest,
        "architecture": lambda progress: progress.trial.recipe.arch,
        **{name: _field(name) for name in varied},
        "progress": lambda _: " " * BAR_WIDTH,
        "epoch": _epoch,
        "train %": lambda progress: per_cent(progress.latest.get("train_accuracy")),
        "val %": lambda progress: per_cent(progress.latest.get("val_accuracy")),
        "time": lambda progress: clock(progress.seconds),
        "left": _left,
        "status": _status,
    }
    cells = {name: [text(progress) for progress in listed] for name, text in columns.items()}
    cells = fitting(cells, width=width, dispensable=("progress", "trial", "train %", "time", "left"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in cells:
        numbers = name in {"epoch", "train %", "val %", "time", "left"}
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    for index, progress in enumerate(listed):
        # Text, because a str would be read as markup
        row = {name: Text(texts[index]) for name, texts in cells.items()}
        row["status"].stylize(STYLES.get(progress.status, "dim"))
        table.add_row(*(_bar(progress) if name == "progress" else text for name, text in row.items()))
    return table


def _field(name: str) -> Callable[[TrialProgress], str]:
    return lambda progress: cell(getattr(progress.trial.recipe, name))


def _done(progress: TrialProgress) -> float:
    return progress.epoch + (progress.within_epoch if progress.status == "running" else 0.0)


def _epoch(progress: TrialProgress) -> str:
    done = f"{_done(progress):.1f}" if progress.status == "running" else str(progress.epoch)
    return f"{done}/{progress.trial.recipe.epochs}"


def _left(progress: TrialProgress) -> str:
    """Return how long a running trial still takes if it is not stopped, judged by its epochs so far."""
    if progress.status != "running" or not progress.epoch:
        return ""
    return clock(progress.seconds / progress.epoch * (progress.trial.recipe.epochs - _done(progress)))


def _status(progress: TrialProgress) -> str:
    again = f" (attempt {progress.attempts})" if progress.status == "running" and progress.attempts > 1 else ""
    return (status(progress.result) if progress.result else progress.status) + again


def _bar(progress: TrialProgress) -> ProgressBar:
    return ProgressBar(total=progress.trial.recipe.epochs, completed=_done(progress), width=BAR_WIDTH)


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
