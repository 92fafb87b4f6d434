"""A run while it runs: a live table on a terminal, plain lines elsewhere. Both only read the run's progress."""

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytrain.progress import TrialProgress
from raytrain.report.table import cell, per_cent, status
from raytrain.results import ranked, varied_fields
from raytrain.run_folder import RunFolder

STYLES = {
    "running": "cyan",
    "finished": "green",
    "stopped": "yellow",
    "diverged": "red",
    "failed": "bold red",
}
EPOCH_LINE_EVERY_S = 5.0
"""Where there is no terminal: least time between lines about the same trial when it has done further epochs ..."""
WITHIN_EPOCH_LINE_EVERY_S = 30.0
"""... and when it is only further within an epoch."""


@contextmanager
def shown(run: RunFolder, console: Console) -> Generator[None]:
    """Show `run` on `console` for as long as the context lasts."""
    if console.is_terminal:
        started = time.monotonic()
        varied = varied_fields(progress.trial.recipe.model_dump() for progress in run.progress.values())

        def table() -> RenderableType:
            return live_table(run, varied=varied, rows=console.height - 6, seconds=time.monotonic() - started)

        with Live(
            get_renderable=table,
            console=console,
            refresh_per_second=4,
            transient=True,
        ):
            yield
    else:
        with _lines(run, console):
            yield


def live_table(run: RunFolder, *, varied: list[str], rows: int, seconds: float) -> RenderableType:
    """Return what the terminal shows now: running trials first, then ended ones by rank, then waiting ones.

    Args:
        run: What is shown.
        varied: Recipe fields that get a column.
        rows: Most trials to list; the rest is counted.
        seconds: Since the start.
    """
    everything = list(run.progress.values())
    running = [progress for progress in everything if progress.status == "running"]
    results = ranked(progress.result for progress in everything if progress.result)
    ended = [run.progress[result.trial] for result in results]
    waiting = [progress for progress in everything if progress.status == "waiting"]
    listed = [*running, *ended, *waiting]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "architecture", *varied):
        table.add_column(name)
    for name in ("", "epoch", "train %", "val %", "seconds", "status"):
        table.add_column(name, justify="right" if name in {"epoch", "train %", "val %", "seconds"} else "left")
    for progress in listed[: max(rows, 1)]:
        table.add_row(*_cells(progress, varied))
    more = len(listed) - max(rows, 1)
    counts = {name: sum(progress.status == name for progress in everything) for name in ("running", "waiting", *STYLES)}
    summary = " · ".join(f"{count} {name}" for name, count in counts.items() if count)
    header = Text(f"{run.experiment.name}  {summary}  {_clock(seconds)}", style="bold")
    return Group(header, table, Text(f"… and {more} more", style="dim") if more > 0 else Text(""))


def _cells(progress: TrialProgress, varied: list[str]) -> list[RenderableType]:
    recipe = progress.trial.recipe
    done = progress.epoch + (progress.within_epoch if progress.status == "running" else 0.0)
    text = status(progress.result) if progress.result else progress.status
    if progress.status == "running" and progress.attempts > 1:
        text += f" (attempt {progress.attempts})"
    return [
        recipe.digest,
        recipe.arch,
        *(Text(cell(getattr(recipe, name))) for name in varied),  # a str would be read as markup
        ProgressBar(total=recipe.epochs, completed=done, width=20),
        f"{done:.1f}/{recipe.epochs}" if progress.status == "running" else f"{progress.epoch}/{recipe.epochs}",
        per_cent(progress.latest.get("train_accuracy")),
        per_cent(progress.latest.get("val_accuracy")),
        f"{progress.seconds:.0f}",
        Text(text, style=STYLES.get(progress.status, "dim")),
    ]


@contextmanager
def _lines(run: RunFolder, console: Console) -> Generator[None]:
    stop = threading.Event()
    lines = _Lines(run)

    def write() -> None:
        while not stop.wait(0.5):
            for line in lines.new():
                console.print(line, markup=False, highlight=False, soft_wrap=True)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
        for line in lines.new():
            console.print(line, markup=False, highlight=False, soft_wrap=True)


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
                yield self._line(event["trial"], str(event["event"]))
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


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
