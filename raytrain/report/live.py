"""A run while it runs, as a table that is drawn again and again on a terminal or in a notebook.

Where there is neither, `lines` says it in plain lines. Both only read the run's progress.
"""

import io
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytrain.background import repeating
from raytrain.experiment.duration.costs import Kind, kind_of
from raytrain.report.column_text import cell
from raytrain.report.lines import lines_shown
from raytrain.report.table import status
from raytrain.report.text.columns import narrowed, wrapped
from raytrain.report.text.quantities import clock, data_size, per_cent
from raytrain.report.text.visible import in_one_line
from raytrain.runs.progress import Setting, TrialProgress
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
AROUND = 7
"""Lines of a terminal that the table leaves: two above it, its heading, one below, and some of the shell."""
REST = 20
"""How many times as long as drawing the table takes it is not drawn again."""
Left = Callable[[], float | None]
"""Function that returns the seconds until the run ends; None while they are not known."""


@contextmanager
def run_shown(state: RunState, console: Console, *, left: Left = lambda: None) -> Generator[None]:
    """Show a run for as long as the context lasts: a live table on a terminal or in a notebook, else plain lines.

    Args:
        state: State of the run, which is read from another thread.
        console: Console to write to.
        left: Function that returns the seconds until the run ends.
    """
    if console.is_jupyter:
        with _run_shown_in_notebook(state, left):
            yield
        return
    if not console.is_terminal or console.is_dumb_terminal:
        with lines_shown(state, console):
            yield
        return
    table = seldom(_table_of(state, left))
    with Live(
        get_renderable=lambda: table(console.width, console.height - AROUND),
        console=console,
        refresh_per_second=4,
        transient=True,
    ):
        yield


@contextmanager
def _run_shown_in_notebook(state: RunState, left: Left) -> Generator[None]:
    """Show the live table in the output of a notebook's cell, drawn again once a second."""
    from IPython.display import HTML, display

    table = _table_of(state, left)

    def drawn(table: Callable[[int, int], RenderableType]) -> HTML:
        canvas = Console(record=True, file=io.StringIO(), width=NOTEBOOK_WIDTH, force_jupyter=False)
        canvas.print(table(NOTEBOOK_WIDTH, NOTEBOOK_ROWS))
        return HTML(canvas.export_html(inline_styles=True, code_format="<pre style='line-height:1.3'>{code}</pre>"))

    handle: Any = display(drawn(table), display_id=True)
    now_and_then = seldom(table)
    try:
        with repeating(lambda: handle.update(drawn(now_and_then)), every=1.0):
            yield
    finally:
        handle.update(drawn(table))


def _table_of(state: RunState, left: Left) -> Callable[[int, int], RenderableType]:
    """Return a function that draws the table of a run as it is now, by width in characters and number of rows."""
    started = time.monotonic()
    varied = varied_fields(progress.trial.recipe.model_dump() for progress in state.progress.values())
    return lambda width, rows: live_table(
        state, varied=varied, rows=rows, width=width, seconds=time.monotonic() - started, left=left()
    )


def seldom(
    draw: Callable[[int, int], RenderableType], *, now: Callable[[], float] = time.monotonic
) -> Callable[[int, int], RenderableType]:
    """Return a function that draws again only after `REST` times as long as the last drawing took.

    The table of thousands of trials takes a tenth of a second, and the trials need that processor time.

    Args:
        draw: Function that draws, by width in characters and number of rows.
        now: Function that returns the time in seconds.
    """
    drawn: dict[tuple[int, int], RenderableType] = {}
    due = 0.0

    def drawn_or_kept(width: int, rows: int) -> RenderableType:
        nonlocal due
        before = now()
        if before >= due or (width, rows) not in drawn:
            drawn.clear()
            drawn[width, rows] = draw(width, rows)
            after = now()
            due = after + REST * (after - before)
        return drawn[width, rows]

    return drawn_or_kept


def live_table(
    state: RunState, *, varied: list[str], rows: int, width: int, seconds: float, left: float | None = None
) -> RenderableType:
    """Return what the terminal shows now: running trials first, then ended ones by rank, then paused and waiting ones.

    Args:
        state: State of the run.
        varied: Names of the recipe fields that get a column.
        rows: Most trials to list; the others are counted.
        width: Width of the terminal in characters; less important columns are left out until the table fits.
        seconds: Seconds since the start.
        left: Seconds until the run ends; None if not known.
    """
    everything = list(state.progress.values())
    by_status: dict[str, list[TrialProgress]] = {name: [] for name in ("running", "waiting", *STYLES)}
    for progress in everything:
        by_status.setdefault(progress.status, []).append(progress)
    running, waiting = by_status["running"], [*by_status["paused"], *by_status["waiting"]]
    results = [progress.result for progress in everything if progress.result]
    best = ranked(results, most=max(rows, 1) - len(running))  # of thousands, a screen of them is shown
    listed = [*running, *(state.progress[result.trial] for result in best), *waiting][: max(rows, 1)]
    more = len(running) + len(results) + len(waiting) - max(rows, 1)
    counts = {name: len(by_status[name]) for name in ("running", "waiting", *STYLES)}
    summary = " · ".join(f"{count} {name}" for name, count in counts.items() if count)
    header = Text(f"{state.experiment.name}  {summary}  {clock(seconds)}", style="bold")
    speeds = {one.trial.id: speed for one in running if (speed := _images_per_s(one, state.setting))}
    forecast = [f"about {clock(left)} left"] if left is not None and running else []
    forecast += [f"{sum(speeds.values()):,.0f} images/s"] if speeds else []
    forecast += [f"{data_size(held)} of GPU memory"] if (held := sum(one.gpu_bytes for one in running)) else []
    table = _table(listed, varied, width, speeds, _seconds_left(everything))
    return Group(
        header,
        *([Text(" · ".join(forecast))] if forecast else []),
        table,
        Text(f"… and {more} more", style="dim") if more > 0 else Text(""),
    )


