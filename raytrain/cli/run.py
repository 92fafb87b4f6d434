"""`raytrain train`, `compare`, `tune` and `resume`: the commands that run experiments."""

import logging
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import (
    Address,
    ExperimentFile,
    Format,
    Fresh,
    Gpus,
    Json,
    Local,
    MaxConcurrent,
    Name,
    NoAsha,
    Out,
    Quiet,
    Seeds,
    Set,
    TimeLimit,
    TrialTimeout,
    Workers,
    changes_of,
    experiment_of,
)
from raytrain.errors import ExperimentError

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment
    from raytrain.runs.folder import RunFolder


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (train, compare, tune, resume):
        app.command()(command)


def train(
    experiment: ExperimentFile = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one recipe: that of an experiment file, or the default one, with what --set changes."""
    changes = changes_of(name, workers=workers, gpus=gpus, no_asha=True)
    read = experiment_of(experiment, set_, changes)
    trials = read.trials()
    if len(trials) > 1:
        from raytrain.runs.results import varied_fields

        recipes = [trial.recipe.model_dump() for trial in trials]
        archs = ["arch"] if len({recipe["arch"] for recipe in recipes}) > 1 else []
        varied = ", ".join(archs + varied_fields(recipes))
        raise ExperimentError(
            f"train runs one trial and {experiment} has {len(trials)}, which differ in {varied}.\n"
            "Fix those with --set, or run them all with: raytrain compare"
        )
    _run(
        read,
        out=out,
        address=address,
        local=local,
        fresh=fresh,
        json=json,
        quiet=quiet,
        trial_timeout=trial_timeout,
        time_limit=time_limit,
    )


def compare(
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
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare architectures; without an experiment, the five ResNets of the shipped compare.yaml."""
    from raytrain.experiment.shipped import shipped_experiment

    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha)
    read = experiment_of(experiment or shipped_experiment("compare"), set_, changes)
    _run(
        read,
        out=out,
        address=address,
        local=local,
        fresh=fresh,
        json=json,
        quiet=quiet,
        trial_timeout=trial_timeout,
        time_limit=time_limit,
    )


def tune(
    grid: Annotated[
        Path,
        typer.Option(
            "--grid",
            metavar="EXPERIMENT.yaml",
            show_default=False,
            help="The experiment with the grid: a file, or the name of a shipped one.",
        ),
    ],
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    seeds: Seeds = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_concurrent: MaxConcurrent = None,
    no_asha: NoAsha = False,
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try every combination of a grid, such as learning rates and schedules."""
    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha)
    _run(
        experiment_of(grid, set_, changes),
        out=out,
        address=address,
        local=local,
        fresh=fresh,
        json=json,
        quiet=quiet,
        trial_timeout=trial_timeout,
        time_limit=time_limit,
    )


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="Its name, folder or URI.")],
    failed_only: Annotated[bool, typer.Option("--failed-only", help="Only trials that failed.")] = False,
    out: Out = "runs",
    address: Address = None,
    local: Local = False,
    trial_timeout: TrialTimeout = 1800,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run where it stopped, as the command that started it would."""
    from raytrain.experiment.reading import read_run
    from raytrain.runs.results import open_run

    folder = open_run(run, out=out)
    _run(
        read_run(folder),
        out=folder.parent,
        address=address,
        local=local,
        fresh=False,
        json=json,
        quiet=quiet,
        trial_timeout=trial_timeout,
        time_limit=time_limit,
        failed_only=failed_only,
    )


def _run(
    experiment: "Experiment",
    *,
    out: str,
    address: str | None,
    local: bool,
    fresh: bool,
    json: bool,
    quiet: bool,
    trial_timeout: float,
    time_limit: float | None,
    failed_only: bool = False,
) -> None:
    from rich.console import Console

    from raytrain.cli import live
    from raytrain.cli.output import leave, print_table, say_what_next, write_report, write_results
    from raytrain.execution.run import run
    from raytrain.runs.results import read_all_predictions

    # results go to standard output, everything else to standard error
    console = Console(stderr=True, quiet=quiet)
    logging.basicConfig(level=logging.WARNING, format="raytrain: %(message)s", stream=sys.stderr)
    logging.getLogger("raytrain").setLevel(logging.WARNING if quiet else logging.INFO)
    # tensorboardX writes from a thread of its own; what it cannot write is said where the file is closed
    threading.excepthook = lambda error: logging.getLogger("raytrain").debug("in %s: %s", error.thread, error.exc_value)

    def shown(run_folder: "RunFolder") -> AbstractContextManager[None]:
        return live.shown(run_folder, console)

    outcome = run(
        experiment,
        out=out,
        address=address,
        local=local,
        fresh=fresh,
        failed_only=failed_only,
        trial_timeout_s=trial_timeout,
        time_limit_s=time_limit,
        shown=shown,
    )
    from raytrain.analysis.ranking import rank  # after the run: it brings SciPy, for which no trial should wait

    ranking = rank(outcome.results, read_all_predictions(outcome.folder, outcome.results))
    if json:
        write_results(ranking, Format.json, None)
    else:
        print_table(ranking)
    if not outcome.interrupted:
        write_report(outcome)
    if not quiet:
        say_what_next(outcome, ranking, name=experiment.name, out=out)
    if outcome.ray_lost:
        leave(outcome.exit_code)
    raise typer.Exit(outcome.exit_code)
