"""`raytrain plan`: what a run will take, before it starts."""

# The imports inside functions load NumPy, SciPy and pyarrow: at the top they would make `raytrain --help` take 3.2 s
# instead of 0.5 s.

import logging
import sys
from json import dumps
from typing import Annotated

import typer

from raytrain.cli.options import (
    Address,
    ExperimentFile,
    Gpus,
    Json,
    Local,
    MaxConcurrent,
    Name,
    NoAsha,
    Out,
    Seeds,
    Set,
    Workers,
    changes_of,
    experiment_of,
)


def add_commands(app: typer.Typer) -> None:
    """Add `plan` to the application."""
    app.command()(plan)


def plan(
    experiment: ExperimentFile = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    seeds: Seeds = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_concurrent: MaxConcurrent = None,
    no_asha: NoAsha = False,
    price: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="DOLLARS", show_default=False, help="Price per hour of a GPU, or of a core without GPUs."
        ),
    ] = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """Estimate the time, work and disk space of compare or tune. It writes no run folder.

    It trains some batches of each kind of trial, so it may download data and start nodes of an autoscaling cluster.
    For train, add --no-asha.
    """
    from raytrain.cli.plan_text import plan_text
    from raytrain.execution.plan import make_plan

    logging.basicConfig(level=logging.WARNING, format="raytrain: %(message)s", stream=sys.stderr)
    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha)
    made = make_plan(experiment_of(experiment, set_, changes), out=out, address=address, local=local)
    if made is None:
        typer.echo(dumps({"trials": 0}) if json else "All trials have ended; there is nothing to train.")
    elif json:
        typer.echo(dumps(made.as_dict(price=price)))
    else:
        typer.echo(plan_text(made, price=price), nl=False)
