"""Options that several commands share, and what they change in an experiment."""

import logging
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raytrain.cli.completion import assignments, experiment_names, grids, run_names
from raytrain.cli.text_option import text_option
from raytrain.errors import ExperimentError
from raytrain.execution.options import Mode
from raytrain.experiment.shipped import SHIPPED, shipped_experiment
from raytrain.storage.typed_path import is_a_file

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment


log = logging.getLogger(__name__)

FOR_RAY = ("address", "max_concurrent", "trial_timeout")
"""Names of parameters that say something about trials on Ray."""


class Format(StrEnum):
    """How `results` writes."""

    table = "table"
    md = "md"
    tex = "tex"
    csv = "csv"
    json = "json"
    parquet = "parquet"


ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="EXPERIMENT.yaml",
        show_default=False,
        autocompletion=experiment_names,
        help=f"Experiment file, or name of a shipped experiment: {', '.join(SHIPPED)}.",
    ),
]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", show_default=False, autocompletion=run_names, help="Name, folder or URI of the run."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        autocompletion=assignments,
        help="Set a recipe field, or an argument such as arch.depth. A grid over it keeps only this value. Repeatable.",
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="FILE or FIELD=VALUES",
        autocompletion=grids,
        show_default=False,
        help="Experiment with the grid, or an axis: lr=0.1,0.01, or a range, lr=log:1e-4:1, momentum=uniform:0:0.99, "
        "width=int:8:64. Repeatable.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, show_default=False, help="Draw this many combinations from the grid. Ranges need it."),
]
SamplerName = Annotated[
    Literal["grid", "random", "sobol", "tpe"] | None,
    typer.Option(
        "--sampler",
        show_default="random",
        help="How to draw samples: random, sobol, or tpe, which learns from results; grid runs every combination.",
    ),
]
RoundSize = Annotated[
    int | None,
    typer.Option(min=1, show_default="8", help="Trials of a round of tpe: it learns after each round."),
]
Name = Annotated[str | None, typer.Option(help="Name of the run folder.", show_default="the experiment's name")]
Out = Annotated[str, text_option(metavar="DIR_OR_URI", envvar="RAYTRAIN_OUT", help="Folder or URI of runs.")]
Address = Annotated[
    str | None,
    text_option(
        envvar="RAY_ADDRESS", help="Address of a running Ray cluster.", show_default="start Ray on this machine"
    ),
]
Seeds = Annotated[str | None, typer.Option(metavar="0,1,2", help="Run every trial with each of these seeds.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that train one trial together (DDP).")]
Gpus = Annotated[float | None, typer.Option(min=0, help="GPUs per worker; with a fraction, trials share a GPU.")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Most trials at the same time, on Ray.")]
AshaMode = Annotated[
    Literal["stop", "promote", "none"] | None,
    typer.Option(
        "--asha",
        metavar="<stop|promote>",
        show_default="as the experiment says",
        help="Early stopping: stop weak trials, or pause all and promote the best.",
    ),
]
NoAsha = Annotated[bool, typer.Option("--no-asha", help="Run every trial to its end, without early stopping.")]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, one trial after another, without Ray.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of that name and start again.")]
YEAR_S = 365 * 24 * 3600
TrialTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=1,
        max=YEAR_S,
        help="Time without progress after which the process of a trial on Ray is killed and started again.",
    ),
]


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 90m, 8h or 1.5d; a bare number is seconds.

    Raises:
        ExperimentError: It is no time.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise ExperimentError(f"--time-limit: {text!r} is not a time; give a number with s, m, h or d, such as 90m")
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
    if seconds > YEAR_S:
        raise ExperimentError(f"--time-limit: {text!r} is more than a year; leave the option out for no limit")
    return seconds


TimeLimit = Annotated[
    float | None,
    typer.Option(
        parser=seconds_of,
        metavar="TIME",
        show_default=False,
        help="Save and end after this time, such as 90m or 8h, with exit code 8. The same command continues the run.",
    ),
]
Log = Annotated[
    str | None,
    text_option(
        "--log",
        metavar="TRACKER",
        show_default=False,
        help="Tell a tracker of the run while it trains: mlflow, wandb, trackio, or with an address, mlflow=http://HOST:PORT.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Let code that the run or the model brings, and that you have read, run here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, with schema_version.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results, warnings and errors.")]


def mode_of(*, fresh: bool) -> Mode:
    """Return the treatment of an earlier run of the same name."""
    return "fresh" if fresh else "resume"


