"""Axes of the charts of a run."""

from collections.abc import Sequence
from typing import Any

Figure = dict[str, Any]
"""A figure, or a part of one, in Plotly's JSON schema."""

FINE_TICKS_SPREAD = 1e4
"""Ratio of highest to lowest value below which a logarithmic axis has ticks at 1, 2 and 5."""


def spread_of(values: Sequence[float]) -> float:
    """Return the highest of the positive values over the lowest; 1.0 where there are none."""
    positive = [value for value in values if value > 0]
    return max(positive) / min(positive) if positive else 1.0


def logarithmic(spread: float) -> Figure:
    """Return the settings of a logarithmic axis whose highest value is `spread` times its lowest."""
    # with a format every tick has its whole number; else those between powers of ten have a single small digit
    return {"type": "log", "tickformat": ".3~g", **({"dtick": "D2"} if spread < FINE_TICKS_SPREAD else {})}


def layout_of(x: str, y: str) -> Figure:
    """Return the layout of a chart with these titles of its axes."""
    return {
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
        "hovermode": "closest",
    }
