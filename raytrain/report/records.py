"""The ranked table as values, for other programs: rows as dicts, and as CSV and Parquet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pyarrow as pa
from pyarrow import parquet

from raytrain.analysis.columns import column_names
from raytrain.metrics.epoch import DETAILS
from raytrain.metrics.selection import SELECTIONS
from raytrain.report.metric_columns import METRIC_HEADINGS, selected_bounds
from raytrain.report.text.quantities import DASH
from raytrain.report.text.visible import visible
from raytrain.runs.results import TrialResult, run_of, varied_fields
from raytrain.training.recipe import Recipe
from raytrain.user_code.reference import without_digest

if TYPE_CHECKING:
    from raytrain.analysis.ranking import Ranking, Standing  # brings SciPy, which running trials do not wait for
    from raytrain.baselines.baselines import BaselineRow


def trial_name(standing: "Standing") -> str:
    """Return the digest of a configuration's trial, and of the others only that they are there."""
    digest = standing.results[0].digest
    return digest if standing.seeds == 1 else f"{digest} +{standing.seeds - 1}"


def configuration_rows(ranking: "Ranking") -> list[dict[str, Any]]:
    """Return the ranked table as values, a row for each configuration; columns are named as the fields are.

    Accuracies are fractions in [0, 1]; what differs between the seeds of a configuration is their mean.
    """
    standings = ranking.standings
    varied = varied_fields(standing.results[0].recipe for standing in standings)
    rows: list[dict[str, Any]] = []
    for standing in standings:
        first = standing.results[0]
        low, high = (standing.interval.low, standing.interval.high) if standing.interval else (None, None)
        rows.append(
            {
                "rank": standing.rank,
                "rank_of": standing.rank_of,
                "chosen": standing is ranking.chosen,
                "trial": trial_name(standing),
                "arch": first.recipe["arch"],
                **{name: first.recipe[name] for name in varied if name != "seed"},
                "seeds": standing.seeds,
                "parameters": first.parameters,
                "epochs": max(result.epochs for result in standing.results),
                "epochs_planned": first.recipe["epochs"],
                "train_accuracy": standing.mean("train_accuracy"),
                "val_accuracy": standing.val_accuracy,
                "test_accuracy": standing.test_accuracy,
                "test_accuracy_low": low,
                "test_accuracy_high": high,
                "test_tta_accuracy": standing.mean("test_tta_accuracy"),
                **{name: standing.mean(name) for name in METRIC_HEADINGS},
                **selected_bounds(ranking, standing),
                "seconds": standing.mean("seconds"),
                "status": first.status,
            }
        )
    return rows


def flat_rows(ranking: "Ranking") -> list[dict[str, Any]]:
    """Return a row for each trial, best configuration first: what `TrialResult.flat` gives, and how it stands."""
    rows = [
        {
            "rank": standing.rank,
            "chosen": standing is ranking.chosen,
            **({"run": run_of(result)} if ranking.of_runs else {}),
            **result.flat(),
            "seeds": standing.seeds,
            "mean_test_accuracy": standing.test_accuracy,
            "test_accuracy_low": standing.interval.low if standing.interval else None,
            "test_accuracy_high": standing.interval.high if standing.interval else None,
            "p_value": standing.p_value,
            "rank_of": standing.rank_of,
            **{name: standing.of_seed(index, name) for name in METRIC_HEADINGS},
            **selected_bounds(ranking, standing),
        }
        for standing in ranking.standings
        for index, result in enumerate(standing.results)
    ]
    names = list(rows[0]) if rows else column_names(ranking)
    return rows + [dict.fromkeys(names) | baseline_values(row) for row in ranking.beside]


def baseline_values(row: "BaselineRow") -> dict[str, Any]:
    """Return what is known of a baseline, by the names of the columns."""
    return {
        "rank": DASH,
        "chosen": False,
        "trial": row.name,
        "status": "baseline",
        "arch": row.arch,
        "epochs": row.epoch,
        "epochs_planned": row.epochs,
        "train_accuracy": row.train_accuracy,
        "test_accuracy": row.test_accuracy,
    }


