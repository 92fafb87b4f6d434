"""Charts of a run as Plotly figures: plain dicts, in Plotly's JSON schema, so that nothing here imports Plotly.

Names are escaped, because Plotly reads some HTML in them. Colours of text and axes are left to the page, which is light
or dark.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from raytrain.analysis.ranking import Standing
from raytrain.analysis.record import RunRecord
from raytrain.baselines.baselines import Baseline, BaselineCurve
from raytrain.report.figures.legend import GREY, Entry

Figure = dict[str, Any]

POINTS = 200
"""Most points of a coloured curve; a screen shows no more."""
GREY_POINTS = 50
"""Most points of a grey curve."""
MOST_SEEDS = 50
"""Most seeds of a coloured configuration that a chart shows."""
MOST_GREY = 300
"""Most trials in grey that a chart shows: a curve more takes 2 kB in the page, and a browser a millisecond."""

BASELINE_DASHES = ("dash", "dot", "dashdot", "longdash")
BASELINE_COLOURS = (GREY, "#b08d6e")
"""Colours of the first and the second four curves of a baseline; each four use all of `BASELINE_DASHES`."""
OVERLAID = ("dash", "dot", "dashdot", "longdash")
"""Line styles of curves that lie on another one."""
LOG_AXIS_SPREAD = 100.0
"""Ratio of highest to lowest loss above which the axis is logarithmic, since one bad start would flatten the rest."""
FINE_TICKS_SPREAD = 1e4
"""Ratio of highest to lowest value below which a logarithmic axis has ticks at 1, 2 and 5."""
UNIT_TICKS_EPOCHS = 10
"""Largest number of epochs with a tick for each; Plotly would also label half epochs."""


def curves(
    record: RunRecord, entries: Sequence[Entry], field: str, *, title: str, baseline: Baseline | None = None
) -> Figure | None:
    """Return the learning curves of the trials that are `shown`, or None when none of them has that field.

    Args:
        record: The run.
        entries: Legend entries of the run's configurations, in the ranking's order.
        field: Column of metrics.jsonl; accuracies are shown in per cent.
        title: Title of the vertical axis.
        baseline: Curves to add, up to the run's last epoch.
    """
    drawn = shown(record.ranking.standings, entries)
    traces: list[Figure] = []
    stopped: list[tuple[float, float, str]] = []
    how: set[str] = set()
    for standing, entry in zip(record.ranking.standings, entries, strict=True):
        first = True
        for result in standing.results:
            if result.trial not in drawn:
                continue
            points = [(row["epoch"], _shown(field, row.get(field))) for row in record.epochs.get(result.trial, ())]
            most = POINTS if entry.coloured else GREY_POINTS
            known = thinned([(epoch, value) for epoch, value in points if value is not None], most=most)
            if not known:
                continue
            seed = f", seed {result.recipe['seed']}" if standing.seeds > 1 else ""
            traces.append(_curve(known, entry, seed=seed, named=first and entry.coloured))
            first = False
            if result.status in {"stopped", "paused"}:
                stopped.append((*known[-1], entry.colour))
                how.add(result.status)
    if not traces:
        return None
    _tell_apart(traces)
    traces.sort(key=lambda trace: trace["opacity"])  # the many grey ones lie below the others
    if stopped:
        traces.append(_ends(stopped, how=" or ".join(sorted(how))))
    if baseline:
        longest = max(trace["x"][-1] for trace in traces)
        traces += _baseline_curves(baseline, field, most=longest)
    layout = _layout("epoch", title)
    spread = _spread([value for trace in traces for value in trace["y"]])
    if field.endswith("loss") and spread > LOG_AXIS_SPREAD:
        layout["yaxis"] |= _logarithmic(spread)
    if max(trace["x"][-1] for trace in traces) <= UNIT_TICKS_EPOCHS:
        layout["xaxis"] |= {"dtick": 1}
    return {"data": traces, "layout": layout}


def shown(standings: Sequence[Standing], entries: Sequence[Entry]) -> frozenset[str]:
    """Return the trials that a chart shows, by id: of coloured and of grey configurations an even sample, if many."""
    coloured = [
        result.trial
        for standing, entry in zip(standings, entries, strict=True)
        if entry.coloured
        for result in _sample(standing.results, MOST_SEEDS)
    ]
    grey = [
        result.trial
        for standing, entry in zip(standings, entries, strict=True)
        if not entry.coloured
        for result in standing.results
    ]
    return frozenset((*coloured, *_sample(grey, MOST_GREY)))


def _sample(some: Sequence[Any], most: int) -> Sequence[Any]:
    return [some[at * len(some) // most] for at in range(most)] if len(some) > most else some


def cost_chart(
    standings: Sequence[Standing], entries: Sequence[Entry], costs: Sequence[float], *, title: str
) -> Figure | None:
    """Return test accuracy against a cost, with the Pareto front; None when fewer than two costs differ.

    Args:
        standings: All configurations; shown are those with a test accuracy that are `shown`, or on the front.
        entries: Legend entry of each configuration.
        costs: Cost of each configuration, such as its number of parameters; above 0.
        title: Title of the horizontal axis, with the unit.
    """
    drawn = shown(standings, entries)
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
    layout = _layout(title, "test accuracy %")
    if (spread := _spread(points["x"])) > 5:
        layout["xaxis"] |= _logarithmic(spread)
    return {"data": [line, points], "layout": layout}


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, quality) that none of lower or equal cost surpasses, the cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((cost, quality))
    return front


def thinned(points: Sequence[tuple[float, float]], *, most: int = POINTS) -> list[tuple[float, float]]:
    """Return at most `most` of the points, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]


