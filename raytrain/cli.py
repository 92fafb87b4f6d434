"""The `raytrain` command. It reads options, calls one function and prints; torch and Ray are imported in commands."""

import logging
import os
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from raytrain import __version__, audit_cli, baseline_cli, cluster_cli, doctor_cli, model_cli, report_cli, results_cli
from raytrain.errors import ExperimentError, RayLostError, RaytrainError
from raytrain.interruption import exit_code
from raytrain.options import (
    Address,
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
    TrialTimeout,
    Workers,
    changes_of,
    experiment_of,
)

if TYPE_CHECKING:
    from raytrain.experiment import Experiment
    from raytrain.run_folder import RunFolder


class _Commands(TyperGroup):
    """Ends a command with one message and its exit code where raytrain raised on purpose."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RayLostError as error:
            typer.echo(f"raytrain: {error}", err=True)
            _leave(error.exit_code)
        except RaytrainError as error:
            typer.echo(f"raytrain: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            typer.echo("raytrain: interrupted", err=True)
            raise typer.Exit(exit_code(interrupt)) from None


app = typer.Typer(
    cls=_Commands,
    help="Train, compare and tune image classifiers, on one laptop or a Ray cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (results_cli, report_cli, audit_cli, baseline_cli, model_cli, cluster_cli, doctor_cli):
    commands.add_commands(app)
data_app = typer.Typer(help="Fetch and check data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"raytrain {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def train(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.yaml",
            show_default=False,
            help="A file, or the name of a shipped one: best, compare, fast, lr, quick.",
        ),
    ] = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    workers: Workers = None,
    gpus: Gpus = None,
    local: Local = False,
    fresh: Fresh = False,
    trial_timeout: TrialTimeout = 1800,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one recipe: that of an experiment file, or the default one, with what --set changes."""
    changes = changes_of(name, workers=workers, gpus=gpus, no_asha=True)
    read = experiment_of(experiment, set_, changes)
    trials = read.trials()
    if len(trials) > 1:
        from raytrain.results import varied_fields

        recipes = [trial.recipe.model_dump() for trial in trials]
        archs = ["arch"] if len({recipe["arch"] for recipe in recipes}) > 1 else []
        varied = ", ".join(archs + varied_fields(recipes))
        raise ExperimentError(
            f"train runs one trial and {experiment} has {len(trials)}, which differ in {varied}.\n"
            "Fix those with --set, or run them all with: raytrain compare"
        )
    _run(read, out=out, address=address, local=local, fresh=fresh, json=json, quiet=quiet, trial_timeout=trial_timeout)


@app.command()
def compare(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.yaml",
            show_default=False,
            help="A file, or the name of a shipped one: best, compare, fast, lr, quick.",
        ),
    ] = None,
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
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare architectures; without an experiment, the five ResNets of the shipped compare.yaml."""
    from raytrain.shipped import shipped_experiment

    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha)
    read = experiment_of(experiment or shipped_experiment("compare"), set_, changes)
    _run(read, out=out, address=address, local=local, fresh=fresh, json=json, quiet=quiet, trial_timeout=trial_timeout)


@app.command()
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
    )


@app.command()
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="Its name, folder or URI.")],
    failed_only: Annotated[bool, typer.Option("--failed-only", help="Only trials that failed.")] = False,
    out: Out = "runs",
    address: Address = None,
    local: Local = False,
    trial_timeout: TrialTimeout = 1800,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run where it stopped, as the command that started it would."""
    from raytrain.experiment_file import read_run
    from raytrain.results import open_run

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
        failed_only=failed_only,
    )


@data_app.command()
def fetch(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Names, folders or URIs.")],
    image_size: Annotated[int, typer.Option(min=8, help="Height and width in pixels.")] = 32,
) -> None:
    """Download data sets, or decode those of a folder, so that runs find them ready."""
    _describe_datasets(datasets, image_size)


@data_app.command()
def verify(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A name, folder or URI.")],
    image_size: Annotated[int, typer.Option(min=8, help="Height and width in pixels.")] = 32,
    fingerprint: Annotated[
        str | None, typer.Option(help="What the data must be, as a manifest.json says.", show_default=False)
    ] = None,
) -> None:
    """Read every image of a data set, and compare its fingerprint with the one that is expected."""
    (found,) = _describe_datasets([dataset], image_size)
    if fingerprint and found != fingerprint:
        typer.echo(f"raytrain: the fingerprint of {dataset} is {found}, not {fingerprint}", err=True)
        raise typer.Exit(9)


def _describe_datasets(datasets: list[str], image_size: int) -> list[str]:
    from raytrain.data import load

    fingerprints: list[str] = []
    for name in datasets:
        images = load(name, image_size=image_size)
        fingerprints.append(images.fingerprint)
        typer.echo(
            f"{name}: {len(images.train):,} training and {len(images.test):,} test images of {image_size} × "
            f"{image_size} in {len(images.classes)} classes, fingerprint {images.fingerprint}"
        )
    return fingerprints


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
    failed_only: bool = False,
) -> None:
    from rich.console import Console

    from raytrain.output import print_table, say_what_next, write_report, write_results
    from raytrain.report import live
    from raytrain.results import read_all_predictions
    from raytrain.run import run

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
        shown=shown,
    )
    from raytrain.ranking import rank  # after the run: it brings SciPy, for which no trial should wait

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
        _leave(outcome.exit_code)
    raise typer.Exit(outcome.exit_code)


def _leave(code: int) -> NoReturn:
    """End at once: Ray's exit handlers would ask a Ray that is gone, and wait."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
