"""`raytrain results`, `report`, `diff` and `rerun`: what came of runs, beside each other, and trained again."""

# The imports inside functions load SciPy and pyarrow, and those of `report` matplotlib: at the top they would make
# `raytrain --help` take 3.2 s instead of 0.5 s.

import webbrowser
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import run_names, run_or_trial_names
from raytrain.cli.options import AllowCode, Format, Fresh, Json, Out, Quiet, Run, TimeLimit, mode_of
from raytrain.errors import ExitCode, ExperimentError, RunFolderError
from raytrain.report import REPORT
from raytrain.report.text import as_text, in_one_line, quoted, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raytrain.comparison.side_by_side import Side

RunOrTrial = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="RUN[/TRIAL]",
        autocompletion=run_or_trial_names,
        help="Name, folder or URI of a run, or a trial of it.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add `results`, `report`, `diff` and `rerun` to the application."""
    for command in (results, report, diff, rerun):
        app.command()(command)


def results(
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
        typer.Option(metavar="NAME", help="Sort by this column; -NAME for the highest first.", show_default=False),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the first rows.", show_default=False)] = None,
    columns: Annotated[
        str | None,
        typer.Option(
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
        typer.Option(
            metavar="NAME_OR_CSV", help="Baseline to show below the runs, such as student.", show_default=False
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Explain the accuracies, intervals and ranks.")] = False,
    json: Json = False,
) -> None:
    """Print the ranked results of one or more runs, or list the runs. Several runs are ranked together."""
    format_ = Format.json if json else format_
    if not runs:
        given = {
            "--assert": assert_,
            "--baseline": baseline,
            "--explain": explain,
            "--columns": columns,
            "--sort": sort,
            "--where": where,
        }
        _list_runs(out, format_, output, most=top, not_for_lists=[name for name, value in given.items() if value])
        return
    from raytrain.analysis.assertion import broken
    from raytrain.analysis.assertion import where as rows_where
    from raytrain.analysis.ranking import arranged, beside
    from raytrain.analysis.record import rank_runs
    from raytrain.analysis.wording import footer
    from raytrain.baselines.baselines import open_baseline
    from raytrain.cli.output import print_explanation, tolerant_output, write_results
    from raytrain.runs.folder import open_run

    folders = {name: open_run(name, out=out) for name in runs}
    ranking = rank_runs(folders)
    failures = [failure for claim in assert_ or [] if (failure := broken(claim, ranking))]
    wanted = [name.strip() for name in columns.split(",")] if columns else []
    shown, left_out = rows_where(ranking, where or [])
    shown = arranged(shown, by=sort, most=top)
    if baseline:
        shown = beside(shown, open_baseline(baseline))
    with tolerant_output():
        write_results(shown, format_, output, columns=wanted)
    if left_out:
        typer.echo(visible(left_out), err=True)
    again = f"raytrain results {' '.join(map(quoted, [*runs, *([] if out == 'runs' else ['--out', out])]))}"
    if explain:
        whole = replace(ranking, notes=shown.notes)
        print_explanation(whole, folders[runs[0]] if len(runs) == 1 else None, results=again)
    elif format_ is Format.table and output is None:
        for line in (*footer(ranking, rearranged=bool(sort or where)), f"How to read the table: {again} --explain"):
            typer.echo(visible(line), err=True)
    for failure in failures:
        typer.echo(f"raytrain: assertion failed: {visible(failure)}", err=True)
    if failures:
        raise typer.Exit(ExitCode.ASSERTION_FAILED)


def _list_runs(
    out: str, format_: Format, output: Path | None, *, most: int | None, not_for_lists: "Sequence[str]"
) -> None:
    from raytrain.cli.output import tolerant_output, write_runs
    from raytrain.comparison.overview import summarize
    from raytrain.runs.folder import list_runs
    from raytrain.storage.folder import Folder

    if not_for_lists:
        raise ExperimentError(f"{not_for_lists[0]} is about the trials of a run; name one: raytrain results RUN")
    names = list_runs(out)
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


def diff(first: RunOrTrial, second: RunOrTrial, out: Out = "runs", json: Json = False) -> None:
    """Show in what two runs or trials differ: recipes, data, code, versions, machine, and test accuracies."""
    from raytrain.cli.output import tolerant_output
    from raytrain.comparison.side_by_side import side_by_side
    from raytrain.report.tables import SIDES_LEFT, accuracy_columns, difference_columns

    found = side_by_side(_side(first, out), _side(second, out))
    with tolerant_output():
        if json:
            typer.echo(dumps(found.as_dict()))
            return
        typer.echo(in_one_line(f"first: {found.first}, second: {found.second}"))
        if found.differences:
            typer.echo(as_text(difference_columns(found), left=SIDES_LEFT), nl=False)
        else:
            typer.echo("The recipes, data, code, versions and machines are the same.")
        if found.accuracies:
            typer.echo("\n" + as_text(accuracy_columns(found), left=SIDES_LEFT), nl=False)
        else:
            typer.echo("No test accuracies can be put beside each other: a side has no finished trial.")


def _side(name: str, out: str) -> "Side":
    from raytrain.analysis.record import read_record
    from raytrain.comparison.side_by_side import Side
    from raytrain.inference.export import find_trial
    from raytrain.runs.folder import open_run

    try:
        return Side(read_record(open_run(name, out=out)))
    except RunFolderError:
        if "/" not in name:
            raise
        record, trial, _ = find_trial(name, out=out)
        return Side(record, trial)


def rerun(
    trial: Annotated[
        str,
        typer.Argument(
            metavar="RUN[/TRIAL]",
            show_default=False,
            autocompletion=run_or_trial_names,
            help="Name, folder or URI of a run, to train its chosen trial again; or RUN/TRIAL for another one.",
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the record; exit with code 9 if it is not confirmed.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the new run.", show_default="RUN-rerun-TRIAL")] = None,
    allow_code: AllowCode = False,
    out: Out = "runs",
    fresh: Fresh = False,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a trial again, with its recipe and on its data, in this process and into a new run folder."""
    from raytrain.cli import output
    from raytrain.cli.experiment import run
    from raytrain.comparison.verification import predictions_of
    from raytrain.comparison.verification import verify as compared
    from raytrain.execution.options import RunOptions
    from raytrain.execution.rerun import OtherImagesError, experiment_of_rerun, missing_commits
    from raytrain.execution.rerun import rerun as train_again
    from raytrain.inference.export import find_trial
    from raytrain.runs.user_code import keep_code
    from raytrain.training.recipe import Recipe

    record, result, why = find_trial(trial, out=out)
    keep_code(record.folder, Recipe(**result.recipe).user_code, allowed=allow_code)
    if verify:
        predictions_of(record, result)  # else it would be trained first
    if not quiet:
        typer.echo(visible(f"{result.trial}: {why}"), err=True)
        for commit in missing_commits(record):
            typer.echo(
                f"The commit {visible(commit)} is not in the repository here: what has changed is unknown.", err=True
            )
        if (workers := record.state.experiment.resources.most_workers) > 1:
            typer.echo(
                f"The trial had up to {workers} workers, this one has 1: equal bits cannot be expected.", err=True
            )
    experiment = experiment_of_rerun(record, result, name=name)
    options = RunOptions(out, local=True, mode=mode_of(fresh=fresh), time_limit_s=time_limit)
    try:
        outcome = run.with_progress(
            lambda shown: train_again(record, result, experiment, options, shown=shown), quiet=quiet
        )
    except OtherImagesError as error:
        typer.echo(f"raytrain: {visible(str(error))}", err=True)
        raise typer.Exit(ExitCode.ASSERTION_FAILED if verify else error.exit_code) from None
    if outcome.interrupted or not verify:
        with output.tolerant_output():
            if json:
                output.write_results(outcome.record.ranking, Format.json, None)
            else:
                output.print_table(outcome.record.ranking)
    if not quiet:
        output.say_what_next(outcome, name=experiment.name, out=out)
        if not outcome.trained:
            typer.echo(f"{experiment.name} was trained before; --fresh trains it again.", err=True)
    if outcome.interrupted or not verify:
        raise typer.Exit(outcome.exit_code)
    verification = compared(record, result, outcome.record)
    with output.tolerant_output():
        typer.echo(dumps(verification.as_dict()) if json else visible("\n".join(verification.sentences())))
    raise typer.Exit(ExitCode.DONE if verification.holds else ExitCode.ASSERTION_FAILED)
