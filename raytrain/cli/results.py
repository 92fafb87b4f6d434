"""`raytrain results` and `raytrain report`: what came of runs, without a cluster and without training."""

# The imports inside functions load SciPy and pyarrow, and those of `report` matplotlib: at the top they would make
# `raytrain --help` take 3.2 s instead of 0.5 s.

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import Format, Json, Out
from raytrain.errors import ExitCode, ExperimentError
from raytrain.report import REPORT
from raytrain.report.text import in_one_line, quoted, visible


def add_commands(app: typer.Typer) -> None:
    """Add `results` and `report` to the application."""
    app.command()(results)
    app.command()(report)


def results(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", show_default=False, help="Names, folders or URIs of runs. Without any, list the runs."
        ),
    ] = None,
    out: Out = "runs",
    format_: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results to this file.", show_default=False)
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Sort by a recipe field or a result.", show_default=False)
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the first rows.", show_default=False)] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Show only these columns.", show_default=False)
    ] = None,
    assert_: Annotated[
        list[str] | None,
        typer.Option(
            "--assert",
            metavar="'NAME >= NUMBER'",
            help="Exit with code 9 unless this holds, such as 'test_accuracy >= 0.9'. Repeatable.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_CSV", help="Baseline to show below the runs, such as student.", show_default=False
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain the accuracies, intervals and ranks.")] = False,
    json: Json = False,
) -> None:
    """Print the ranked results of one or more runs, or list the runs. Several runs are ranked together."""
    from raytrain.runs.folder import list_runs, open_run

    if not runs:
        if names := list_runs(out):
            typer.echo("\n".join(map(in_one_line, names)))
        else:
            typer.echo(f"there is no run under {out}; start one with: raytrain compare", err=True)
        return
    from raytrain.analysis.assertion import broken
    from raytrain.analysis.baselines import open_baseline
    from raytrain.analysis.ranking import arranged, beside
    from raytrain.analysis.record import rank_runs
    from raytrain.analysis.wording import footer
    from raytrain.cli.output import print_explanation, tolerant_output, write_results

    ranking = rank_runs({name: open_run(name, out=out) for name in runs})
    failures = [failure for claim in assert_ or [] if (failure := broken(claim, ranking))]
    wanted = [name.strip() for name in columns.split(",")] if columns else []
    shown = arranged(ranking, by=sort, most=top)
    if baseline:
        shown = beside(shown, open_baseline(baseline))
    format_ = Format.json if json else format_
    with tolerant_output():
        write_results(shown, format_, output, columns=wanted)
    if explain:
        print_explanation(shown)
    elif format_ is Format.table and output is None:
        words = [*runs, *([] if out == "runs" else ["--out", out])]
        again = f"raytrain results {' '.join(map(quoted, words))} --explain"
        for line in (*footer(shown), f"How to read the table: {again}"):
            typer.echo(visible(line), err=True)
    for failure in failures:
        typer.echo(f"raytrain: assertion failed: {visible(failure)}", err=True)
    if failures:
        raise typer.Exit(ExitCode.ASSERTION_FAILED)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="Name, folder or URI of the run.")],
    out: Out = "runs",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_CSV", help="Baseline whose curves are added, such as student.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the page to this file instead of the run folder.", show_default=False
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the web browser.")] = False,
) -> None:
    """Write report.html, a single file that shows the whole run and needs no network, and plots/*.png."""
    from raytrain.analysis.baselines import open_baseline
    from raytrain.analysis.record import read_record
    from raytrain.cli.output import write_file
    from raytrain.report.page import render, write_report
    from raytrain.runs.folder import open_run

    folder = open_run(run, out=out)
    beside = open_baseline(baseline) if baseline else None
    if open_ and output is None and folder.local_path is None:
        raise ExperimentError(f"--open needs a local file, and {folder} is not local; add --output report.html")
    record = read_record(folder)
    if output is None:
        write_report(record, baseline=beside)
        written = f"{folder}/{REPORT}"
    else:
        write_file(output, render(record, baseline=beside).encode())
        written = str(output.absolute())
    typer.echo(in_one_line(written))
    if open_ and not webbrowser.open(Path(written).as_uri()):
        typer.echo("raytrain: no web browser was found; open the file yourself", err=True)
