"""Figures of lines and points: learning curves, and accuracy against what it cost."""

import html
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from raytrain.analysis.record import RunRecord
from raytrain.report.figures.below import labelled
from raytrain.report.figures.cost import cost_chart
from raytrain.report.figures.legend import GREY, Entry
from raytrain.report.figures.pictures import draw_curves, style

INK = "black"
MOST_GREY_BARS = 50
"""Most grey points that have their intervals drawn."""
_LOOK: dict[str, Any] = {"markersize": 4, "capsize": 2, "linewidth": 0.8}


def learning_curves(figure: Figure, record: RunRecord, entries: Sequence[Entry], field: str) -> bool:
    """Draw a column of metrics.jsonl over the epochs; return whether any trial has it."""
    if not any(row.get(field) is not None for rows in record.epochs.values() for row in rows):
        return False
    axes = figure.subplots()
    draw_curves(axes, record, entries, field, None)
    style(axes, _title(field), INK)
    return True


def _title(field: str) -> str:
    split, _, kind = field.partition("_")
    words = {"val": "validation", "test": "test", "train": "training"}
    unit = {"accuracy": "accuracy (%)", "loss": "loss (nats)"}
    return f"{words[split]} {unit[kind]}" if kind else "learning rate"


def costs(figure: Figure, record: RunRecord, entries: Sequence[Entry], of: str) -> bool:
    """Draw test accuracy against a cost, with the Pareto front; return whether two costs differ.

    Args:
        figure: Figure to draw into.
        record: The run.
        entries: Legend entries of its configurations.
        of: The cost: "seconds" of training, mean over the seeds, or "parameters" in millions.
    """
    standings = record.ranking.standings
    if of == "seconds":
        values = [standing.mean("seconds") or 0.0 for standing in standings]
    else:
        values = [standing.results[0].parameters / 1e6 for standing in standings]
    title = {"seconds": "training time (s)", "parameters": "parameters (millions)"}[of]
    chart = cost_chart(standings, entries, values, title=title)
    if chart is None:
        return False
    axes = figure.subplots()
    front, points = chart["data"]
    axes.plot(
        front["x"], front["y"], drawstyle="steps-post", linestyle=":", color=front["line"]["color"], label=front["name"]
    )
    _draw_points(axes, points, {html.escape(entry.label): entry for entry in entries})
    axes.set_ylabel("test accuracy (%)")
    axes.set_xlabel(title)
    if chart["layout"]["xaxis"].get("type") == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return True


def _draw_points(axes: Axes, points: dict[str, Any], entries: dict[str, Entry]) -> None:
    """Draw the grey points at once, without intervals where those would hide each other, and the named ones above."""
    names = points["customdata"]
    grey = [index for index, name in enumerate(names) if not entries[name].coloured]
    if grey:
        bars = _bars(points, grey) if len(grey) <= MOST_GREY_BARS else None
        x, y = ([points[axis][index] for index in grey] for axis in "xy")
        axes.errorbar(x, y, yerr=bars, color=GREY, fmt=".", **_LOOK)
    for index, name in enumerate(names):
        entry = entries[name]
        if entry.coloured:
            marker = {"solid": "o", "dash": "s"}.get(entry.dash, "^")
            at = ([points["x"][index]], [points["y"][index]])
            bars, label = _bars(points, [index]), labelled(entry.label)
            axes.errorbar(*at, yerr=bars, color=entry.colour, fmt=marker, label=label, **_LOOK)


def _bars(points: dict[str, Any], indices: Sequence[int]) -> list[list[float]]:
    """Return how far the intervals of some points reach down and up."""
    return [[points["error_y"][side][index] for index in indices] for side in ("arrayminus", "array")]
