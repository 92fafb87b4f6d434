"""The fields of a search as parallel coordinates: a line for each configuration, from its values to its accuracy.

Inselberg 1985, The plane with parallel coordinates. The page draws it as plain SVG, without a script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.analysis.standing import Standing
from raytrain.report.column_text import cell
from raytrain.report.figures.heat_map import axes_of
from raytrain.report.figures.legend import Entry
from raytrain.report.text.quantities import per_cent
from raytrain.training.field_rules import inert

MOST_LINES = 300
"""Most lines that are drawn, those of the best configurations."""
MOST_TICKS = 9
"""Most values of an axis that are written."""
LETTER_PX, MARGIN_PX, LEAST_STEP_PX = 7, 20, 130
"""Width of a letter, space beside a text, and least distance of two axes, in pixels."""
LOG_SPREAD = 8.0
"""Ratio of the highest to the lowest value from which on an axis is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        name: Name of the field, or of the accuracy.
        ticks: Values as text, each with its position from the bottom (0) to the top (1). Those of the first axis stand
            to its left, the others to the right.
        x: Distance from the left edge in pixels.
    """

    name: str
    ticks: Sequence[tuple[float, str]]
    x: int


@dataclass(frozen=True)
class Line:
    """The line of a configuration.

    Attributes:
        label: Label of the configuration in the charts.
        colour: CSS colour.
        coloured: Whether it is among those that have a colour.
        positions: Its position on each axis, from 0 to 1; None where the field has no effect.
        accuracy: Its test accuracy as text.
    """

    label: str
    colour: str
    coloured: bool
    positions: Sequence[float | None]
    accuracy: str


@dataclass(frozen=True)
class Parallel:
    """All that is drawn.

    Attributes:
        axes: The fields, and the accuracy as the last.
        lines: The lines, the best configuration last, so that it lies above the others.
        left_out: Number of finished configurations without a line.
        width: Width of the drawing in pixels.
    """

    axes: Sequence[Axis]
    lines: Sequence[Line]
    left_out: int
    width: int


def parallel(standings: Sequence[Standing], entries: Sequence[Entry]) -> Parallel | None:
    """Return the finished configurations of a search; None when fewer than two fields vary, or two have finished.

    Args:
        standings: All configurations, the best first.
        entries: Their entries in the legend.
    """
    names = axes_of([result for standing in standings for result in standing.results if result.phase == "search"])
    finished = [
        (standing, entry, standing.test_accuracy)
        for standing, entry in zip(standings, entries, strict=True)
        if standing.test_accuracy is not None
    ]
    shown = finished[:MOST_LINES]
    if len(names) < 2 or len(shown) < 2:
        return None
    recipes = [standing.results[0].recipe for standing, *_ in shown]
    scales = [_Scale([recipe[name] for recipe in recipes if name not in inert(recipe)]) for name in names]
    accuracies = _Scale([accuracy for *_, accuracy in shown], fraction=True)
    lines = [
        Line(
            entry.label,
            entry.colour,
            entry.coloured,
            [
                *(
                    None if name in inert(recipe) else scale.position(recipe[name])
                    for name, scale in zip(names, scales, strict=True)
                ),
                accuracies.position(accuracy),
            ],
            per_cent(accuracy),
        )
        for (_, entry, accuracy), recipe in zip(shown, recipes, strict=True)
    ]
    ticks = [scale.ticks() for scale in (*scales, accuracies)]
    axes, width = _laid_out([*names, "test accuracy %"], ticks)
    return Parallel(axes, lines[::-1], len(finished) - len(shown), width)


def _laid_out(names: Sequence[str], ticks: Sequence[list[tuple[float, str]]]) -> tuple[list[Axis], int]:
    """Return the axes, as far from each other as their texts need, and the width of all."""
    texts = [LETTER_PX * max((len(text) for _, text in one), default=0) + MARGIN_PX for one in ticks]
    headings = [LETTER_PX * len(name) + MARGIN_PX for name in names]
    x = max(texts[0], headings[0] // 2)
    axes = [Axis(names[0], ticks[0], x)]
    for index in range(1, len(names)):
        before = texts[index - 1] if index > 1 else 0
        x += max(LEAST_STEP_PX, before + MARGIN_PX, (headings[index - 1] + headings[index]) // 2)
        axes.append(Axis(names[index], ticks[index], x))
    return axes, x + max(texts[-1], headings[-1] // 2)


class _Scale:
    """Where values stand on an axis: numbers by their size, anything else at equal distances."""

    def __init__(self, values: Sequence[Any], *, fraction: bool = False) -> None:
        self._text = per_cent if fraction else cell
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        self._numeric = len(numbers) == len(values) and len(values) > 0
        distinct: dict[str, Any] = {}
        for value in values:
            distinct.setdefault(self._text(value), value)
        self._known = distinct
        if self._numeric:
            low, high = min(numbers), max(numbers)
            self._log = not fraction and low > 0 and high / low >= LOG_SPREAD
            self._low, self._high = self._size(low), self._size(high)
        else:
            self._order = sorted(distinct)

    def position(self, value: Any) -> float:
        """Return the position of a value, from 0 at the bottom to 1 at the top."""
        if self._numeric:
            width = self._high - self._low
            return round((self._size(value) - self._low) / width, 4) if width else 0.5
        return self._order.index(self._text(value)) / (len(self._order) - 1) if len(self._order) > 1 else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return the values to write, the lowest first; of many, some that are far enough from each other."""
        placed = sorted((self.position(value), text) for text, value in self._known.items())
        ticks: list[tuple[float, str]] = []
        for position, text in placed:
            if not ticks or position - ticks[-1][0] >= 1 / MOST_TICKS:
                ticks.append((position, text))
        if ticks and placed[-1] != ticks[-1]:  # the highest is always there
            ticks = [tick for tick in ticks if placed[-1][0] - tick[0] >= 1 / MOST_TICKS] + [placed[-1]]
        return ticks

    def _size(self, value: float) -> float:
        return math.log(value) if self._log else float(value)
