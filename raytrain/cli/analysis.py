"""`raytrain audit` and `raytrain baseline`: what early stopping cost, and curves from elsewhere to compare with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import Json, Out
from raytrain.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raytrain.analysis.audit import Replay


def add_commands(app: typer.Typer) -> None:
    """Add `audit` and the group `baseline` to the application."""
    app.command()(audit)
    group = typer.Typer(help="Keep curves of other trainings, to show beside runs.", no_args_is_help=True)
    group.command("import")(import_)
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="baseline")


def audit(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", show_default=False, help="Its name, folder or URI.")
    ] = None,
    out: Out = "runs",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_CSV", help="Audit ASHA on these curves, such as student.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Say what ASHA saved, whom it stopped and by how much, and what other settings would have done."""
    if (run is None) == (baseline is None):
        raise ExperimentError("audit takes a RUN, or --baseline NAME; give one of them")
    if run is not None:
        _audit_run(run, out, json=json)
    else:
        _audit_baseline(baseline or "", json=json)


def _audit_run(name: str, out: str, *, json: bool) -> None:
    from dataclasses import asdict
    from json import dumps

    from raytrain.analysis.audit import audit
    from raytrain.analysis.record import read_record
    from raytrain.report import tables
    from raytrain.report.text import as_text
    from raytrain.runs.folder import open_run

    record = read_record(open_run(name, out=out))
    audited = audit(record.results, record.epochs, record.events)
    if json:
        typer.echo(dumps(asdict(audited)))
        return
    for sentence in tables.summary(audited):
        typer.echo(sentence)
    if audited.rungs:
        typer.echo(as_text(tables.rung_columns(audited), left=()), nl=False)
        typer.echo(
            "tau: Kendall's, between the order at the rung and after the last epoch (1: the same, 0: no relation)"
        )
        typer.echo(as_text(tables.stop_columns(audited), left=tables.AUDIT_LEFT), nl=False)
    digests = {result.trial: result.digest for result in record.results}
    _show_replays(audited.replays, complete=audited.complete, labels=digests)


def _audit_baseline(name: str, *, json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict
    from json import dumps

    from raytrain.analysis.audit import Curve, replays
    from raytrain.analysis.baselines import open_baseline

    tested = {curve.name: curve for curve in open_baseline(name).curves if curve.tested}
    if not tested:
        raise ExperimentError(f"no curve of {name} has a test accuracy, which is what a replay judges by")
    # an experiment's trials have equal epochs: the commonest number of epochs is the experiment
    common = Counter(len(curve.tested) for curve in tested.values()).most_common(1)[0][0]
    seconds = {one.name: dict(zip(one.epochs, one.seconds, strict=True)) for one in tested.values()}
    curves = {
        name: Curve([accuracy for _, accuracy in one.tested], [seconds[name][epoch] for epoch, _ in one.tested])
        for name, one in tested.items()
        if len(one.tested) == common
    }
    made = replays(curves)
    if json:
        typer.echo(dumps([asdict(one) for one in made]))
        return
    left = [name for name in tested if name not in curves]
    typer.echo(
        f"{len(curves)} curves of {common} epochs"
        + (f" ({', '.join(left)} left out: of another length)" if left else "")
        + ". Judged by test accuracy: the logs have no validation split."
    )
    _show_replays(made, complete=len(curves), labels={})


def _show_replays(made: "Sequence[Replay]", *, complete: int, labels: "Mapping[str, str]") -> None:
    from raytrain.report import tables
    from raytrain.report.text import as_text

    if not made:
        typer.echo("Fewer than two trials ran to the end, so no other setting can be replayed.")
        return
    typer.echo(f"What other settings would have done to the {complete} trials that ran to the end, started at once:")
    typer.echo(as_text(tables.replay_columns(made, labels), left=tables.AUDIT_LEFT), nl=False)
    typer.echo("regret: points by which the best trial ended above the best that is kept. One seed each is no law.")


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="TensorBoard event files, at any depth.")],
    name: Annotated[str, typer.Option(help="What to call it.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace a baseline of that name.")] = False,
) -> None:
    """Read TensorBoard logs: Loss/Training, Loss/Test, Accuracy/Train, Accuracy/Test, a curve for each folder."""
    from raytrain.analysis.baseline_import import import_events

    baseline = import_events(folder, name, force=force)
    typer.echo(f"{name}: {len(baseline.curves)} curves; raytrain baseline show {name}")


def list_(json: Json = False) -> None:
    """List the baselines there are."""
    from json import dumps

    from raytrain.analysis.baselines import list_baselines

    names = list_baselines()
    typer.echo(dumps(names) if json else "\n".join(names))


def show(
    baseline: Annotated[str, typer.Argument(metavar="NAME_OR_CSV", help="Such as student.")],
    json: Json = False,
) -> None:
    """Show what the logs of a baseline say, beside what their author claims."""
    from dataclasses import asdict
    from json import dumps

    from raytrain.analysis.baselines import open_baseline
    from raytrain.report.tables import BASELINE_LEFT, baseline_columns
    from raytrain.report.text import as_text

    read = open_baseline(baseline)
    if json:
        typer.echo(dumps([asdict(curve) for curve in read.curves]))
        return
    typer.echo(as_text(baseline_columns(read), left=BASELINE_LEFT), nl=False)
    typer.echo(
        "Best: the epoch chosen by the test accuracy that is reported, which flatters it by what stands under best - "
        "last. One seed of each: no order is established.",
        err=True,
    )
