"""Which trials a chart shows, and how many points of a curve, where there are too many for a screen."""

from collections.abc import Sequence
from typing import Any

from raytrain.analysis.ranking import Standing
from raytrain.report.figures.legend import Entry

POINTS = 200
"""Most points of a coloured curve; a screen shows no more."""
GREY_POINTS = 50
"""Most points of a grey curve."""
MOST_SEEDS = 50
"""Most seeds of a coloured configuration that a chart shows."""
MOST_GREY = 300
"""Most trials in grey that a chart shows: a curve more takes 2 kB in the page, and a browser a millisecond."""


def drawn_trials(standings: Sequence[Standing], entries: Sequence[Entry]) -> frozenset[str]:
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


def thinned(points: Sequence[tuple[float, float]], *, most: int = POINTS) -> list[tuple[float, float]]:
    """Return at most `most` of the points, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]
