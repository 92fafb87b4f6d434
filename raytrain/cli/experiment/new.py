"""`raytrain new` and `raytrain cluster template`: a folder, and a file, to start from."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import typer

from raytrain.cluster.template import template_text
from raytrain.errors import ExperimentError
from raytrain.report.text.visible import in_one_line, quoted

TEMPLATES = {
    "experiment.yaml": "experiment.yaml",
    "my_net.py.txt": "my_net.py",
    "my_augment.py.txt": "my_augment.py",
    "README.md": "README.md",
}
"""Names of the files beside this module, in `start`, and what they are called in the new folder."""


def add_commands(app: typer.Typer) -> None:
    """Add `new` to the application."""
    app.command()(new)


def new(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", show_default=False, help="Folder to make; it must not exist.")
    ],
) -> None:
    """Write a folder to start from: an experiment, a network and an augmentation of your own."""
    try:
        name.mkdir()
        for source, target in TEMPLATES.items():
            (name / target).write_bytes((files("raytrain.cli.experiment") / "start" / source).read_bytes())
    except FileExistsError:
        raise ExperimentError(f"{name} is there already; give the name of a new folder") from None
    except OSError as error:
        raise ExperimentError(f"{name}: cannot be made: {error.strerror}; choose another folder") from error
    typer.echo(in_one_line(str(name)))
    typer.echo(f"next: cd {quoted(name)} && raytrain compare experiment.yaml", err=True)


def template(
    name: Annotated[
        Literal["slurm", "kuberay", "skypilot", "aws", "gcp", "hosts"],
        typer.Argument(show_default=False, help="What the file is for."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", show_default="standard output", help="File to write; it must not exist."),
    ] = None,
) -> None:
    """Write a file to start from: an sbatch script, a RayJob, a SkyPilot task, or a cluster file for `ray up`.

    The comments in the file say what to fill in, and how to use it.
    """
    text = template_text(name)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ExperimentError(f"{output} is there already; give the name of a new file") from None
    except OSError as error:
        raise ExperimentError(f"{output}: cannot be written: {error.strerror}; choose another file") from error
    typer.echo(f"next: fill in what {in_one_line(str(output))} marks with REPLACE-ME", err=True)
