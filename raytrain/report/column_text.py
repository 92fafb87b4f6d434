"""The columns of the ranked table as text: their headings and their values."""

from collections.abc import Mapping, Sequence
from typing import Any

from raytrain.analysis.columns import is_recipe_field
from raytrain.analysis.statistics.p_values import p_text
from raytrain.metrics.selection import SELECTIONS
from raytrain.report.metric_columns import METRIC_HEADINGS, selected_names
from raytrain.report.text.quantities import DASH, per_cent
from raytrain.training.field_rules import inert

HEADINGS = {
    "arch": "architecture",
    "train_accuracy": "train accuracy %",
    "val_accuracy": "val accuracy %",
    "test_accuracy": "test accuracy %",
    "test_tta_accuracy": "with TTA %",
    **METRIC_HEADINGS,
}
"""Headings for readers of Markdown and of the report, by the name of the column; the others are headed by their name.
The terminal has the names."""
_NAMES = {
    **{heading: name for name, heading in HEADINGS.items()},
    **{
        heading: name
        for select in SELECTIONS
        if select != "accuracy"
        for heading, name in selected_names(select).items()
    },
}


def heading_of(name: str) -> str:
    """Return the heading of a column for readers."""
    return HEADINGS.get(name, f"{name} %" if _is_share(name) else name)


def name_of(heading: str) -> str:
    """Return the heading of a column in the terminal: its name, with " %" where it is shown in per cent."""
    name = _NAMES.get(heading)
    return heading if name is None else f"{name} %" if _is_share(name) else name


def _is_share(name: str) -> bool:
    measure = name.removesuffix("_low").removesuffix("_high")
    return (measure.endswith(("accuracy", "f1")) and not is_recipe_field(name)) or measure.endswith("ece")


def value_text(name: str, value: object) -> str:
    """Return a value of a column as a table shows it: shares in per cent, losses in nats with four digits."""
    if value is None:
        return DASH
    if is_recipe_field(name) or not isinstance(value, int | float):
        return cell(value)
    if _is_share(name):
        return per_cent(value)
    if name == "p_value":
        return p_text(value)
    if name == "parameters":
        return f"{value / 1e6:.2f} M"
    if name == "seconds":
        return f"{value:.1f}"
    if name.endswith(("loss", "nll", "_low", "_high")):
        return f"{value:.4f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def axis_cells(recipes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the cells of recipe fields that vary; a dash where one has no effect, as momentum beside adam."""
    # recipes of an older version lack fields, and are not asked where nothing varies
    without_effect = [inert(recipe) for recipe in recipes] if names else []
    return {
        name: [
            DASH if name in fields else cell(recipe[name])
            for recipe, fields in zip(recipes, without_effect, strict=True)
        ]
        for name in names
    }


def cell(value: object) -> str:
    """Return the value of a recipe field as a table shows it."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
