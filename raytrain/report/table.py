"""The ranked table of a run: in the terminal, in Markdown, and as files for other programs."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.report.columns import fitting
from raytrain.results import TrialResult, ranked, varied_fields

LEFT = {"trial", "architecture", "status"}
"""Columns of text; the others are numbers and stand to the right."""
WIDE = 1000
"""Characters per line where there is no terminal to fit."""


def headings(results: Sequence[TrialResult]) -> list[str]:
    """Return the columns of the ranked table: one for each recipe field that differs, between the fixed ones."""
    varied = varied_fields(result.recipe for result in results)
    fixed = ["train accuracy %", "val accuracy %", "test accuracy %", "seconds", "status"]
    return ["rank", "trial", "architecture", *varied, "parameters", "epochs", *fixed]


def rows(results: Sequence[TrialResult]) -> list[list[str]]:
    """Return the ranked table's cells as text, best first; only finished trials have a rank."""
    varied = varied_fields(result.recipe for result in results)
    table: list[list[str]] = []
    for place, result in enumerate(ranked(results), start=1):
        accuracies = (result.train_accuracy, result.val_accuracy, result.test_accuracy)
        table.append(
            [
                str(place) if result.status == "finished" else "–",
                result.trial.rpartition("-")[2],
                result.recipe["arch"],
                *(cell(result.recipe[name]) for name in varied),
                f"{result.parameters / 1e6:.2f} M",
                f"{result.epochs}/{result.recipe['epochs']}",
                *map(per_cent, accuracies),
                f"{result.seconds:.1f}",
                status(result),
            ]
        )
    return table


def terminal_table(results: Sequence[TrialResult], *, width: int) -> Table:
    """Return the ranked table for a terminal of `width` characters; on a narrow one with fewer columns."""
    texts = rows(results)
    names = [name.replace(" accuracy", "") for name in headings(results)]
    columns = {name: [row[index] for row in texts] for index, name in enumerate(names)}
    shown = fitting(columns, width=width, dispensable=("trial", "parameters", "train %", "seconds"), gap=3)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    for index in range(len(texts)):
        # Text, because a path may hold brackets, which are markup in a str
        table.add_row(*(Text(cells[index]) for cells in shown.values()))
    return table


def plain(results: Sequence[TrialResult]) -> str:
    """Return the ranked table as text, as wide as it needs."""
    out = io.StringIO()
    Console(file=out, width=WIDE).print(terminal_table(results, width=WIDE))
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


def markdown(results: Sequence[TrialResult]) -> str:
    """Return the ranked table in Markdown."""
    columns = headings(results)
    lines = [columns, [":--" if name in LEFT else "--:" for name in columns], *rows(results)]
    return "\n".join("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in lines) + "\n"


def how_to_read(results: Sequence[TrialResult]) -> str:
    """Return what the accuracies are, and what the rows are ranked by."""
    if any(result.val_accuracy is not None for result in results):
        return (
            "Accuracies are those of each trial's best epoch on the validation split, measured without augmentation; "
            "the rows are ranked by it. The test set was read once, at the end."
        )
    return (
        "There is no validation split: accuracies are those of the last epoch, and the rows are ranked by test "
        "accuracy. Choosing by this number flatters it."
    )


def readme(name: str, results: Sequence[TrialResult], *, command: str) -> str:
    """Return the README.md of a run folder."""
    return f"# {name}\n\n{markdown(results)}\n{how_to_read(results)} One row is one seed.\n\nCommand: `{command}`\n"


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows, such as `TrialResult.flat` gives, as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows, such as `TrialResult.flat` gives, as a JSON list."""
    return json.dumps(list(rows), indent=1) + "\n"


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()
