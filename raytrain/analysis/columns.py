"""The columns of a ranking by name: recipe fields, results and metrics, each named as the field that it shows.

The table, the files, --columns, --sort, --where and --assert all use these names.
"""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import fields
from typing import Any

from raytrain.analysis.standing import DASH, METRICS, Ranking, Standing
from raytrain.errors import ExperimentError
from raytrain.runs.results import TrialResult, run_of
from raytrain.training.field_rules import inert
from raytrain.training.recipe import Recipe

PLANNED = "epochs_planned"
"""Name of the recipe's own `epochs`; the column `epochs` has those that were trained."""
_WORDS = ("trial", "status", "error", "phase")
_OF_RESULT = tuple(field.name for field in fields(TrialResult) if field.name != "recipe")
_OF_RECIPE = (*(name for name in Recipe.model_fields if name != "epochs"), PLANNED)
_OF_STANDING = ("seeds", "mean_test_accuracy", "test_accuracy_low", "test_accuracy_high", "p_value", "rank_of")
FURTHER = (*_OF_STANDING, *METRICS)
"""Columns of a configuration beside its results and its recipe."""


def column_names(ranking: Ranking) -> list[str]:
    """Return the names of all columns of a ranking, in the order of its files."""
    run = ("run",) if ranking.of_runs else ()
    bounds = () if ranking.select == "accuracy" else (f"{ranking.select}_low", f"{ranking.select}_high")
    return ["rank", "chosen", *run, *_OF_RESULT, *_OF_RECIPE, *FURTHER, *bounds]


def is_recipe_field(name: str) -> bool:
    """Return whether a column is a field of the recipe."""
    return name in _OF_RECIPE


def column_value(ranking: Ranking, standing: Standing, name: str) -> Any:
    """Return the value of a configuration in a column; None where it has none.

    A measured number is the mean over the seeds, `epochs` the largest, `seed` that of a single seed. `rank` is the
    first place that the configuration may have, `trial` the id of its first trial. A recipe field that has no effect
    beside the others, such as `momentum` beside adam, has no value.

    Args:
        ranking: The ranking.
        standing: One of its configurations.
        name: One of `column_names`.
    """
    results, first = standing.results, standing.results[0]
    interval, scores = standing.interval, standing.score_interval
    values: dict[str, Any] = {
        "rank": None if standing.rank == DASH else int(standing.rank.partition(DASH)[0]),
        "chosen": standing is ranking.chosen,
        "run": run_of(first),
        "seeds": standing.seeds,
        "seed": first.recipe.get("seed") if standing.seeds == 1 else None,
        "mean_test_accuracy": standing.test_accuracy,
        "test_accuracy_low": interval.low if interval else None,
        "test_accuracy_high": interval.high if interval else None,
        f"{ranking.select}_low": scores.low if scores else None,
        f"{ranking.select}_high": scores.high if scores else None,
        "p_value": standing.p_value,
        "rank_of": standing.rank_of,
        "epochs": max(result.epochs for result in results),
        "error": next((result.error for result in results if result.error), None),
    }
    if name in values:
        return values[name]
    if name in _WORDS:
        return getattr(first, name)
    if is_recipe_field(name):
        field = "epochs" if name == PLANNED else name
        value = None if field in inert(first.recipe) else first.recipe.get(field)
        return "+".join(map(str, value)) if isinstance(value, list | tuple) else value
    return standing.mean(name)


def check_column(name: str, known: Collection[str], *, what: str = "column") -> str:
    """Return the name of a column.

    Raises:
        ExperimentError: There is no such column; the message names the nearest one.
    """
    if name in known:
        return name
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else "`raytrain results RUN --format csv` has all of them as headings"
    raise ExperimentError(f"unknown {what} {name!r}; {hint}")


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that a wrong word most likely means: "test" is `test_accuracy`; None where none is near."""
    names = list(names)
    plain = word.strip().lower().removesuffix("%").strip().replace(" ", "_").replace("-", "_")
    for guess in (plain, f"{plain}_accuracy", f"test_{plain}"):
        if guess in names:
            return guess
    if close := difflib.get_close_matches(plain, names, n=1):
        return close[0]
    related = [name for name in names if len(plain) > 2 and (plain in name or plain.startswith(name))]
    return min(related, key=lambda name: (name != "test_accuracy", "accuracy" not in name, len(name)), default=None)