def separation_values(rankings: Iterable["Ranking"]) -> list[dict[str, Any]]:
    """Return what is known of the pairs of each run that looked at them after each seed; a run has one entry.

    A difference is the mean of the first minus the second over the paired seeds, a fraction; None without any.
    """
    found: dict[str, dict[str, Any]] = {}
    for ranking in rankings:
        for run, known in ranking.separations.items():
            prefix = f"{run}/" if ranking.of_runs else ""
            pairs = [
                {
                    "first": without_digest(pair.one.name),
                    "second": without_digest(pair.other.name),
                    "first_trials": [prefix + result.trial for result in pair.one.finished.values()],
                    "second_trials": [prefix + result.trial for result in pair.other.finished.values()],
                    "answer": pair.answer,
                    "seeds": pair.seeds,
                    "difference": pair.mean if pair.seeds else None,
                }
                for pair in known.pairs
            ]
            limits = {"points": known.separate.points, "max_seeds": known.separate.max_seeds}
            of_run = {"run": run, **limits, "dropped": known.dropped, "pairs": list[dict[str, Any]]()}
            found.setdefault(run, of_run)["pairs"] += pairs  # each table has the pairs of its test images
    return list(found.values())


def as_csv(rows: Sequence[dict[str, Any]], *, columns: Iterable[str] = ()) -> str:
    """Return rows, such as `flat_rows` gives, as CSV; what a row does not have is empty.

    A spreadsheet takes a text that begins with =, +, - or @ for a formula and runs it. Such a text has an apostrophe
    before it, as OWASP advises; numbers stay as they are.

    Args:
        rows: Values by column.
        columns: Columns that the file has even if no row does.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=_names(rows, columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _names(rows: Sequence[dict[str, Any]], columns: Iterable[str]) -> list[str]:
    """Return the columns of rows, after those that are given: rows of data sets with another `select` have more."""
    return list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))


def _no_formula(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_parquet(rows: Sequence[dict[str, Any]], *, types: Mapping[str, Any], columns: Iterable[str] = ()) -> bytes:
    """Return rows as the content of a Parquet file; what a row does not have is null.

    Args:
        rows: Values by column.
        types: The columns' types of pyarrow. They do not depend on the values, which may all be null or whole numbers,
            because readers of several files take the types of one. Another column has the type of its values.
        columns: Columns that the file has even if no row does.
    """
    names = _names(rows, columns)
    sink = pa.BufferOutputStream()
    parquet.write_table(
        pa.table({name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names}), sink
    )
    return sink.getvalue().to_pybytes()


def column_types(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type, of pyarrow, that a column of each annotation has: a number, true or false, or else text."""
    return {name: _column_type(hint) for name, hint in hints.items()}


def _column_type(hint: Any) -> Any:
    alternatives = {hint, *get_args(hint)}  # such as int, float and None
    for kind, type_ in ((float, pa.float64()), (int, pa.int64()), (bool, pa.bool_())):
        if kind in alternatives:
            return type_
    return pa.string()  # texts, names of a list joined by "+"


_NUMBER = pa.float64()
METRICS = {
    "trial": pa.string(),
    "epoch": pa.int64(),
    **{f"{split}_{kind}": _NUMBER for split in ("train", "val", "test") for kind in ("loss", "accuracy")},
    "lr": _NUMBER,
    "seconds": _NUMBER,
}
"""Types of the columns that metrics.parquet always has."""
DETAILED_METRICS = METRICS | {f"val_{name}": _NUMBER for name in DETAILS}
"""Types of all columns that metrics.parquet may have."""


@cache
def trial_types() -> dict[str, Any]:
    """Return the types of the columns that `flat_rows` may give, and of `data`, which tells the data sets apart."""
    shares = ["mean_test_accuracy", "test_accuracy_low", "test_accuracy_high", "p_value", *METRIC_HEADINGS]
    shares += [f"{select}_{end}" for select in SELECTIONS for end in ("low", "high")]
    return {
        **column_types(get_type_hints(TrialResult)),
        **column_types({name: field.annotation for name, field in Recipe.model_fields.items()}),
        **dict.fromkeys(("data", "run", "rank", "rank_of"), pa.string()),
        **dict.fromkeys(("seeds", "epochs_planned"), pa.int64()),
        **dict.fromkeys(shares, _NUMBER),
        "chosen": pa.bool_(),
    }
