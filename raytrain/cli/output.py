"""What commands print: results to standard output, everything else to standard error."""

import logging
import os
import shutil
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints

import typer
from rich.console import Console

from raytrain.analysis.columns import check_column, column_names
from raytrain.analysis.wording import explain, footer
from raytrain.cli.closed_output import discard_output
from raytrain.cli.options import Format
from raytrain.errors import ExitCode, ExperimentError, counted
from raytrain.report import REPORT, records, table
from raytrain.report.document import document
from raytrain.report.text.columns import as_latex, as_markdown, as_text, fitted
from raytrain.report.text.quantities import duration
from raytrain.report.text.visible import VisibleFormatter, in_one_line, quoted, visible
from raytrain.storage.replacing import not_written, replace_file

if TYPE_CHECKING:
    from raytrain.analysis.ranking import Ranking
    from raytrain.comparison.overview import RunSummary
    from raytrain.execution.run import RunOutcome  # imports torch, and `raytrain results` needs none
    from raytrain.runs.planned import Range
    from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

FOR_READERS = {Format.table: "", Format.md: "## ", Format.tex: "% "}
"""Formats for readers, each with what stands before the name of one of several tables."""


def log_to_stderr() -> None:
    """Print warnings to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("raytrain: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


@contextmanager
def tolerant_output() -> Generator[None]:
    """Ignore a closed standard output and report a full one, in a command whose results are stored already."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()  # whoever reads has read enough, as `head` has
    except OSError as error:
        discard_output()
        typer.echo(f"raytrain: standard output cannot be written: {error.strerror}", err=True)


def say_what_next(outcome: "RunOutcome", *, name: str, out: str) -> None:
    """Say how the run ended, where everything is and what to run next."""
    run = quoted(name) + ("" if out == "runs" else f" --out {quoted(out)}")
    left = sum(result.status == "unfinished" for result in outcome.results)
    if outcome.interrupted:
        say_interrupted(outcome)
    elif left:  # only the trials that had failed were run
        trials = "1 trial is" if left == 1 else f"{left} trials are"
        typer.echo(f"{trials} unfinished; continue with: raytrain resume {run}", err=True)
    elif not outcome.trained:
        count = len(outcome.results)
        ended = "The only trial has" if count == 1 else f"All {count} trials have"
        typer.echo(f"{ended} ended already; nothing was trained.", err=True)
    say_errors(outcome)
    said = footer(outcome.record.ranking)
    for line in said:
        typer.echo(visible(line), err=True)
    say_separation(outcome, but=said)
    if outcome.planned and not outcome.interrupted:
        typer.echo(_against_plan(outcome.planned, taken_s=outcome.seconds), err=True)
    whole = outcome.folder.exists(REPORT) and not outcome.interrupted
    where = in_one_line(str(outcome.folder)) + (f"/{REPORT}" if whole else "")
    typer.echo(f"{where}  More: raytrain results {run} --explain", err=True)


def say_separation(outcome: "RunOutcome", *, but: Sequence[str] = ()) -> None:
    """Say what a run that looked after each seed has found of each pair, `but` for what has been said."""
    for sentence in outcome.record.separation.sentences() if outcome.record.separation else ():
        if sentence not in but:
            typer.echo(visible(sentence), err=True)


def say_interrupted(outcome: "RunOutcome") -> None:
    """Say that a signal or the time limit has ended a run, and how to go on."""
    left = sum(result.status == "unfinished" for result in outcome.results)
    why = "Time limit reached" if outcome.interrupted == ExitCode.OUT_OF_TIME else "Interrupted"
    typer.echo(f"{why} with {counted(left, 'trial')} unfinished. The same command continues the run.", err=True)


def say_errors(outcome: "RunOutcome") -> None:
    """Say why trials failed or diverged."""
    for result in outcome.results:
        if result.error:
            typer.echo(f"{in_one_line(result.trial)}: {visible(result.error)}", err=True)


def _against_plan(planned: "Range", *, taken_s: float) -> str:
    between = f" ({duration(planned.low)} to {duration(planned.high)})" if planned.low != planned.high else ""
    said = f"raytrain plan had said about {duration(planned.median)}{between}"
    return f"What this command trained took {duration(taken_s)}; {said}."


def print_table(ranking: "Ranking", *, columns: Sequence[str] = ()) -> None:
    """Print the ranked table, fitted to the terminal if there is one; only these columns, if any are named."""
    console = Console()
    if console.is_terminal:
        console.print(table.terminal_table(ranking, width=console.width, columns=columns), crop=False)
    else:
        typer.echo(table.plain(ranking, columns=columns), nl=False)


def print_footers(rankings: "Mapping[str, Ranking]", *, rearranged: bool, results: str) -> None:
    """Say below tables in a few lines who is ahead, and how to have them explained.

    Args:
        rankings: The rankings of all rows, by the name of their data set; "" for a single one.
        rearranged: Whether the rows are sorted or left out otherwise than by rank.
        results: Command that prints the tables.
    """
    for heading, ranking in rankings.items():
        if heading:
            typer.echo(visible(heading), err=True)
        for line in footer(ranking, rearranged=rearranged):
            typer.echo(visible(line), err=True)
    typer.echo(visible(f"How to read the table: {results} --explain"), err=True)


