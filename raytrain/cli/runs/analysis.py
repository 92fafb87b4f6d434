"""`raytrain audit` and `baseline`: early stopping, and curves from elsewhere."""

# The imports inside functions load SciPy and pyarrow: at the top they would make `raytrain --help` take 3.2 s instead
# of 0.5 s.

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import run_names
from raytrain.cli.options import Json, Out
from raytrain.cli.text_option import text_option
from raytrain.errors import ExperimentError, counted
from raytrain.report.document import document
from raytrain.report.text.columns import as_text, terminal_width
from raytrain.report.text.visible import in_one_line, quoted, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raytrain.analysis.replay import Replay
    from raytrain.metrics.selection import Select


def add_commands(app: typer.Typer) -> None:
    """Add `audit` and the group `baseline` to the application."""
    app.command()(audit)
    group = typer.Typer(help="Import and show learning curves of other training runs.", no_args_is_help=True)
    group.command("import")(import_)
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="baseline")


def audit(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            show_default=False,
            autocompletion=run_names,
            help="Name, folder or URI of the run; none with --baseline.",
        ),
    ] = None,
    out: Out = "runs",
    baseline: Annotated[
        str | None,
        text_option(metavar="NAME_OR_CSV", help="Replay ASHA on this baseline, such as student.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Show what early stopping saved, which trials it stopped, and what other settings would have done."""
    if (run is None) == (baseline is None):
        raise ExperimentError("audit needs either a RUN or --baseline NAME; give exactly one of them")
    if run is not None:
        _audit_run(run, out, json=json)
    else:
        _audit_baseline(baseline or "", json=json)


def _audit_run(name: str, out: str, *, json: bool) -> None:

    from raytrain.analysis.audit import audit
    from raytrain.analysis.record import read_record
    from raytrain.report import tables
    from raytrain.runs.folder import open_run
    from raytrain.runs.results import configurations

    record = read_record(open_run(name, out=out))
    audited = audit(record.results, record.epochs, record.events, own=record.state.rungs())
    if json:
        typer.echo(document(asdict(audited)), nl=False)
        return
    for sentence in tables.summary(audited):
        typer.echo(visible(sentence))
    if audited.rungs:
        typer.echo(as_text(tables.rung_columns(audited), left=(), width=terminal_width()), nl=False)
        typer.echo(
            "tau: Kendall's tau between the order at the rung and the final order (1: the same order, 0: no relation)"
        )
        typer.echo(as_text(tables.stop_columns(audited), left=tables.AUDIT_LEFT, width=terminal_width()), nl=False)
    digests = {result.trial: result.digest for result in record.results}
    complete = [one for one in record.results if one.phase == "search" and one.status == "finished"]
    seeds = max((len(group) for group in configurations(complete)), default=1)
    held = sum(one.final is None for one in audited.stops)
    _show_replays(
        audited.replays,
        complete=audited.complete,
        labels=digests,
        ended=len(complete),
        select=audited.select,
        seeds=seeds,
        held=held,
    )


def _audit_baseline(name: str, *, json: bool) -> None:

    from raytrain.analysis.replay import curves_of_baseline, replays
    from raytrain.baselines.baselines import open_baseline

    found = curves_of_baseline(open_baseline(name).curves, name=name)
    curves = found.replayed
    made = replays(curves)
    if json:
        typer.echo(document({"replays": [asdict(one) for one in made]}), nl=False)
        return
    left = [f"{', '.join(found.of_other_length)}, of another length"] if found.of_other_length else []
    left += [f"{', '.join(found.with_gaps)}, without the test accuracy of some epochs"] if found.with_gaps else []
    typer.echo(
        f"{counted(len(curves), 'curve')} of {counted(found.epochs, 'epoch')}"
        + (f" (left out: {'; '.join(left)})" if left else "")
        + ". ASHA judges them by test accuracy, because the logs have no validation split."
    )
    _show_replays(made, complete=len(curves), labels={}, ended=len(curves))


def _show_replays(
    made: "Sequence[Replay]",
    *,
    complete: int,
    labels: "Mapping[str, str]",
    ended: int,
    select: "Select" = "accuracy",
    seeds: int = 1,
    held: int = 0,
) -> None:
    from raytrain.metrics.selection import SELECTIONS
    from raytrain.report import tables

    if not made:
        why = (
            "Fewer than two trials ran to the end"
            if ended < 2
            else "Fewer than two trials have on record, for every epoch, what ASHA goes by (val_size: 0 has none)"
            if complete < 2
            else "The trials have one epoch and no rung before its end"
        )
        typer.echo(f"{why}, so no other setting can be replayed.")
        return
    which = "The setting of this run and others" if any(one.this_run for one in made) else "Other settings"
    typer.echo(f"{which}, replayed on the {complete} trials that ran to the end, as if all had started at once:")
    if held:
        were = "1 that was stopped or paused is" if held == 1 else f"{held} that were stopped or paused are"
        typer.echo(f"The {were} not among them, so this says little about the whole search.")
    selection = SELECTIONS[select]
    typer.echo(
        as_text(tables.replay_columns(made, labels, select=select), left=tables.AUDIT_LEFT, width=terminal_width()),
        nl=False,
    )
    order = (
        "the best kept trial minus that of the best trial"
        if selection.lower_is_better
        else ("the best trial minus that of the best kept trial")
    )
    typer.echo(
        f"regret: {selection.words} of {order}, in {'nats' if selection.in_nats else 'percentage points'}. "
        + (
            "With one seed each, it is only an example."
            if seeds == 1
            else f"Each of up to {seeds} seeds is replayed as a trial of its own. Other seeds may give another regret."
        )
    )


def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with TensorBoard event files, at any depth.")
    ],
    name: Annotated[str, typer.Option(help="Name for the baseline.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing baseline of that name.")] = False,
) -> None:
    """Import TensorBoard logs as a baseline, one curve for each folder with event files.

    It reads the tags Loss/Training, Loss/Test, Accuracy/Train and Accuracy/Test.
    """
    from raytrain.baselines.importing import import_events
    from raytrain.cli.output import log_to_stderr

    log_to_stderr()
    baseline = import_events(folder, name, force=force)
    curves, them = counted(len(baseline.curves), "curve"), "it" if len(baseline.curves) == 1 else "them"
    typer.echo(f"{name}: {curves} imported. Show {them} with: raytrain baseline show {quoted(name)}")


def list_(json: Json = False) -> None:
    """List the names of all baselines."""
    from raytrain.baselines.baselines import list_baselines

    names = list_baselines()
    typer.echo(document({"baselines": names}) if json else "\n".join([*map(in_one_line, names), ""]), nl=False)


def show(
    baseline: Annotated[
        str, typer.Argument(metavar="NAME_OR_CSV", help="Name of a baseline, such as student, or a CSV file.")
    ],
    json: Json = False,
) -> None:
    """Show the accuracies in the logs of a baseline, beside those that its author reports."""
    from raytrain.baselines.baselines import open_baseline
    from raytrain.report.tables import BASELINE_LEFT, BASELINE_SPARE, baseline_columns

    read = open_baseline(baseline)
    if json:
        typer.echo(document({"baseline": read.name, "curves": [asdict(curve) for curve in read.curves]}), nl=False)
        return
    typer.echo(
        as_text(baseline_columns(read), left=BASELINE_LEFT, width=terminal_width(), dispensable=BASELINE_SPARE),
        nl=False,
    )
    typer.echo(
        "best %: the highest test accuracy of all epochs. It is biased upwards, because the test set chose the epoch. "
        "Each curve has one seed, so another seed may change their order.",
        err=True,
    )
