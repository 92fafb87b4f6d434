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

from raytrain.results import TrialResult, ranked, varied_fields

LEFT = {"trial", "architecture", "status"}
"""Columns of text; the others are numbers and stand to the right."""


def headings(results: Sequence[TrialResult]) -> list[str]:
    """Return the columns of the ranked table: one for each recipe field that differs, between the fixed ones."""
    varied = varied_fields(result.recipe for result in results)
    fixed = ["train acc. %", "val acc. %", "test acc. %", "seconds", "status"]
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


def terminal_table(results: Sequence[TrialResult]) -> Table:
    """Return the ranked table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in headings(results):
        table.add_column(name, justify="left" if name in LEFT else "right", overflow="fold")
    for row in rows(results):
        table.add_row(*map(Text, row))  # as it is: a path may hold brackets, which are markup in a str
    return table


def plain(results: Sequence[TrialResult]) -> str:
    """Return the ranked table as text, as wide as it needs."""
    out = io.StringIO()
    Console(file=out, width=240).print(terminal_table(results))
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


def readme(name: str, results: Sequence[TrialResult], *, command: str) -> str:
    """Return the README.md of a run folder."""
    selected = any(result.val_accuracy is not None for result in results)
    how = (
        "Ranked by validation accuracy at each trial's best epoch; the test set was read once, at the end, with the "
        "weights of that epoch. A trial that was stopped never ranks above one that finished."
        if selected
        else "There is no validation split: ranked by test accuracy after the last epoch. Choosing by this number "
        "flatters it."
    )
    return f"# {name}\n\n{markdown(results)}\n{how} One row is one seed.\n\nCommand: `{command}`\n"


def as_csv(results: Sequence[TrialResult]) -> str:
    """Return one row per trial, ranked, with every field of its recipe."""
    flat = [result.flat() for result in ranked(results)]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(flat[0]) if flat else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def as_json(results: Sequence[TrialResult]) -> str:
    """Return a list of objects, ranked, with every field of the recipe."""
    return json.dumps([result.flat() for result in ranked(results)], indent=1) + "\n"


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return rows as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()