def print_explanation(ranking: "Ranking", run: "Folder | None", *, results: str) -> None:
    """Say in full how the accuracies, the intervals and the ranks of a table are made, and where everything lies.

    Args:
        ranking: The ranking of all rows.
        run: Run folder of the table; None for a table of several runs.
        results: Command that prints the table.
    """
    for sentence in explain(ranking):
        typer.echo(visible(sentence), err=True)
    if run is None:
        return
    typer.echo(f"Run folder  {in_one_line(str(run))}", err=True)
    if run.exists(REPORT):
        typer.echo(f"Report      {in_one_line(str(run))}/{REPORT}", err=True)
    typer.echo(f"Table       {results} --format md", err=True)
    if shutil.which("tensorboard"):
        typer.echo(f"Curves      tensorboard --logdir {quoted(f'{run}/trials')}", err=True)


def write_results(ranking: "Ranking", format_: Format, output: Path | None, *, columns: Sequence[str] = ()) -> None:
    """Write a ranking to a file or to standard output; only these columns of the table, if any are named."""
    if format_ is Format.table and output is None:
        print_table(ranking, columns=columns)
        return
    if format_ is Format.parquet:
        _refuse_binary(output)
    _write(_written(ranking, format_, columns), output, counted(sum(one.seeds for one in ranking.standings), "result"))


def write_tables(
    rankings: "Mapping[str, Ranking]", format_: Format, output: Path | None, *, columns: Sequence[str] = ()
) -> None:
    """Write rankings of different data sets as `write_results` writes one: a table for each, below its name.

    Files for programs have the rows of all, with the name of the data set in a column `data`.
    """
    if len(rankings) == 1:
        write_results(next(iter(rankings.values())), format_, output, columns=columns)
        return
    if format_ is Format.table and output is None:
        for heading, ranking in rankings.items():
            typer.echo(visible(heading))
            print_table(ranking, columns=columns)
        return
    count = sum(one.seeds for ranking in rankings.values() for one in ranking.standings)
    if format_ in FOR_READERS:
        texts = [
            f"{FOR_READERS[format_]}{visible(heading)}\n\n".encode() + _written(ranking, format_, columns)
            for heading, ranking in rankings.items()
        ]
        _write(b"\n".join(texts), output, counted(count, "result"))
        return
    if format_ is Format.parquet:
        _refuse_binary(output)
    names, rows = ["data"], list[dict[str, Any]]()
    for heading, ranking in rankings.items():
        known, found = _rows(ranking, [name for name in columns if name != "data"])
        names += known
        rows += [{"data": heading.rpartition(": ")[0], **row} for row in found]
    _write(_of_rows(rows, format_, names, rankings.values()), output, counted(count, "result"))


def write_runs(runs: "Sequence[RunSummary]", format_: Format, output: Path | None) -> None:
    """Write the list of runs to a file or to standard output."""
    from raytrain.report.tables import RUNS_LEFT, RUNS_SPARE, run_columns

    cells = run_columns(runs)
    rows = [one.row() for one in runs]
    console = Console()
    if format_ is Format.table and output is None and console.is_terminal:
        console.print(fitted(cells, left=RUNS_LEFT, width=console.width, dispensable=RUNS_SPARE), crop=False)
    elif format_ in FOR_READERS:
        written = {Format.table: as_text, Format.md: as_markdown, Format.tex: as_latex}[format_]
        text = written(cells, left=RUNS_LEFT)
        if output is None:
            typer.echo(text, nl=False)
        else:
            _write(text.encode(), output, counted(len(runs), "run"))
    elif format_ is Format.json:
        _write(document({"runs": rows}).encode(), output, counted(len(runs), "run"))
    elif format_ is Format.csv:
        _write(records.as_csv(rows).encode(), output, counted(len(runs), "run"))
    else:
        _refuse_binary(output)
        from raytrain.comparison.overview import RunSummary  # its module takes long to load, and few need it here

        types = records.column_types(get_type_hints(RunSummary))
        _write(records.as_parquet(rows, types=types), output, counted(len(runs), "run"))


def _refuse_binary(output: Path | None) -> None:
    if output is None and sys.stdout.isatty():
        raise ExperimentError("--format parquet is binary; name a file with --output, or redirect standard output")


def _write(content: bytes, output: Path | None, what: str) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        return
    write_file(output, content)
    typer.echo(f"{what} written to {output}", err=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user has named. What it held before stays if that fails.

    Raises:
        StorageError: The disk is full.
        ExperimentError: It cannot be written for another reason.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise not_written(path, error) from error


def _written(ranking: "Ranking", format_: Format, columns: Sequence[str]) -> bytes:
    if format_ is Format.table:
        return table.plain(ranking, columns=columns).encode()
    if format_ is Format.md:
        return table.markdown(ranking, columns=columns).encode()
    if format_ is Format.tex:
        return table.latex(ranking, columns=columns).encode()
    names, rows = _rows(ranking, columns)
    return _of_rows(rows, format_, names, [ranking])


def _rows(ranking: "Ranking", columns: Sequence[str]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Return the columns of a ranking, or those that are named, and its rows."""
    rows = records.flat_rows(ranking)
    known = list(rows[0]) if rows else column_names(ranking)
    for name in columns:
        check_column(name, known)
    return (columns, [{name: row[name] for name in columns} for row in rows]) if columns else (known, rows)


def _of_rows(
    rows: Sequence[dict[str, Any]], format_: Format, columns: Sequence[str], rankings: "Iterable[Ranking]"
) -> bytes:
    if format_ is Format.parquet:
        return records.as_parquet(rows, types=records.trial_types(), columns=columns)
    if format_ is Format.csv:
        return records.as_csv(rows, columns=columns).encode()
    return document({"trials": rows, "separations": records.separation_values(rankings)}).encode()


def leave(code: int) -> NoReturn:
    """End at once: Ray's exit handlers would ask a Ray that is gone, and wait."""
    with tolerant_output():
        sys.stderr.flush()
    os._exit(code)
