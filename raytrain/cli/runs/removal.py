"""`raytrain rm` and `prune`: runs deleted, and checkpoints that nobody needs any more."""

from contextlib import ExitStack
from typing import Annotated

import typer

from raytrain.cli.completion import run_names
from raytrain.cli.confirmation import confirmed
from raytrain.cli.options import Out, Run
from raytrain.errors import RunFolderError
from raytrain.report.text.quantities import data_size
from raytrain.report.text.visible import in_one_line, quoted

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def add_commands(app: typer.Typer) -> None:
    """Add `rm` and `prune` to the application."""
    for command in (rm, prune):
        app.command()(command)


def rm(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN", show_default=False, autocompletion=run_names, help="Names, folders or URIs of runs."
        ),
    ],
    out: Out = "runs",
    force: Annotated[
        bool,
        typer.Option("--force", help="Also delete a run that has no end on record, where nothing can be locked."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete runs with all that is in their folders. Asks first, and says how much space this frees."""
    from raytrain.comparison.overview import refuse_unended, summarize
    from raytrain.runs.folder import open_runs
    from raytrain.runs.removal import refuse_removal, remove_run
    from raytrain.runs.writing.lock import run_locked

    folders = open_runs(runs, out=out).values()
    for folder in folders:
        refuse_removal(folder, out=out)
    summaries = [summarize(folder) for folder in folders]
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(run_locked(folder))
            if not force:
                refuse_unended(folder, advice="add --force")
        for one in summaries:
            trials = "1 trial" if one.trials == 1 else f"{one.trials} trials"
            typer.echo(f"{in_one_line(one.run)}: {trials}, {one.state}, {data_size(one.bytes)}", err=True)
        what = "this run" if len(summaries) == 1 else f"these {len(summaries)} runs"
        size = data_size(sum(one.bytes for one in summaries))
        if not _confirmed(f"Delete {what}, and free {size}?", yes=yes):
            return
        for folder in folders:
            remove_run(folder)
            typer.echo(f"deleted {in_one_line(str(folder))}")
    typer.echo(f"{size} are free again", err=True)


def prune(
    run: Run,
    out: Out = "runs",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also delete those of unfinished and failed trials, which then begin again; and also where nothing "
            "can be locked and the run has no end on record.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete the checkpoints of all trials but the chosen one.

    Asks first, and says how much space this frees. Results, curves and predictions stay, so that all tables and reports
    stay as they are.
    """
    from raytrain.analysis.record import read_record
    from raytrain.comparison.overview import refuse_unended, summarize
    from raytrain.runs.folder import open_run
    from raytrain.runs.removal import refuse_removal, remove_checkpoints, size_of, superfluous_checkpoints
    from raytrain.runs.trial_files import checkpoint_folder
    from raytrain.runs.writing.lock import run_locked

    folder = open_run(run, out=out)
    refuse_removal(folder, out=out)
    with run_locked(folder):
        if not force:
            refuse_unended(folder, advice=f"continue it with: raytrain resume {quoted(run)}; or add --force")
        record = read_record(folder)
        chosen = record.chosen_trial
        if chosen is None:
            raise RunFolderError(f"no trial of {folder} has finished, so none is chosen; `raytrain rm` deletes the run")
        summary = summarize(folder, locked=True)
        if summary.error and not force:  # whether all trials have ended is then not known
            raise RunFolderError(summary.error)
        if summary.state == "unfinished" and not force:
            raise RunFolderError(
                f"{folder} is unfinished, and its trials go on from their checkpoints. Finish it with: raytrain resume "
                f"{quoted(run)}; or add --force, and they begin again."
            )
        failed = [one.trial for one in record.listed if one.status == "failed" and not force]
        trials = superfluous_checkpoints(folder, keep=[chosen.trial, *failed])
        if not trials:
            typer.echo("There are no checkpoints to delete.", err=True)
            return
        size = data_size(sum(size_of(checkpoint_folder(folder, trial)) for trial in trials))
        kept = f" The checkpoint of the chosen trial, {chosen.digest}, stays"
        kept += f", and so do those of {len(failed)} that failed." if failed else "."
        count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
        typer.echo(f"Without them, {count} can neither be exported nor trained further.{kept}", err=True)
        if not _confirmed(f"Delete the checkpoints of {count}, and free {size}?", yes=yes):
            return
        remove_checkpoints(folder, trials)
    typer.echo(f"deleted the checkpoints of {count} of {in_one_line(str(folder))}: {size}")


def _confirmed(question: str, *, yes: bool) -> bool:
    unanswered = "nothing was deleted, because nobody answered; --yes deletes without asking"
    answer = confirmed(question, yes=yes, unanswered=unanswered)
    if not answer:
        typer.echo("Nothing was deleted.", err=True)
    return answer
