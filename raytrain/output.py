"""What commands print: results to standard output, everything else to standard error."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from raytrain.errors import ExperimentError
from raytrain.options import Format
from raytrain.report import table
from raytrain.results import TrialResult, ranked

if TYPE_CHECKING:
    from raytrain.run import Outcome  # imports torch, and `raytrain results` needs none


def say_what_next(outcome: "Outcome", name: str, out: str) -> None:
    """Say how the run ended, where everything is and what to run next."""
    shown_out = "" if out == "runs" else f" --out {out}"
    if outcome.interrupted:
        left = sum(result.status == "unfinished" for result in outcome.results)
        typer.echo(
            f"Interrupted with {left} trials unfinished. The same command goes on where this one stopped.",
            err=True,
        )
    elif not outcome.trained:
        typer.echo(f"All {len(outcome.results)} trials had ended before; nothing was trained.", err=True)
    for result in outcome.results:
        if result.error:
            typer.echo(f"{result.trial}: {result.error}", err=True)
    typer.echo(table.how_to_read(outcome.results), err=True)
    typer.echo(f"Run folder  {outcome.folder}", err=True)
    typer.echo(f"Again       raytrain results {name}{shown_out} --format md", err=True)
    typer.echo(f"Curves      tensorboard --logdir {outcome.folder}/trials", err=True)


def print_table(results: list[TrialResult]) -> None:
    """Print the ranked table, fitted to the terminal if there is one."""
    console = Console()
    if console.is_terminal:
        console.print(table.terminal_table(results, width=console.width))
    else:
        typer.echo(table.plain(results), nl=False)


def write_results(runs: dict[str, list[TrialResult]], format_: Format, output: Path | None) -> None:
    """Write the results of runs, by their names, to a file or to standard output."""
    several = len(runs) > 1
    if format_ is Format.table and output is None:
        for name, results in runs.items():
            typer.echo(f"{name}:" if several else "", nl=several)
            print_table(results)
        return
    if format_ is Format.parquet and output is None and sys.stdout.isatty():
        raise ExperimentError("--format parquet is not text; name a file with --output, or redirect standard output")
    if format_ in {Format.table, Format.md}:
        write = table.plain if format_ is Format.table else table.markdown
        titled = (f"## {name}\n\n{write(results)}" if several else write(results) for name, results in runs.items())
        content = "\n".join(titled).encode()
    else:
        rows = [
            ({"run": name} if several else {}) | result.flat()
            for name, results in runs.items()
            for result in ranked(results)
        ]
        as_text = table.as_csv if format_ is Format.csv else table.as_json
        content = table.as_parquet(rows) if format_ is Format.parquet else as_text(rows).encode()
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise ExperimentError(
            f"{output}: cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from error
    typer.echo(f"{sum(map(len, runs.values()))} results written to {output}", err=True)
