"""The ranked table of a run: in the terminal, in Markdown, and as files for other programs."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.errors import ExperimentError
from raytrain.report.columns import fitting
from raytrain.results import TrialResult, varied_fields

if TYPE_CHECKING:
    from raytrain.ranking import Ranking, Standing  # brings SciPy, which running trials do not wait for

LEFT = {"run", "trial", "architecture", "status"}
"""Columns of text; the others are numbers and stand to the right."""
WIDE = 1000
"""Characters per line where there is no terminal to fit."""


def headings(ranking: "Ranking") -> list[str]:
    """Return the columns of the ranked table: one for each recipe field that differs, between the fixed ones."""
    return list(_columns(ranking))


def rows(ranking: "Ranking") -> list[list[str]]:
    """Return the ranked table's cells as text, a row for each configuration, best first."""
    return [list(row) for row in zip(*_columns(ranking).values(), strict=True)]


def _columns(ranking: "Ranking") -> dict[str, list[str]]:
    """Return the cells by heading. What differs between the seeds of a configuration is shown as their mean."""
    standings = ranking.standings
    first = [standing.results[0] for standing in standings]
    several_runs = len({run_of(result) for result in first}) > 1
    several_seeds = any(standing.seeds > 1 for standing in standings)
    varied = [name for name in varied_fields(result.recipe for result in first) if name != "seed"]
    return {
        "rank": [standing.rank for standing in standings],
        **({"run": [run_of(result) for result in first]} if several_runs else {}),
        "trial": [trial_name(standing) for standing in standings],
        "architecture": [result.recipe["arch"] for result in first],
        **{name: [cell(result.recipe[name]) for result in first] for name in varied},
        **({"seeds": [str(standing.seeds) for standing in standings]} if several_seeds else {}),
        "parameters": [f"{result.parameters / 1e6:.2f} M" for result in first],
        "epochs": [f"{result.epochs}/{result.recipe['epochs']}" for result in first],
        "train accuracy %": [per_cent(_mean(standing, "train_accuracy")) for standing in standings],
        "val accuracy %": [per_cent(standing.val_accuracy) for standing in standings],
        "test accuracy %": [per_cent(standing.test_accuracy) for standing in standings],
        "95 % interval": [interval(standing) for standing in standings],
        "seconds": [f"{_mean(standing, 'seconds'):.1f}" for standing in standings],
        "status": [status(result) for result in first],
    }


def _mean(standing: "Standing", name: str) -> float | None:
    known = [value for result in standing.results if (value := getattr(result, name)) is not None]
    return fmean(known) if known else None


def run_of(result: TrialResult) -> str:
    """Return the run of a trial that is shown beside those of other runs, "" where there is one run."""
    return result.trial.rpartition("/")[0]


def trial_name(standing: "Standing") -> str:
    """Return the digest of a configuration's trial, and of the others only that they are there."""
    digest = standing.results[0].trial.rpartition("-")[2]
    return digest if standing.seeds == 1 else f"{digest} +{standing.seeds - 1}"


def interval(standing: "Standing") -> str:
    """Return the interval of a test accuracy in per cent."""
    if standing.interval is None:
        return "–"
    return f"{100 * standing.interval.low:.2f} to {100 * standing.interval.high:.2f}"


def terminal_table(ranking: "Ranking", *, width: int, chosen: Sequence[str] = ()) -> Table:
    """Return the ranked table for a terminal of `width` characters; on a narrow one with fewer columns.

    Args:
        ranking: What is shown.
        width: Characters per line.
        chosen: Columns to show, all of them, whatever the width.

    Raises:
        ExperimentError: There is no such column.
    """
    columns = {name.replace(" accuracy", ""): cells for name, cells in _columns(ranking).items()}
    if chosen:
        shown = {name: columns[name] for name in map(partial(_column, columns), chosen)}
    else:
        dispensable = ("trial", "parameters", "train %", "seconds", "epochs", "95 % interval")
        shown = fitting(columns, width=width, dispensable=dispensable, gap=3)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    for index in range(len(ranking.standings)):
        # Text, because a path may hold brackets, which are markup in a str
        table.add_row(*(Text(cells[index]) for cells in shown.values()))
    return table


