"""`raytrain results` and `report`: what came of runs, as tables and as a page."""

# The imports inside functions load SciPy and pyarrow, and those of `report` matplotlib: at the top they would make
# `raytrain --help` take 3.2 s instead of 0.5 s.

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import run_names
from raytrain.cli.options import Format, Json, Out, Run, is_given
from raytrain.cli.text_option import text_option
from raytrain.errors import ExitCode, ExperimentError
from raytrain.report import REPORT
from raytrain.report.text.visible import in_one_line, quoted, visible
from raytrain.storage.collection import without_collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def add_commands(app: typer.Typer) -> None:
    """Add `results` and `report` to the application."""
    for command in (results, report):
        app.command()(command)


@without_collection()
def results(
    ctx: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            autocompletion=run_names,
            help="Names, folders or URIs of runs. Without any, list the runs.",
        ),
    ] = None,
    out: Out = "runs",
    format_: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results to this file.", show_default=False)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME < NUMBER'",
            help="Show only the rows of which this holds, such as 'lr < 0.1' or 'arch == resnet18'. Repeatable.",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        text_option(metavar="NAME", help="Sort by this column; -NAME for the highest first.", show_default=False),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the first rows.", show_default=False)] = None,
    columns: Annotated[
        str | None,
        text_option(
            metavar="A,B,C",
            help="Show these columns: any fields of the recipe, results and metrics, such as arch,test_accuracy,lr.",
            show_default=False,
        ),
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
        text_option(
            metavar="NAME_OR_CSV", help="Baseline to show below the runs, such as student.", show_default=False
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain the accuracies, intervals and ranks.")] = False,
    json: Json = False,
) -> None:
    """Print the ranked results of one or more runs, or list the runs.

    Several runs on the same images are ranked together; each data set has a table of its own.
    """
    if json and format_ is not Format.json and is_given(ctx, "format_"):
        raise ExperimentError(f"--format {format_} and --json were given; give one of them")
    format_ = Format.json if json else format_
    if not runs:
        given = {"--assert": assert_, "--baseline": baseline, "--explain": explain}
        given |= {"--columns": columns, "--sort": sort, "--where": where}
        _list_runs(out, format_, output, most=top, not_for_lists=[name for name, value in given.items() if value])
        return
    from raytrain.analysis.assertion import broken
    from raytrain.analysis.assertion import where as rows_where
    from raytrain.analysis.contest import rankings_by_data
    from raytrain.analysis.ranking import arranged, beside
    from raytrain.baselines.baselines import open_baseline
    from raytrain.cli.output import print_explanation, print_footers, tolerant_output, write_tables
    from raytrain.runs.folder import open_runs

    folders = open_runs(runs, out=out)
    rankings = rankings_by_data(folders)
    if baseline:  # of all rows, whichever of them are shown
        beside_all = open_baseline(baseline)
        rankings = {heading: beside(ranking, beside_all) for heading, ranking in rankings.items()}
    failures = [
        f"{heading}: {failure}" if heading else failure
        for heading, ranking in rankings.items()
        for claim in assert_ or []
        if (failure := broken(claim, ranking))
    ]
    wanted = [name.strip() for name in columns.split(",")] if columns else []
    chosen = {heading: rows_where(ranking, where or []) for heading, ranking in rankings.items()}
    shown = {heading: arranged(rows, by=sort, most=top) for heading, (rows, _) in chosen.items()}
    with tolerant_output():
        write_tables(shown, format_, output, columns=wanted)
    for heading, (_, left_out) in chosen.items():
        if left_out:
            typer.echo(visible(f"{heading}: {left_out}" if heading else left_out), err=True)
    again = _command(folders, out)
    if explain:
        for heading, ranking in rankings.items():
            if heading:
                typer.echo(visible(heading), err=True)
            print_explanation(ranking, next(iter(folders.values())) if len(folders) == 1 else None, results=again)
    elif format_ is Format.table and output is None:
        print_footers(rankings, rearranged=bool(sort or where), results=again)
    if explain or (format_ is Format.table and output is None):
        looked = {name for ranking in rankings.values() if ranking.of_runs for name in ranking.separations}
        for name in (name for name in folders if name in looked):
            shown = f"What the pairs of {name} have shown: {_command([name], out)} --explain"
            typer.echo(visible(shown), err=True)
    for failure in failures:
        typer.echo(f"raytrain: assertion failed: {visible(failure)}", err=True)
    if failures:
        raise typer.Exit(ExitCode.ASSERTION_FAILED)


def _command(runs: "Iterable[str]", out: str) -> str:
    """Return the command that shows runs, as they were named and where they were found."""
    return f"raytrain results {' '.join(map(quoted, [*runs, *([] if out == 'runs' else ['--out', out])]))}"


def _list_runs(
    out: str, format_: Format, output: Path | None, *, most: int | None, not_for_lists: "Sequence[str]"
) -> None:
    from raytrain.cli.output import tolerant_output, write_runs
    from raytrain.comparison.overview import summarize
    from raytrain.runs.folder import list_remains, list_runs
    from raytrain.storage.folder import Folder

    if not_for_lists:
        raise ExperimentError(f"{not_for_lists[0]} is about the trials of a run; name one: raytrain results RUN")
    names = list_runs(out)
    for one in list_remains(out):
        typer.echo(f"raytrain: {visible(one)}", err=True)
    if not names:
        typer.echo(f"there is no run under {out}; start one with: raytrain compare", err=True)
        if format_ is Format.table:
            return
    found = [summarize(Folder.at(out) / name) for name in names]
    found.sort(key=lambda one: one.started or "", reverse=True)
    with tolerant_output():
        write_runs(found[:most], format_, output)
    for one in found[:most]:
        if one.error:
            typer.echo(f"raytrain: {visible(one.error)}", err=True)


def report(
    run: Run,
    out: Out = "runs",
    baseline: Annotated[
        str | None,
        text_option(
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
    from raytrain.analysis.record import read_record
    from raytrain.baselines.baselines import open_baseline
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
