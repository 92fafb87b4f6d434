"""The axes of a grid: the effect of each alone, and the two main ones against each other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.analysis.statistics.significance import Interval, mean_interval
from raytrain.metrics.means import mean_over_seeds
from raytrain.report.column_text import cell
from raytrain.report.table import outcome
from raytrain.runs.results import STATUSES, TrialResult, configurations, varied_fields
from raytrain.training.field_rules import inert

PREFERRED = ("lr", "schedule", "optimizer", "arch")
"""Recipe fields that become the axes first, if they vary."""
MOST_VALUES = 40
"""Most values of an axis; with more there is no heat map, and no effect of that axis."""


@dataclass(frozen=True)
class Cell:
    """The trials of one pair of values.

    Attributes:
        accuracy: Mean test accuracy of the finished trials, a fraction in [0, 1]; None if none finished.
        trials: Number of finished trials.
        share: Accuracy on a scale from the lowest (0) to the highest (1) of the map.
        text: Statuses of the trials, if none finished; "" if there is no trial.
    """

    accuracy: float | None
    trials: int
    share: float
    text: str


@dataclass(frozen=True)
class HeatMap:
    """Accuracies by two recipe fields.

    Attributes:
        row_field: Name of the field whose values are the rows.
        column_field: Name of the field whose values are the columns.
        rows: Values of `row_field`, as text.
        columns: Values of `column_field`, as text.
        cells: Cells by row and column; a trial in which one of the two fields has no effect is in none.
        averaged: Names of the other fields that vary; each cell is a mean over them.
    """

    row_field: str
    column_field: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    averaged: Sequence[str]


@dataclass(frozen=True)
class Level:
    """A value of an axis, whatever the other axes are.

    Attributes:
        value: The value, as text.
        settings: Number of finished configurations in which that value has an effect; the seeds of one are averaged
            first.
        accuracy: Mean test accuracy of these, a fraction in [0, 1]; None if none finished.
        interval: 95 % interval of that mean over the settings of the other axes, by Student's t; None for fewer than
            two configurations.
        whisker: Low end, mean and high end of the interval, as shares of the range of all configurations' accuracies,
            cut where that range ends; None without an interval.
    """

    value: str
    settings: int
    accuracy: float | None
    interval: Interval | None
    whisker: tuple[float, float, float] | None


@dataclass(frozen=True)
class Effect:
    """What an axis does to the test accuracy.

    Attributes:
        field: Name of the recipe field.
        levels: Its values in their order.
    """

    field: str
    levels: Sequence[Level]


def effects(results: Sequence[TrialResult]) -> list[Effect]:
    """Return the effect of each field that varies in a search, from the trials in which it has one.

    There is none when fewer than two fields vary.

    Trials that were stopped, diverged or failed have no test accuracy: they are missing from the means.
    """
    searched = [result for result in results if result.phase == "search"]
    axes = axes_of(searched)
    if len(axes) < 2:
        return []
    finished = [result for result in searched if result.test_accuracy is not None]
    groups = [(group[0].recipe, mean) for group in configurations(finished) if (mean := _mean(group)) is not None]
    low, high = (pick((mean for _, mean in groups), default=0.0) for pick in (min, max))
    recipes = [result.recipe for result in searched]
    return [
        Effect(name, [_level(groups, name, value, low=low, high=high) for value in values])
        for name in axes
        if 2 <= len(values := _values(recipes, name)) <= MOST_VALUES
    ]


def _level(groups: Sequence[tuple[dict[str, Any], float]], name: str, value: Any, *, low: float, high: float) -> Level:
    known = [mean for recipe, mean in groups if _has(recipe, name, value)]
    mean = mean_over_seeds(known) if known else None
    # equal means would give an interval without width
    whole = mean_interval(known) if known and not math.isclose(min(known), max(known)) else None
    interval = Interval(max(0.0, whole.low), min(1.0, whole.high)) if whole else None  # no accuracy lies beyond

    def share(accuracy: float) -> float:
        return round(min(1.0, max(0.0, (accuracy - low) / (high - low))), 4) if high > low else 0.5

    whisker = (share(interval.low), share(mean), share(interval.high)) if interval and mean is not None else None
    return Level(cell(value), len(known), mean, interval, whisker)


def axes_of(searched: Sequence[TrialResult]) -> list[str]:
    """Return the fields that vary in a search, those of `PREFERRED` first."""
    recipes = [result.recipe for result in searched]
    varied = [name for name in varied_fields(recipes) if name != "seed"]
    if len({recipe["arch"] for recipe in recipes}) > 1:
        varied.append("arch")
    return sorted(varied, key=lambda name: PREFERRED.index(name) if name in PREFERRED else len(PREFERRED))


def heat_map(results: Sequence[TrialResult], now: Mapping[str, str] | None = None) -> HeatMap | None:
    """Return the map of a search, or None when fewer than two fields vary; `now` is that of `outcome`."""
    searched = [result for result in results if result.phase == "search"]
    recipes = [result.recipe for result in searched]
    axes = axes_of(searched)
    if len(axes) < 2:
        return None
    row_field, column_field = axes[:2]
    rows, columns = _values(recipes, row_field), _values(recipes, column_field)
    if not rows or not columns or max(len(rows), len(columns)) > MOST_VALUES:
        return None
    groups = [[_matching(searched, {row_field: row, column_field: column}) for column in columns] for row in rows]
    known = [mean for line in groups for group in line if (mean := _mean(group)) is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    cells = [[_cell(group, low=low, high=high, now=now) for group in line] for line in groups]
    row_names, column_names = ([cell(value) for value in values] for values in (rows, columns))
    return HeatMap(row_field, column_field, row_names, column_names, cells, axes[2:])


def _values(recipes: Iterable[dict[str, Any]], name: str) -> list[Any]:
    """Return the values of a field where it has an effect, in their order: by size, or by the alphabet."""
    values: list[Any] = []  # not a set: a value may be a list
    for recipe in recipes:
        if recipe[name] not in values and name not in inert(recipe):
            values.append(recipe[name])
    return sorted(values, key=lambda value: (0, value, "") if isinstance(value, int | float) else (1, 0, cell(value)))


def _matching(results: Iterable[TrialResult], wanted: dict[str, Any]) -> list[TrialResult]:
    return [result for result in results if all(_has(result.recipe, name, value) for name, value in wanted.items())]


def _has(recipe: dict[str, Any], name: str, value: Any) -> bool:
    """Return whether a field has a value and an effect: the momentum beside adam is that of none of adam's trials."""
    return recipe[name] == value and name not in inert(recipe)


def _mean(group: Iterable[TrialResult]) -> float | None:
    finished = [result.test_accuracy for result in group if result.test_accuracy is not None]
    return mean_over_seeds(finished) if finished else None


def _cell(group: Sequence[TrialResult], *, low: float, high: float, now: Mapping[str, str] | None) -> Cell:
    mean = _mean(group)
    if mean is None:
        alike = [[result for result in group if result.status == status] for status in STATUSES]
        return Cell(None, 0, 0.0, ", ".join(outcome(results, now) for results in alike if results))
    finished = sum(result.test_accuracy is not None for result in group)
    return Cell(mean, finished, (mean - low) / (high - low) if high > low else 1.0, "")
