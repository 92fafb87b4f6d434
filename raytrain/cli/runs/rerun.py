"""`raytrain rerun`: a trial trained again, and perhaps compared with its record."""

# The imports inside functions load SciPy and pyarrow: at the top they would make
# `raytrain --help` take 3.2 s instead of 0.5 s.

from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import run_or_trial_names
from raytrain.cli.options import AllowCode, Format, Fresh, Json, Out, Quiet, TimeLimit, mode_of
from raytrain.cli.text_option import text_option
from raytrain.errors import ExitCode
from raytrain.report.document import document
from raytrain.report.text.visible import visible

if TYPE_CHECKING:
    from raytrain.analysis.record import RunRecord


def add_commands(app: typer.Typer) -> None:
    """Add `rerun` to the application."""
    app.command()(rerun)


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
    name: Annotated[str | None, text_option(help="Name of the new run.", show_default="RUN-rerun-TRIAL")] = None,
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
    from raytrain.execution.rerun import OtherImagesError, experiment_of_rerun, refuse_other_code
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
        _say_what_may_differ(record)
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
            output.write_results(outcome.record.ranking, Format.json if json else Format.table, None)
    if not quiet:
        output.say_what_next(outcome, name=experiment.name, out=out)
        if not outcome.trained and (json or not verify):
            typer.echo(f"{experiment.name} was trained before; --fresh trains it again.", err=True)
    if outcome.interrupted or not verify:
        raise typer.Exit(outcome.exit_code)
    if not outcome.trained:
        refuse_other_code(outcome.record)
    verification = compared(record, result, outcome.record)
    before = f"Nothing was trained now: {experiment.name} was trained before, and is compared; --fresh trains it again."
    with output.tolerant_output():
        said = [*(() if outcome.trained else (before,)), *verification.sentences(), ""]
        sentences = visible("\n".join(said))
        content = {**verification.as_dict(), "trained": outcome.trained}
        typer.echo(document(content) if json else sentences, nl=False)
    raise typer.Exit(ExitCode.DONE if verification.holds else ExitCode.ASSERTION_FAILED)


def _say_what_may_differ(record: "RunRecord") -> None:
    """Say why a trial of a run may not come out the same when it is trained again here."""
    from raytrain.execution.rerun import missing_commits, other_commits

    for commit in missing_commits(record):
        typer.echo(
            f"The commit {visible(commit)} is not in the repository here: what has changed is unknown.", err=True
        )
    for commit, installed in other_commits(record):
        typer.echo(
            f"The run was trained at commit {visible(commit)}, the code here is at {visible(installed)}, and is used.",
            err=True,
        )
    if (workers := record.state.experiment.resources.most_workers) > 1:
        typer.echo(f"The trial had up to {workers} workers, this one has 1: equal bits cannot be expected.", err=True)