def _table(
    listed: list[TrialProgress],
    varied: list[str],
    width: int,
    speeds: Mapping[str, float],
    seconds_left: Mapping[str, float],
) -> Table:
    columns: dict[str, Callable[[TrialProgress], str]] = {
        "trial": lambda progress: progress.trial.recipe.digest,
        "arch": lambda progress: progress.trial.recipe.arch,
        **{name: _field(name) for name in varied},
        "progress": lambda _: " " * BAR_WIDTH,
        "epoch": _epoch,
        "images/s": lambda progress: f"{speeds[progress.trial.id]:,.0f}" if progress.trial.id in speeds else "",
        "GPU": lambda progress: data_size(progress.gpu_bytes) if _holds_gpu(progress) else "",
        "train %": lambda progress: _share(progress.latest.get("train_accuracy")),
        "val %": lambda progress: _share(progress.latest.get("val_accuracy")),
        "time": lambda progress: clock(progress.seconds) if progress.seconds else "",
        "left": lambda progress: clock(left) if (left := seconds_left.get(progress.trial.id)) is not None else "",
        "status": _status,
    }
    cells = {name: [text(progress) for progress in listed] for name, text in columns.items()}
    alike = ["arch"] if varied and len(set(cells["arch"])) == 1 else []
    spare = ["progress", "trial", "train %", "time", "GPU", "images/s", *alike, "left", "epoch"]
    cells = {name: texts for name, texts in cells.items() if name not in _ONLY_RUNNING or any(texts)}
    cells = _fitting(cells, width=width, dispensable=[name for name in spare if name not in varied])
    texts = [name for name in cells if name in {"trial", "arch", "status", *varied}]
    widths = narrowed(cells, texts=texts, width=width, gap=2)  # no number is cut
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in cells:
        numbers = name in {"epoch", "train %", "val %", "time", *_ONLY_RUNNING}
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True, overflow="fold")
    for index, progress in enumerate(listed):
        # Text, because a str would be read as markup
        row = {name: Text(wrapped(in_one_line(texts[index]), widths[name])) for name, texts in cells.items()}
        row["status"].stylize(STYLES.get(progress.status, "dim"))
        table.add_row(*(_bar(progress) if name == "progress" else text for name, text in row.items()))
    return table


_ONLY_RUNNING = ("images/s", "GPU", "left")
"""Columns that only running trials fill; they are left out where none does."""


def _fitting(
    columns: dict[str, list[str]], *, width: int, dispensable: Iterable[str], gap: int = 2
) -> dict[str, list[str]]:
    """Return the columns without as many of the dispensable ones as it takes to fit.

    A table that wraps its cells cannot be read; one with fewer columns can.

    Args:
        columns: Cells by heading.
        width: Width of a line in characters.
        dispensable: Headings of the columns to leave out, in that order.
        gap: Number of characters between columns.
    """
    kept = dict(columns)
    for heading in dispensable:
        if sum(max(map(cell_len, (name, *cells))) + gap for name, cells in kept.items()) <= width:
            break
        kept.pop(heading, None)
    return kept


def _images_per_s(progress: TrialProgress, setting: Setting | None) -> float | None:
    """Return the training images per second of the last epoch, with its evaluation; None if not known."""
    seconds = progress.latest.get("seconds")
    images = setting.images.get(progress.trial.recipe.data_key) if setting else None
    return images / seconds if images and seconds else None


def _holds_gpu(progress: TrialProgress) -> bool:
    return progress.status == "running" and progress.gpu_bytes > 0


def _share(accuracy: float | None) -> str:
    return "" if accuracy is None else per_cent(accuracy)


def _field(name: str) -> Callable[[TrialProgress], str]:
    return lambda progress: cell(getattr(progress.trial.recipe, name))


def _done(progress: TrialProgress) -> float:
    return progress.epoch + (progress.within_epoch if progress.status == "running" else 0.0)


def _epoch(progress: TrialProgress) -> str:
    if progress.status == "waiting" and not progress.epoch:
        return ""
    done = f"{_done(progress):.1f}" if progress.status == "running" else str(progress.epoch)
    return f"{done}/{progress.trial.recipe.epochs}"


def _seconds_left(everything: Sequence[TrialProgress]) -> dict[str, float]:
    """Return how long running trials still take if they are not stopped, by trial id.

    They are judged by their own epochs; before the first one has ended, by those of trials whose epochs take as long.
    """
    running = [one for one in everything if one.status == "running"]
    known: dict[Kind, tuple[float, int]] = {kind_of(one.trial.recipe): (0.0, 0) for one in running if not one.epoch}
    for one in everything if known else ():
        if one.epoch and (kind := kind_of(one.trial.recipe)) in known:
            seconds, epochs = known[kind]
            known[kind] = (seconds + one.seconds, epochs + one.epoch)
    left: dict[str, float] = {}
    for one in running:
        seconds, epochs = (one.seconds, one.epoch) if one.epoch else known[kind_of(one.trial.recipe)]
        if epochs:
            left[one.trial.id] = seconds / epochs * (one.trial.recipe.epochs - _done(one))
    return left


def _status(progress: TrialProgress) -> str:
    again = f" (attempt {progress.attempts})" if progress.status == "running" and progress.attempts > 1 else ""
    return (status(progress.result) if progress.result else progress.status) + again


def _bar(progress: TrialProgress) -> RenderableType:
    if progress.status == "waiting" and not progress.epoch:
        return Text("")
    return ProgressBar(total=progress.trial.recipe.epochs, completed=_done(progress), width=BAR_WIDTH)
