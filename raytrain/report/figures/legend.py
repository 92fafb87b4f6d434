"""How configurations are called and coloured, the same in every chart and picture of a run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.analysis.ranking import Ranking, Standing
from raytrain.report.column_text import cell
from raytrain.report.text.visible import in_one_line
from raytrain.runs.results import varied_fields

COLOURS = ("#3b82c4", "#e07b39", "#2f9e6e", "#c9518f", "#8a6fd1", "#b8922b", "#37a3b5", "#d15050")
"""Colours of the configurations, which differ on white, on black and for most colour-blind readers."""
GREY = "#8b8f98"
DASHES = ("solid", "dash", "dot")
"""Line styles of the first, second and third eight configurations, by Plotly's names."""
MOST_COLOURED = len(COLOURS) * 2
"""Number of configurations, best first, that have a colour; the others are grey."""


@dataclass(frozen=True)
class Entry:
    """How a configuration is shown.

    Attributes:
        label: Text that distinguishes the configuration from the others.
        colour: CSS colour.
        dash: Line style, one of `DASHES`.
        coloured: Whether the configuration has a colour and an entry in the legend.
    """

    label: str
    colour: str
    dash: str
    coloured: bool


def legend(ranking: Ranking, now: Mapping[str, str] | None = None) -> list[Entry]:
    """Return an entry for each of the ranking's configurations, in its order.

    Args:
        ranking: Ranking to show.
        now: What trials that have not ended do, by trial id; without it they are "unfinished".
    """
    labels = [in_one_line(label) for label in _labels(ranking.standings, now or {})]
    return [
        Entry(label, COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS)], coloured=True)
        if index < MOST_COLOURED
        else Entry(label, GREY, DASHES[0], coloured=False)
        for index, label in enumerate(labels)
    ]


def _labels(standings: Sequence[Standing], now: Mapping[str, str]) -> list[str]:
    recipes = [standing.results[0].recipe for standing in standings]
    varied = [name for name in varied_fields(recipes) if name not in {"seed", "val_size"}]
    several_archs = len({recipe["arch"] for recipe in recipes}) > 1
    labels = [_label(recipe, varied, with_arch=several_archs or not varied) for recipe in recipes]
    return list(_distinct(labels, standings, now))


def _label(recipe: Mapping[str, Any], varied: Sequence[str], *, with_arch: bool) -> str:
    parts = [str(recipe["arch"])] if with_arch else []
    for name in varied:
        value = recipe[name]
        # "cosine" says what it is, 0.1 and "none" do not
        says = isinstance(value, str) and value not in {"", "none"}
        parts.append(cell(value) if says else f"{name} {cell(value)}")
    return ", ".join(parts)


def _distinct(labels: Sequence[str], standings: Sequence[Standing], now: Mapping[str, str]) -> Iterator[str]:
    """Yield the labels; of a configuration that stands there again, with what became of the others of its seeds."""
    counts, seen = Counter(labels), set[str]()
    for label, standing in zip(labels, standings, strict=True):
        first = standing.results[0]
        doing = ", ".join(sorted({now.get(result.trial, result.status) for result in standing.results}))
        which = "confirmed" if first.phase == "confirm" and first.status == "finished" else doing
        name = label if counts[label] == 1 or which == "finished" else f"{label} ({which})"
        if name in seen:
            name = f"{label} ({first.digest})"
        seen.add(name)
        yield name
