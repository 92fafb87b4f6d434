"""What is given to `raytrain compare` alone: an experiment or architectures, for which no file is needed; options."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.completion import experiment_names
from raytrain.cli.options import experiment_of
from raytrain.errors import ExperimentError
from raytrain.experiment.shipped import SHIPPED, shipped_experiment

if TYPE_CHECKING:
    from raytrain.experiment.experiment import Experiment

Compared = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="EXPERIMENT.yaml | ARCH...",
        show_default=False,
        autocompletion=experiment_names,
        help=f"Experiment file, or name of a shipped experiment: {', '.join(SHIPPED)}; or architectures, such as: "
        "resnet18 timm:convnext_atto my_net.py:MyNet.",
    ),
]
UntilSeparated = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        show_default=False,
        help="Add seeds until a test tells every two configurations apart, or finds them equal within so many points.",
    ),
]
MaxSeeds = Annotated[
    int | None, typer.Option(help="Most seeds of a configuration that --until-separated trains.", show_default="20")
]


def comparison_of(
    words: Sequence[str], assignments: list[str] | None, changes: dict[str, Any], *, quiet: bool = False
) -> "Experiment":
    """Return the experiment that `compare` is about.

    Args:
        words: Its arguments: none for the shipped comparison, an experiment, or architectures.
        assignments: Values of `--set`.
        changes: Top-level keys of the experiment to set, from `changes_of`.
        quiet: Whether not to say which name a run of architectures has.

    Raises:
        ExperimentError: It is invalid.
    """
    # pydantic would make `raytrain --help` slower
    from raytrain.experiment.search.assignments import parse_overrides
    from raytrain.experiment.user_code import read_user_code
    from raytrain.experiment.words import read_words, run_name

    file, archs = read_words(words)
    if not archs:
        return experiment_of(file or shipped_experiment("compare"), assignments, changes)
    overrides = parse_overrides(assignments or [])
    if "arch" in overrides:
        raise ExperimentError(f"--set arch={overrides['arch']} and {', '.join(archs)} are given; leave one of them out")
    name = run_name(archs, overrides.get("dataset"))
    if "name" not in changes and not quiet:
        typer.echo(f"raytrain: the run is called {name}; --name gives it another name", err=True)
    grid = {"arch": read_user_code("arch", archs, folder=Path(), where="compare")}
    return experiment_of(None, assignments, changes | {"grid": grid}, unnamed=name)


def separation_of(points: float | None, max_seeds: int | None) -> dict[str, Any]:
    """Return the top-level key of an experiment that --until-separated and --max-seeds set.

    Raises:
        ExperimentError: There is --max-seeds alone.
    """
    if points is None and max_seeds is not None:
        raise ExperimentError("--max-seeds limits --until-separated, which is not given; add --until-separated 0.3")
    if points is None:
        return {}
    return {"separate": {"points": points} | ({} if max_seeds is None else {"max_seeds": max_seeds})}
