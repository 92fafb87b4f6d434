"""What commands print: results to standard output, everything else to standard error."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from raytrain.cli.options import Format
from raytrain.errors import ExperimentError
from raytrain.execution.interruption import OUT_OF_TIME
from raytrain.report import REPORT, table

if TYPE_CHECKING:
    from raytrain.analysis.ranking import Ranking
    from raytrain.execution.run import Outcome  # imports torch, and `raytrain results` needs none

log = logging.getLogger(__name__)


def write_report(outcome: "Outcome") -> None:
    """Write the report of a run that has ended; what goes wrong there is said and takes nothing from the run."""
    if not outcome.trained and outcome.folder.exists(REPORT):
        return
    try:
        from raytrain.report import page  # Plotly and matplotlib, for which no trial should wait

        page.write_report(outcome.folder)
    except Exception as error:  # the results are written and printed
        log.warning("the report was not written: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))


def say_what_next(outcome: "Outcome", ranking: "Ranking", *, name: str, out: str) -> None:
    """Say how the run ended, where everything is and what to run next."""
    shown_out = "" if out == "runs" else f" --out {out}"
    if outcome.interrupted:
        left = sum(result.status == "unfinished" for result in outcome.results)
        why = "Out of time" if outcome.interrupted == OUT_OF_TIME else "Interrupted"
        typer.echo(
            f"{why} with {left} trials unfinished. The same command goes on where this one stopped.",
            err=True,
        )
    elif not outcome.trained:
        typer.echo(f"All {len(outcome.results)} trials had ended before; nothing was trained.", err=True)
    for result in outcome.results:
        if result.error:
            typer.echo(f"{result.trial}: {result.error}", err=True)
    typer.echo(table.how_to_read(ranking), err=True)
    typer.echo(f"Run folder  {outcome.folder}", err=True)
    if outcome.folder.exists(REPORT) and not outcome.interrupted:
        typer.echo(f"Report      {outcome.folder}/{REPORT}", err=True)
    typer.echo(f"Again       raytrain results {name}{shown_out} --format md", err=True)
    typer.echo(f"Curves      tensorboard --logdir {outcome.folder}/trials", err=True)


def print_table(ranking: "Ranking", *, chosen: Sequence[str] = ()) -> None:
    """Print the ranked table, fitted to the terminal if there is one; `chosen` columns only, if any."""
    console = Console()
    if console.is_terminal:
        console.print(table.terminal_table(ranking, width=console.width, chosen=chosen))
    else:
        typer.echo(table.plain(ranking, chosen=chosen), nl=False)


def write_results(ranking: "Ranking", format_: Format, output: Path | None, *, chosen: Sequence[str] = ()) -> None:
    """Write a ranking to a file or to standard output, with the `chosen` columns of the table only, if any."""
    if format_ is Format.table and output is None:
        print_table(ranking, chosen=chosen)
        typer.echo(table.how_to_read(ranking), err=True)
        return
    if format_ is Format.parquet and output is None and sys.stdout.isatty():
        raise ExperimentError("--format parquet is not text; name a file with --output, or redirect standard output")
    content = _written(ranking, format_, chosen)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise ExperimentError(
            f"{output}: cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from error
    typer.echo(f"{sum(one.seeds for one in ranking.standings)} results written to {output}", err=True)


def _written(ranking: "Ranking", format_: Format, chosen: Sequence[str]) -> bytes:
    if format_ is Format.table:
        return table.plain(ranking, chosen=chosen).encode()
    if format_ is Format.md:
        return table.markdown(ranking, chosen=chosen).encode()
    rows = table.flat_rows(ranking)
    if unknown := [name for name in chosen if rows and name not in rows[0]]:
        raise ExperimentError(f"there is no column {unknown[0]!r}; choose among {', '.join(rows[0])}")
    if chosen:
        rows = [{name: row[name] for name in chosen} for row in rows]
    if format_ is Format.parquet:
        return table.as_parquet(rows)
    return (table.as_csv(rows) if format_ is Format.csv else table.as_json(rows)).encode()


def leave(code: int) -> NoReturn:
    """End at once: Ray's exit handlers would ask a Ray that is gone, and wait."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
