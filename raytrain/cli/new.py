"""`raytrain new`: a folder to start from, with code of your own."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from raytrain.errors import ExperimentError

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
            (name / target).write_bytes((files("raytrain.cli") / "start" / source).read_bytes())
    except FileExistsError:
        raise ExperimentError(f"{name} is there already; give the name of a new folder") from None
    except OSError as error:
        raise ExperimentError(f"{name}: cannot be made: {error.strerror}; choose another folder") from error
    typer.echo(f"{name}")
    typer.echo(f"next: cd {name} && raytrain compare experiment.yaml", err=True)
