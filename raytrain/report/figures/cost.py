"""The chart of accuracy against what it costs, with the Pareto front."""

import html
from collections.abc import Iterable, Sequence
from statistics import median

from raytrain.analysis.ranking import Standing
from raytrain.report.figures.axes import Figure, layout_of, logarithmic, spread_of
from raytrain.report.figures.legend import GREY, Entry
from raytrain.report.figures.thinning import drawn_trials


def cost_chart(
    standings: Sequence[Standing], entries: Sequence[Entry], costs: Sequence[float], *, title: str
) -> Figure | None:
    """Return test accuracy against a cost, with the Pareto front; None when fewer than two costs differ.

    Args:
        standings: All configurations; shown are those with a test accuracy of `drawn_trials`, or on the front.
        entries: Legend entry of each configuration.
        costs: Cost of each configuration, such as its number of parameters; above 0.
        title: Title of the horizontal axis, with the unit.
    """
    drawn = drawn_trials(standings, entries)
    known = [
        (cost, 100 * standing.test_accuracy, standing, entry, any(one.trial in drawn for one in standing.results))
        for standing, entry, cost in zip(standings, entries, costs, strict=True)
        if standing.test_accuracy is not None and cost > 0
    ]
    if len({cost for cost, *_ in known}) < 2:
        return None
    front = pareto([(cost, accuracy) for cost, accuracy, *_ in known])
    visible = [one[:-1] for one in known if one[-1] or one[:2] in front]
    names = [html.escape(entry.label) for *_, entry in visible]
    middle = median(cost for cost, *_ in visible)
    points: Figure = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [cost for cost, *_ in visible],
        "y": [round(accuracy, 3) for _, accuracy, *_ in visible],
        # only those of the front, or names would lie on names; towards the middle, or they would leave the chart
        "text": [name if one[:2] in front else "" for name, one in zip(names, visible, strict=True)],
        "textposition": ["top right" if cost < middle else "top left" for cost, *_ in visible],
        "customdata": names,
        "marker": {"size": 10, "color": [entry.colour for *_, entry in visible]},
        "error_y": _error_bars([(accuracy, standing) for _, accuracy, standing, _ in visible]),
        "hovertemplate": "%{customdata}<br>%{x:.4g}<br>%{y:.2f} %<extra></extra>",
        "showlegend": False,
        "cliponaxis": False,
    }
    line: Figure = {
        "type": "scatter",
        "mode": "lines",
        "x": [cost for cost, _ in front],
        "y": [round(accuracy, 3) for _, accuracy in front],
        "line": {"shape": "hv", "dash": "dot", "width": 1.5, "color": GREY},
        "name": "Pareto front",
        "hoverinfo": "skip",
    }
    layout = layout_of(title, "test accuracy %")
    if (spread := spread_of(points["x"])) > 5:
        layout["xaxis"] |= logarithmic(spread)
    return {"data": [line, points], "layout": layout}


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, quality) that none of lower or equal cost surpasses, the cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def _error_bars(rows: Sequence[tuple[float, Standing]]) -> Figure:
    def distance(accuracy: float, bound: float | None) -> float:
        return 0.0 if bound is None else round(abs(100 * bound - accuracy), 3)

    bounds = [(accuracy, standing.interval) for accuracy, standing in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [distance(accuracy, interval.high if interval else None) for accuracy, interval in bounds],
        "arrayminus": [distance(accuracy, interval.low if interval else None) for accuracy, interval in bounds],
        "thickness": 1,
        "width": 4,
        "color": GREY,
    }
