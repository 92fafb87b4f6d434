"""Curves of all trials as pictures: four PNG files as TensorBoard shows them, and the SVG of a page without scripts."""

import html
import io
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raytrain.analysis.record import RunRecord
from raytrain.baselines.baselines import Baseline
from raytrain.report.figures.below import add_legend, labelled
from raytrain.report.figures.charts import curves
from raytrain.report.figures.legend import Entry

PICTURES = {
    "Accuracy_Test": ("test_accuracy", "accuracy %"),
    "Accuracy_Train": ("train_accuracy", "accuracy %"),
    "Loss_Test": ("test_loss", "loss in nats"),
    "Loss_Train": ("train_loss", "loss in nats"),
}
"""Column of metrics.jsonl and unit of each picture, by file name without suffix."""
INK = "#010203"
"""Placeholder in an SVG that is replaced by the page's text colour."""
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
"""Matplotlib's line styles, by Plotly's names."""


def pictures(record: RunRecord, entries: Sequence[Entry], baseline: Baseline | None = None) -> dict[str, bytes]:
    """Return `PICTURES` as PNG files by name, over all trials of a run.

    Where the test set was not tracked, a point stands at the epoch whose weights were tested, and the line is the
    validation split's.
    """
    return {name: _png(record, entries, name, baseline) for name in PICTURES}


def static_curves(record: RunRecord, entries: Sequence[Entry], baseline: Baseline | None = None) -> str:
    """Return validation (or else training) accuracy and loss as one SVG element that takes the colour of the text."""
    with quiet():
        figure = _figure(9, 3.6)
        for axes, kind, unit in zip(figure.subplots(1, 2), ("accuracy", "loss"), ("accuracy %", "nats"), strict=True):
            split = "val" if _has(record, f"val_{kind}") else "train"
            draw_curves(axes, record, entries, f"{split}_{kind}", baseline)
            axes.set_title({"val": "validation", "train": "training"}[split] + f" {kind}", color=INK, fontsize=10)
            style(axes, unit, INK)
        add_legend(figure, least=1, size=8, ink=INK)
        stream = io.StringIO()
        # without a date, so that the same run makes the same page
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    # without the white space between elements, of which a browser makes four thousand nodes for 300 curves
    return re.sub(r">\s+<", "><", svg[svg.index("<svg") :]).replace(INK, "currentColor")


def _png(record: RunRecord, entries: Sequence[Entry], name: str, baseline: Baseline | None) -> bytes:
    field, unit = PICTURES[name]
    with quiet():
        figure = _figure(8, 5.4)
        axes = figure.subplots()
        kind = field.removeprefix("test_")
        tracked = not field.startswith("test_") or _has(record, field)
        draw_curves(axes, record, entries, field if tracked else f"val_{kind}", baseline if tracked else None)
        if not tracked:
            _draw_tests(axes, record, entries, field)
        title = field.replace("_", " ") + ("" if tracked else " (points) and validation (lines)")
        axes.set_title(f"{record.name}: {title}", parse_math=False)
        style(axes, unit, "black")
        add_legend(figure, least=1, size=8)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()


def _figure(width: float, height: float) -> Figure:
    # not pyplot, which would look for a display and keep every figure
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # it knows how wide a text is
    return figure


def draw_curves(axes: Axes, record: RunRecord, entries: Sequence[Entry], field: str, baseline: Baseline | None) -> None:
    """Draw what `charts.curves` returns, if anything, with the labels of a legend."""
    figure = curves(record, entries, field, title="", baseline=baseline)
    if figure and figure["layout"]["yaxis"].get("type") == "log":
        axes.set_yscale("log")
    for trace in figure["data"] if figure else ():
        if "lines" not in trace["mode"] and "line" in trace.get("marker", {}):
            colours = trace["marker"]["line"]["color"]
            axes.scatter(trace["x"], trace["y"], marker="x", c=colours, zorder=3, label=trace["name"])
            continue
        line: Mapping[str, Any] = trace["line"]
        axes.plot(
            trace["x"],
            trace["y"],
            color=line["color"],
            linestyle=LINES[line["dash"]],
            linewidth=0.8 * line["width"],
            alpha=trace.get("opacity", 1),
            marker="o" if len(trace["x"]) == 1 else None,
            label=labelled(_plain(trace["name"])) if trace.get("showlegend", True) else None,
        )


def _draw_tests(axes: Axes, record: RunRecord, entries: Sequence[Entry], field: str) -> None:
    unit = 100 if field.endswith("accuracy") else 1
    points = [
        (result.best_epoch or result.epochs, unit * value, entry.colour)
        for standing, entry in zip(record.ranking.standings, entries, strict=True)
        for result in standing.results
        if (value := getattr(result, field)) is not None
    ]
    if points:  # all at once: a call each takes minutes for thousands of trials
        epochs, heights, colours = zip(*points, strict=True)
        axes.scatter(epochs, heights, c=colours, zorder=3, s=28)


def _has(record: RunRecord, field: str) -> bool:
    return any(row.get(field) is not None for rows in record.epochs.values() for row in rows)


def _plain(name: str) -> str:
    return html.unescape(name)


def style(axes: Axes, unit: str, ink: str) -> None:
    """Have axes say their unit over epochs, without a frame, in a colour."""
    axes.set_xlabel("epoch", color=ink)
    axes.set_ylabel(unit, color=ink)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, alpha=0.25)
    axes.tick_params(colors=ink)
    for name, spine in axes.spines.items():
        spine.set_visible(name in {"left", "bottom"})
        spine.set_color(ink)


@contextmanager
def quiet() -> Generator[None]:
    """Draw with text as text in an SVG, with the same ids every time, and without a word on letters a font lacks.

    A file matplotlibrc does not count: one in the working folder may be somebody else's, and have LaTeX run.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "raytrain"})
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield
