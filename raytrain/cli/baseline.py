"""`raytrain baseline`: learning curves from elsewhere, to compare runs with."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import Json


def add_commands(app: typer.Typer) -> None:
    """Add the group `baseline` to the application."""
    group = typer.Typer(help="Keep curves of other trainings, to show beside runs.", no_args_is_help=True)
    group.command("import")(import_)
    group.command("list")(list_)
    group.command()(show)
    app.add_typer(group, name="baseline")


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
    from raytrain.report.baseline_table import LEFT, baseline_columns
    from raytrain.report.columns import as_text

    read = open_baseline(baseline)
    if json:
        typer.echo(dumps([asdict(curve) for curve in read.curves]))
        return
    typer.echo(as_text(baseline_columns(read), left=LEFT), nl=False)
    typer.echo(
        "Best: the epoch chosen by the test accuracy that is reported, which flatters it by what stands under best - "
        "last. One seed of each: no order is established.",
        err=True,
    )
