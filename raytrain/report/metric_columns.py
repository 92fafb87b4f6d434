"""The columns of metrics other than accuracy, and their values as text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raytrain.metrics.selection import SELECTIONS, Select
from raytrain.report.text.quantities import DASH, per_cent

if TYPE_CHECKING:
    from raytrain.analysis.ranking import Ranking, Standing  # brings SciPy, which running trials do not wait for

METRIC_HEADINGS = {
    "balanced_accuracy": "balanced accuracy %",
    "macro_f1": "macro F1 %",
    "top5_accuracy": "top-5 accuracy %",
    "nll": "NLL",
    "ece": "ECE %",
}
"""Columns that are shown where they are named, by the names that they have in files."""


def selected_cells(ranking: "Ranking") -> dict[str, list[str]]:
    """Return the columns of the metric that ranks, where it is not accuracy."""
    if ranking.select == "accuracy":
        return {}
    val, test = selected_names(ranking.select)
    values = [(one.mean(ranking.selection.val_field), one.score) for one in ranking.standings]
    return {
        val: [metric_text(ranking.select, value) for value, _ in values],
        test: [metric_text(ranking.select, value) for _, value in values],
    }


def selected_names(select: Select) -> dict[str, str]:
    """Return the headings of a metric that ranks, on the validation and the test images, with the columns' names."""
    selection = SELECTIONS[select]
    unit = "" if selection.in_nats else " %"
    return {f"val {selection.heading}{unit}": selection.val_field, f"test {selection.heading}{unit}": select}


def metric_text(name: str, value: float | None) -> str:
    """Return a metric as tables show it: a loss in nats with four digits, anything else as per cent."""
    if value is None or name != "nll":
        return per_cent(value)
    return f"{value:.4f}"


def metric_sentence(values: Mapping[str, float | None]) -> str:
    """Return the metrics of `METRIC_HEADINGS` in one line, those that are not known left out."""
    known = {name: value for name in METRIC_HEADINGS if (value := values[name]) is not None}
    parts = [f"{METRIC_HEADINGS[name]} {metric_text(name, value)}" for name, value in known.items()]
    return ", ".join(f"{part.replace(' %', '')} %" if " %" in part else part for part in parts)


def interval_text(ranking: "Ranking", standing: "Standing") -> str:
    """Return the interval of the test metric that ranks: of accuracy in per cent."""
    known = standing.score_interval
    if known is None:
        return DASH
    return f"{metric_text(ranking.select, known.low)} to {metric_text(ranking.select, known.high)}"


def selected_bounds(ranking: "Ranking", standing: "Standing") -> dict[str, float | None]:
    """Return the interval of the metric that ranks, where it is not accuracy, by the names of two columns."""
    if ranking.select == "accuracy":
        return {}
    low, high = (known.low, known.high) if (known := standing.score_interval) else (None, None)
    return {f"{ranking.select}_low": low, f"{ranking.select}_high": high}