def file_and_axes(experiment: Path | None, grid: list[str] | None) -> tuple[Path | None, list[str]]:
    """Return the experiment file and the axes that an argument and `--grid` give.

    Raises:
        ExperimentError: Two files are given.
    """
    axes = [text for text in grid or [] if re.match(r"[\w.]+\s*=", text) and not is_a_file(text)]
    files = [Path(text) for text in grid or [] if text not in axes]
    given = [*([experiment] if experiment else []), *files]
    if len(given) > 1:
        raise ExperimentError(f"two experiments are given, {given[0]} and {given[1]}; give one")
    return (given[0] if given else None), axes


def search_of(experiment: Path | None, grid: list[str] | None) -> tuple[Path | None, list[str]]:
    """Return the experiment file and the axes of `tune`.

    Raises:
        ExperimentError: There are none, or two files.
    """
    file, axes = file_and_axes(experiment, grid)
    if file is None and not axes:
        raise ExperimentError(
            "tune needs a grid: give an experiment file, or axes, such as --grid lr=0.1,0.01 --grid optimizer=sgd,adam"
        )
    return file, axes


def changes_of(
    name: str | None,
    *,
    workers: int | None,
    gpus: float | None,
    seeds: str | None = None,
    max_concurrent: int | None = None,
    no_asha: bool = False,
    asha: str | None = None,
    axes: Sequence[str] = (),
    samples: int | None = None,
    sampler: str | None = None,
    round_size: int | None = None,
) -> dict[str, Any]:
    """Return the top-level keys of an experiment that options set; those that are mappings are merged with the file's.

    Args:
        name: Name of the run folder.
        workers: Value of `--workers`.
        gpus: Value of `--gpus`.
        seeds: Text of `--seeds`.
        max_concurrent: Value of `--max-concurrent`.
        no_asha: Whether early stopping is off.
        asha: Value of `--asha`.
        axes: Texts of `--grid` that name an axis, such as "lr=0.1,0.01".
        samples: Value of `--samples`.
        sampler: Value of `--sampler`.
        round_size: Value of `--round-size`.

    Raises:
        ExperimentError: A text cannot be read, or two options contradict each other.
    """
    given = {"name": name, "samples": samples, "sampler": sampler, "round_size": round_size}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if axes:
        # pydantic and PyYAML would make `raytrain --help` slower
        from raytrain.experiment.search.assignments import parse_axes

        changes["grid"] = parse_axes(axes)
    resources = {"workers": workers, "gpus_per_worker": gpus, "max_concurrent": max_concurrent}
    changes["resources"] = {key: value for key, value in resources.items() if value is not None}
    if no_asha and asha in {"stop", "promote"}:
        raise ExperimentError(f"--asha {asha} and --no-asha are given; give one of them")
    if no_asha or asha == "none":
        changes["asha"] = None
    elif asha:
        changes["asha"] = {"mode": asha}
    if seeds is not None:
        try:
            changes["seeds"] = [int(seed) for seed in seeds.split(",")]
        except ValueError:
            raise ExperimentError(
                f"--seeds {seeds}: give whole numbers separated by commas, such as --seeds 0,1,2"
            ) from None
    return changes


def is_given(ctx: typer.Context, parameter: str) -> bool:
    """Return whether a parameter of a command, by its name in Python, stands on the command line."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def warn_of_what_is_for_ray(ctx: typer.Context) -> None:
    """Warn of options on the command line that have no effect with `--local`."""
    if not ctx.params.get("local"):
        return
    given = [name.replace("_", "-") for name in FOR_RAY if name in ctx.params and is_given(ctx, name)]
    if given:
        log.warning("--%s: without effect, because --local trains without Ray", ", --".join(given))


def experiment_of(
    path: Path | None, assignments: list[str] | None, changes: dict[str, Any], *, unnamed: str = "train"
) -> "Experiment":
    """Return the experiment that a command is about.

    Args:
        path: File, or name of a shipped experiment; None for the default recipe.
        assignments: Values of `--set`, such as "lr=0.1".
        changes: Top-level keys of the experiment to set, from `changes_of`.
        unnamed: Name of the run where there is neither file nor name.

    Raises:
        ExperimentError: It is invalid.
    """
    # here, because pydantic and PyYAML would make `raytrain --help` slower
    from raytrain.experiment.reading import default_experiment, read_experiment
    from raytrain.experiment.search.assignments import parse_overrides

    overrides = parse_overrides(assignments or [])
    if path is not None and str(path) in SHIPPED and not is_a_file(path):
        path = shipped_experiment(str(path))
    if path is None:
        return default_experiment(unnamed, overrides=overrides, changes=changes)
    return read_experiment(path, overrides=overrides, changes=changes)
