"""`raytrain plan`: what a run will take, before it starts."""

# The imports inside functions load NumPy, SciPy and pyarrow: at the top they would make `raytrain --help` take 3.2 s
# instead of 0.5 s.

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import (
    Address,
    AshaMode,
    ExperimentFile,
    Gpus,
    Grid,
    Json,
    Local,
    MaxConcurrent,
    Name,
    NoAsha,
    Out,
    RoundSize,
    SamplerName,
    Samples,
    Seeds,
    Set,
    Workers,
    changes_of,
    experiment_of,
    file_and_axes,
    warn_of_what_is_for_ray,
)
from raytrain.errors import ExperimentError
from raytrain.report.document import document
from raytrain.report.text.columns import terminal_width

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment


def add_commands(app: typer.Typer) -> None:
    """Add `plan` to the application."""
    app.command()(plan)


def plan(
    ctx: typer.Context,
    experiment: ExperimentFile = None,
    grid: Grid = None,
    set_: Set = None,
    samples: Samples = None,
    sampler: SamplerName = None,
    round_size: RoundSize = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    seeds: Seeds = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_concurrent: MaxConcurrent = None,
    asha: AshaMode = None,
    no_asha: NoAsha = False,
    price: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1e6,
            metavar="DOLLARS",
            show_default=False,
            help="Price per hour of a GPU, or of a core without GPUs.",
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Only list the trials with their values; train nothing.")
    ] = False,
    local: Local = False,
    json: Json = False,
) -> None:
    """Estimate the time, work and disk space of compare or tune. It writes no run folder.

    It trains some batches of each kind of trial, so it may download data and start nodes of an autoscaling cluster.
    To plan a run of train, which stops no trial early, add --no-asha.
    """
    from raytrain.cli.output import log_to_stderr

    log_to_stderr()
    if list_ and price is not None:
        raise ExperimentError("--list and --price were given; give one of them")
    warn_of_what_is_for_ray(ctx)
    file, axes = file_and_axes(experiment, grid)
    changes = changes_of(
        name,
        workers=workers,
        gpus=gpus,
        seeds=seeds,
        max_concurrent=max_concurrent,
        no_asha=no_asha,
        asha=asha,
        axes=axes,
        samples=samples,
        sampler=sampler,
        round_size=round_size,
    )
    planned = experiment_of(file, set_, changes, unnamed="tune" if axes else "train")
    if list_:
        _print_trials(planned, json=json)
        return

    from raytrain.cli.experiment.plan_text import plan_text
    from raytrain.cli.progress import reading_shown
    from raytrain.execution.plan import make_plan

    with redirect_stdout(sys.stderr), reading_shown():  # what code of the user's prints is no result
        made = make_plan(planned, out=out, address=address, local=local)
    if made is None:
        ended = "All trials have ended; there is nothing to train.\n"
        typer.echo(document({"trials": 0}) if json else ended, nl=False)
    elif json:
        typer.echo(document(made.as_dict(price=price)), nl=False)
    else:
        typer.echo(plan_text(made, price=price, width=terminal_width()), nl=False)


def _print_trials(planned: "Experiment", *, json: bool) -> None:
    trials = planned.trials()
    if json:
        rows = [{"trial": trial.id, **trial.recipe.model_dump(mode="json")} for trial in trials]
        later = {"samples_proposed_later": planned.samples_proposed} if planned.samples_proposed else {}
        typer.echo(document({"trials": rows, **later}), nl=False)
        return
    from raytrain.cli.experiment.plan_text import trials_text

    typer.echo(trials_text(trials, width=terminal_width()), nl=False)
    if planned.samples_proposed:
        first = f"these are the first {planned.samples_listed} of {planned.samples} samples"
        typer.echo(f"raytrain: {first}; tpe proposes the others while the run goes on, by what these reach", err=True)
    if repeated := planned.repeated():
        typer.echo(f"raytrain: {repeated}", err=True)
