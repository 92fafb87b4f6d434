"""`raytrain train`, `compare`, `tune` and `resume`: the commands that run experiments."""

# The imports inside functions load NumPy, SciPy, pyarrow and Rich: at the top they would make `raytrain --help` take
# 3.2 s instead of 0.5 s.

import logging
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.experiment.compare_arguments import Compared, MaxSeeds, UntilSeparated, comparison_of, separation_of
from raytrain.cli.options import (
    Address,
    AllowCode,
    AshaMode,
    ExperimentFile,
    Format,
    Fresh,
    Gpus,
    Grid,
    Json,
    Local,
    Log,
    MaxConcurrent,
    Name,
    NoAsha,
    Out,
    Quiet,
    RoundSize,
    Run,
    SamplerName,
    Samples,
    Seeds,
    Set,
    TimeLimit,
    TrialTimeout,
    Workers,
    changes_of,
    experiment_of,
    mode_of,
    search_of,
    warn_of_what_is_for_ray,
)
from raytrain.errors import ExperimentError
from raytrain.execution.options import Mode, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from raytrain.execution.run import RunOutcome, Shown  # imports torch
    from raytrain.experiment.experiment import Experiment


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (train, compare, tune, resume):
        app.command()(command)


def train(
    ctx: typer.Context,
    experiment: ExperimentFile = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    seeds: Seeds = None,
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    log: Log = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one recipe: the default one or that of an experiment file, with the changes of --set."""
    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, no_asha=True)
    read = experiment_of(experiment, set_, changes)
    trials = read.trials()
    if read.samples_proposed:
        raise ExperimentError(
            f"train runs one recipe, but {experiment} is a search of {read.samples} samples.\n"
            "Set the fields of its grid with --set and leave the grid out, or run the search with: raytrain tune"
        )
    if len({trial.recipe.digest_without_seed for trial in trials}) > 1:
        from raytrain.runs.results import varied_fields

        recipes = [trial.recipe.model_dump() for trial in trials]
        archs = ["arch"] if len({recipe["arch"] for recipe in recipes}) > 1 else []
        varied = ", ".join(archs + varied_fields(recipes))
        raise ExperimentError(
            f"train runs one recipe, but {experiment} has {len(trials)}, which differ in {varied}.\n"
            "Set these fields with --set, or run all trials with: raytrain compare"
        )
    options = RunOptions(out, address, local, mode_of(fresh=fresh), trial_timeout, time_limit, log)
    _run(ctx, read, options, json=json, quiet=quiet)


def compare(
    ctx: typer.Context,
    compared: Compared = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    seeds: Seeds = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_concurrent: MaxConcurrent = None,
    asha: AshaMode = None,
    no_asha: NoAsha = False,
    until_separated: UntilSeparated = None,
    max_seeds: MaxSeeds = None,
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    log: Log = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare architectures: those of an experiment, those that are named, or five ResNets (the shipped compare)."""
    changes = changes_of(
        name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha, asha=asha
    )
    changes |= separation_of(until_separated, max_seeds)
    read = comparison_of(compared or [], set_, changes, quiet=quiet)
    options = RunOptions(out, address, local, mode_of(fresh=fresh), trial_timeout, time_limit, log)
    _run(ctx, read, options, json=json, quiet=quiet)


def tune(
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
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    log: Log = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run every combination of a grid, such as learning rates and schedules, or samples of it."""
    file, axes = search_of(experiment, grid)
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
    options = RunOptions(out, address, local, mode_of(fresh=fresh), trial_timeout, time_limit, log)
    _run(ctx, experiment_of(file, set_, changes, unnamed="tune"), options, json=json, quiet=quiet)


def resume(
    ctx: typer.Context,
    run: Run,
    failed_only: Annotated[bool, typer.Option("--failed-only", help="Run only the trials that failed.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="First repair damaged files. The damaged ones are kept beside the new ones."),
    ] = False,
    out: Out = "runs",
    address: Address = None,
    local: Local = False,
    allow_code: AllowCode = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    log: Log = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue a run where it stopped, like the command that started it."""
    from raytrain.data import advised_where_gone
    from raytrain.experiment.reading import read_run
    from raytrain.experiment.user_code import digests_of
    from raytrain.runs.folder import open_run
    from raytrain.runs.user_code import keep_code
    from raytrain.runs.writing.resume import named_after

    folder = open_run(run, out=out)
    written = read_run(folder)
    experiment = named_after(folder, written)
    if experiment.name != written.name and not quiet:
        typer.echo(f"the run folder was called {written.name} before", err=True)
    if failed_only and repair:
        raise ExperimentError("--failed-only and --repair were given; give one of them, then the other")
    keep_code(folder, digests_of(experiment), allowed=allow_code)
    mode: Mode = "failed_only" if failed_only else "repair" if repair else "resume"
    options = RunOptions(folder.parent, address, local, mode, trial_timeout, time_limit, log)
    advice = "If the data set lies elsewhere now, repeat the command that began the run, with --set dataset=PATH"
    with advised_where_gone(experiment.recipe.dataset, advice):
        _run(ctx, experiment, options, json=json, quiet=quiet)


def with_progress(run: "Callable[[Shown], RunOutcome]", *, quiet: bool) -> "RunOutcome":
    """Run something with its progress and its log on standard error; `quiet` leaves warnings only."""
    from rich.console import Console

    from raytrain.cli.output import log_to_stderr
    from raytrain.cli.progress import reading_shown
    from raytrain.execution.forecast.left import Forecast
    from raytrain.report import live

    # results go to standard output, everything else to standard error
    console = Console(stderr=True, quiet=quiet)
    log_to_stderr()
    logging.getLogger("raytrain").setLevel(logging.WARNING if quiet else logging.INFO)
    with redirect_stdout(sys.stderr), reading_shown(console):  # what code of the user's prints is no result
        return run(lambda state: live.run_shown(state, console, left=Forecast(state).seconds_left))


def _run(ctx: typer.Context, experiment: "Experiment", options: RunOptions, *, json: bool, quiet: bool) -> None:
    from raytrain.cli import output
    from raytrain.execution.run import run

    def run_it(shown: "Shown") -> "RunOutcome":
        warn_of_what_is_for_ray(ctx)
        return run(experiment, options, shown=shown)

    outcome = with_progress(run_it, quiet=quiet)
    with output.tolerant_output():  # everything is stored: whatever becomes of the printing, the exit code says it
        output.write_results(outcome.record.ranking, Format.json if json else Format.table, None)
    if not quiet:
        output.say_what_next(outcome, name=experiment.name, out=options.out)
    elif not json:
        output.say_separation(outcome)  # a result, which the table does not show
    if outcome.ray_lost:
        output.leave(outcome.exit_code)
    raise typer.Exit(outcome.exit_code)