def _column(columns: Iterable[str], wanted: str) -> str:
    names = list(columns)
    by_word = {name.removesuffix(" %").removesuffix(" accuracy"): name for name in names}
    by_word |= {name: name for name in names}
    if wanted not in by_word:
        raise ExperimentError(f"there is no column {wanted!r}; choose among {', '.join(names)}")
    return by_word[wanted]


def plain(ranking: "Ranking", *, chosen: Sequence[str] = ()) -> str:
    """Return the ranked table as text, as wide as it needs."""
    out = io.StringIO()
    Console(file=out, width=WIDE).print(terminal_table(ranking, width=WIDE, chosen=chosen))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def status(result: TrialResult) -> str:
    """Return how a trial ended, in words."""
    if result.status == "stopped":
        return f"stopped at {result.epochs}"
    if result.status == "diverged":
        return f"diverged at epoch {result.epochs + 1}"
    return result.status


def cell(value: object) -> str:
    """Return the value of a recipe field as a table shows it."""
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def per_cent(accuracy: float | None) -> str:
    """Return a fraction as per cent with two decimals; a dash for None."""
    return "–" if accuracy is None else f"{100 * accuracy:.2f}"


def markdown(ranking: "Ranking", *, chosen: Sequence[str] = ()) -> str:
    """Return the ranked table in Markdown, with the `chosen` columns only, if any.

    Raises:
        ExperimentError: There is no such column.
    """
    columns = _columns(ranking)
    if chosen:
        columns = {name: columns[name] for name in map(partial(_column, columns), chosen)}
    rules = [":--" if name in LEFT else "--:" for name in columns]
    lines = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines) + "\n"


def how_to_read(ranking: "Ranking") -> str:
    """Return what the accuracies are, what the rows are ranked by, and how sure that is."""
    validated = any(standing.val_accuracy is not None for standing in ranking.standings)
    what = (
        "Accuracies are those of each trial's best epoch on the validation split, measured without augmentation. The "
        "test set was read once, at the end; configurations are ranked by it, and those that it cannot tell apart "
        "share a rank."
        if validated
        else "There is no validation split: accuracies are those of the last epoch, and configurations are ranked by "
        "test accuracy. Choosing by this number flatters it."
    )
    return " ".join([what, *ranking.sentences, *_choice(ranking)])


def _choice(ranking: "Ranking") -> Iterator[str]:
    chosen = ranking.chosen
    if chosen and sum(standing.test_accuracy is not None for standing in ranking.standings) > 1:
        yield (
            f"Validation accuracy chooses {chosen.results[0].trial}: {per_cent(chosen.test_accuracy)} % on the test "
            "set, a figure that the choice does not flatter."
        )


def readme(name: str, ranking: "Ranking", *, command: str) -> str:
    """Return the README.md of a run folder."""
    return f"# {name}\n\n{markdown(ranking)}\n{how_to_read(ranking)}\n\nCommand: `{command}`\n"


def flat_rows(ranking: "Ranking") -> list[dict[str, Any]]:
    """Return a row for each trial, best configuration first: what `TrialResult.flat` gives, and how it stands."""
    return [
        {
            "rank": standing.rank,
            **result.flat(),
            "seeds": standing.seeds,
            "mean_test_accuracy": standing.test_accuracy,
            "test_accuracy_low": standing.interval.low if standing.interval else None,
            "test_accuracy_high": standing.interval.high if standing.interval else None,
            "p_value": standing.p_value,
        }
        for standing in ranking.standings
        for result in standing.results
    ]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows, such as `flat_rows` gives, as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows, such as `flat_rows` gives, as a JSON list."""
    return json.dumps(list(rows), indent=1) + "\n"


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()
