"""Charts of a run as Plotly figures: plain dicts, in Plotly's JSON schema, so that nothing here imports Plotly.

Names are escaped, because Plotly reads some HTML in them. Colours of text and axes are left to the page, which is light
or dark.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from raytrain.analysis.record import RunRecord
from raytrain.baselines.baselines import Baseline, BaselineCurve
from raytrain.report.figures.axes import Figure, layout_of, logarithmic, spread_of
from raytrain.report.figures.cost import cost_chart
from raytrain.report.figures.legend import GREY, Entry
from raytrain.report.figures.thinning import GREY_POINTS, POINTS, drawn_trials, thinned
from raytrain.report.text.visible import in_one_line

BASELINE_DASHES = ("dash", "dot", "dashdot", "longdash")
BASELINE_COLOURS = (GREY, "#b08d6e")
"""Colours of the first and the second four curves of a baseline; each four use all of `BASELINE_DASHES`."""
OVERLAID = ("dash", "dot", "dashdot", "longdash")
"""Line styles of curves that lie on another one."""
LOG_AXIS_SPREAD = 100.0
"""Ratio of highest to lowest loss above which the axis is logarithmic, since one bad start would flatten the rest."""
UNIT_TICKS_EPOCHS = 10
"""Largest number of epochs with a tick for each; Plotly would also label half epochs."""


def curves(
    record: RunRecord, entries: Sequence[Entry], field: str, *, title: str, baseline: Baseline | None = None
) -> Figure | None:
    """Return the learning curves of the trials of `drawn_trials`, or None when none of them has that field.

    Args:
        record: The run.
        entries: Legend entries of the run's configurations, in the ranking's order.
        field: Column of metrics.jsonl; accuracies are shown in per cent.
        title: Title of the vertical axis.
        baseline: Curves to add, up to the run's last epoch.
    """
    drawn = drawn_trials(record.ranking.standings, entries)
    traces: list[Figure] = []
    stopped: list[tuple[float, float, str]] = []
    how: set[str] = set()
    for standing, entry in zip(record.ranking.standings, entries, strict=True):
        first = True
        for result in standing.results:
            if result.trial not in drawn:
                continue
            points = [(row["epoch"], _axis_value(field, row.get(field))) for row in record.epochs.get(result.trial, ())]
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
    layout = layout_of("epoch", title)
    spread = spread_of([value for trace in traces for value in trace["y"]])
    if field.endswith("loss") and spread > LOG_AXIS_SPREAD:
        layout["yaxis"] |= logarithmic(spread)
    if max(trace["x"][-1] for trace in traces) <= UNIT_TICKS_EPOCHS:
        layout["xaxis"] |= {"dtick": 1}
    return {"data": traces, "layout": layout}


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
        name = html.escape(in_one_line(f"{baseline.name}: {curve.name}{note}"))
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
    known = [
        (epoch, _axis_value(field, value)) for epoch, value in zip(curve.epochs, values, strict=False) if epoch <= most
    ]
    return thinned([(epoch, value) for epoch, value in known if value is not None])


def _axis_value(field: str, value: float | None) -> float | None:
    """Return a value in the unit of its axis, to as many digits as anyone sees; None for none and for no number."""
    if value is None or not math.isfinite(value):
        return None
    if field.endswith("accuracy"):
        return round(100 * value, 3)
    return float(f"{value:.5g}")


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
        charts["rate"] = {"learning rate": rate}
    charts["cost"] = {
        "parameters": cost_chart(standings, entries, parameters, title="parameters in millions"),
        "training time": cost_chart(standings, entries, seconds, title="training seconds"),
    }
    kept = {name: {title: figure for title, figure in some.items() if figure} for name, some in charts.items()}
    return {name: some for name, some in kept.items() if some}
