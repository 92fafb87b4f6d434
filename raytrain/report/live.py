"""A run while it runs: a live table on a terminal, and plain lines where there is none.

Both only read the run's progress.
"""

import io
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytrain.background import repeating
from raytrain.report.column_text import cell
from raytrain.report.table import status
from raytrain.report.text import clock, fitting, in_one_line, per_cent
from raytrain.runs.events import Event
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import ranked, varied_fields
from raytrain.runs.state import RunState

STYLES = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "paused": "yellow",
    "diverged": "red",
    "failed": "bold red",
}
BAR_WIDTH = 16
"""Width of a progress bar in characters."""
NOTEBOOK_WIDTH, NOTEBOOK_ROWS = 120, 20
"""Width in characters and most rows of the table in a notebook."""


@contextmanager
def shown(state: RunState, console: Console) -> Generator[None]:
    """Show a run for as long as the context lasts: a live table on a terminal or in a notebook, else plain lines.

    Args:
        state: State of the run, which is read from another thread.
        console: Console to write to.
    """
    if console.is_jupyter:
        with _shown_in_notebook(state):
            yield
        return
    if not console.is_terminal:
        with lines_shown(state, console):
            yield
        return
    table = _table_of(state)
    with Live(
        get_renderable=lambda: table(console.width, console.height - 6),
        console=console,
        refresh_per_second=4,
        transient=True,
    ):
        yield


@contextmanager
def _shown_in_notebook(state: RunState) -> Generator[None]:
    """Show the live table in the output of a notebook's cell, drawn again once a second."""
    from IPython.display import HTML, display

    table = _table_of(state)

    def drawn() -> HTML:
        canvas = Console(record=True, file=io.StringIO(), width=NOTEBOOK_WIDTH, force_jupyter=False)
        canvas.print(table(NOTEBOOK_WIDTH, NOTEBOOK_ROWS))
        return HTML(canvas.export_html(inline_styles=True, code_format="<pre style='line-height:1.3'>{code}</pre>"))

    handle: Any = display(drawn(), display_id=True)
    try:
        with repeating(lambda: handle.update(drawn()), every=1.0):
            yield
    finally:
        handle.update(drawn())


def _table_of(state: RunState) -> Callable[[int, int], RenderableType]:
    """Return a function that draws the table of a run as it is now, by width in characters and number of rows."""
    started = time.monotonic()
    varied = varied_fields(progress.trial.recipe.model_dump() for progress in state.progress.values())
    return lambda width, rows: live_table(
        state, varied=varied, rows=rows, width=width, seconds=time.monotonic() - started
    )


def live_table(state: RunState, *, varied: list[str], rows: int, width: int, seconds: float) -> RenderableType:
    """Return what the terminal shows now: running trials first, then ended ones by rank, then paused and waiting ones.

    Args:
        state: State of the run.
        varied: Names of the recipe fields that get a column.
        rows: Most trials to list; the others are counted.
        width: Width of the terminal in characters; less important columns are left out until the table fits.
        seconds: Seconds since the start.
    """
    everything = list(state.progress.values())
    running = [progress for progress in everything if progress.status == "running"]
    results = ranked(progress.result for progress in everything if progress.result)
    ended = [state.progress[result.trial] for result in results]
    waiting = [one for which in ("paused", "waiting") for one in everything if one.status == which]
    listed = [*running, *ended, *waiting]
    more = len(listed) - max(rows, 1)
    counts = {name: sum(progress.status == name for progress in everything) for name in ("running", "waiting", *STYLES)}
    summary = " · ".join(f"{count} {name}" for name, count in counts.items() if count)
    header = Text(f"{state.experiment.name}  {summary}  {clock(seconds)}", style="bold")
    table = _table(listed[: max(rows, 1)], varied, width)
    return Group(header, table, Text(f"… and {more} more", style="dim") if more > 0 else Text(""))


def _table(listed: list[TrialProgress], varied: list[str], width: int) -> Table:
    columns: dict[str, Callable[[TrialProgress], str]] = {
        "trial": lambda progress: progress.trial.recipe.digest,
        "arch": lambda progress: progress.trial.recipe.arch,
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
        wraps = not numbers and name != "progress"  # between words: no word and no number is cut
        table.add_column(name, justify="right" if numbers else "left", no_wrap=not wraps, overflow="fold")
    for index, progress in enumerate(listed):
        # Text, because a str would be read as markup
        row = {name: Text(in_one_line(texts[index])) for name, texts in cells.items()}
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
        return f"on {', '.join(event['hosts'])}"
    if event["event"] == "resized":
        return f"with {event['workers']} worker{'s' if event['workers'] != 1 else ''}"
    return str(event["event"])