def _curve(points: Sequence[tuple[float, float]], entry: Entry, *, seed: str, named: bool) -> Figure:
    label = html.escape(entry.label)
    return {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "x": [epoch for epoch, _ in points],
        "y": [value for _, value in points],
        "name": label,
        "legendgroup": label,
        "meta": entry.label,
        "showlegend": named,
        "opacity": 1 if entry.coloured else 0.4,
        "line": {"color": entry.colour, "dash": entry.dash, "width": 2 if entry.coloured else 1},
        "hovertemplate": f"{label}{seed}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    }


def _tell_apart(traces: Sequence[Figure]) -> None:
    """Break the lines of coloured curves that lie on another one with equal values, so that both are seen."""
    seen: dict[tuple[Any, ...], list[str]] = {}
    for trace in traces:
        labels = seen.setdefault((*trace["x"], *trace["y"]), [])
        if trace["meta"] not in labels:
            labels.append(trace["meta"])
        if trace["opacity"] == 1 and (below := labels.index(trace["meta"])):
            trace["line"] |= {"dash": OVERLAID[(below - 1) % len(OVERLAID)]}
            equal = html.escape(labels[0])
            trace["hovertemplate"] = trace["hovertemplate"].replace("<extra>", f"<br>equal to {equal}<extra>")


def _ends(stopped: Sequence[tuple[float, float, str]], *, how: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [epoch for epoch, _, _ in stopped],
        "y": [value for _, value, _ in stopped],
        "name": f"{how} by ASHA",
        "marker": {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": [colour for *_, colour in stopped]}},
        "hoverinfo": "skip",
    }


def _baseline_curves(baseline: Baseline, field: str, *, most: float) -> list[Figure]:
    # logs from elsewhere seldom have a validation split: their test set stands beside it, and says so
    of, note = (field.replace("val_", "test_"), " (test)") if field.startswith("val_") else (field, "")
    traces: list[Figure] = []
    for index, curve in enumerate(baseline.curves):
        points = _baseline_points(curve, of, most=most)
        if not points:
            continue
        name = html.escape(f"{baseline.name}: {curve.name}{note}")
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [epoch for epoch, _ in points],
                "y": [value for _, value in points],
                "name": name,
                "line": {
                    "color": BASELINE_COLOURS[index // len(BASELINE_DASHES) % len(BASELINE_COLOURS)],
                    "width": 1.5,
                    "dash": BASELINE_DASHES[index % len(BASELINE_DASHES)],
                },
                "hovertemplate": f"{name}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
            }
        )
    return traces


def _baseline_points(curve: BaselineCurve, field: str, *, most: float) -> list[tuple[float, float]]:
    values: Sequence[float | None] = getattr(curve, field, ())
    known = [(epoch, _shown(field, value)) for epoch, value in zip(curve.epochs, values, strict=False) if epoch <= most]
    return thinned([(epoch, value) for epoch, value in known if value is not None])


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


def _shown(field: str, value: float | None) -> float | None:
    """Return a value in the unit of its axis, to as many digits as anyone sees; None for none and for no number."""
    if value is None or not math.isfinite(value):
        return None
    if field.endswith("accuracy"):
        return round(100 * value, 3)
    return float(f"{value:.5g}")


def _spread(values: Sequence[float]) -> float:
    positive = [value for value in values if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def _logarithmic(spread: float) -> Figure:
    # with a format every tick has its whole number; else those between powers of ten have a single small digit
    return {"type": "log", "tickformat": ".3~g", **({"dtick": "D2"} if spread < FINE_TICKS_SPREAD else {})}


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
        "hovermode": "closest",
    }


def figures(
    record: RunRecord, entries: Sequence[Entry], baseline: Baseline | None
) -> Mapping[str, Mapping[str, Figure]]:
    """Return every chart that the run has data for: its variants by title, by the name of the chart."""
    splits = {"validation": "val", "training": "train", "test": "test"}
    standings = record.ranking.standings
    parameters = [standing.results[0].parameters / 1e6 for standing in standings]
    seconds = [sum(result.seconds for result in standing.results) / standing.seeds for standing in standings]
    charts = {
        kind: {
            title: curves(record, entries, f"{split}_{kind}", title=f"{title} {unit}", baseline=baseline)
            for title, split in splits.items()
        }
        for kind, unit in (("accuracy", "accuracy %"), ("loss", "loss in nats"))
    }
    if rate := curves(record, entries, "lr", title="learning rate"):
        rate["layout"]["showlegend"] = False  # the same as of the curves above
    charts["rate"] = {"learning rate": rate}
    charts["cost"] = {
        "parameters": cost_chart(standings, entries, parameters, title="parameters in millions"),
        "training time": cost_chart(standings, entries, seconds, title="training seconds"),
    }
    kept = {name: {title: figure for title, figure in some.items() if figure} for name, some in charts.items()}
    return {name: some for name, some in kept.items() if some}
