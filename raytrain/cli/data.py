"""`raytrain data`: data sets, fetched and checked."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.errors import ExitCode


def add_commands(app: typer.Typer) -> None:
    """Add the group `data` to the application."""
    group = typer.Typer(help="Fetch and check data sets.", no_args_is_help=True)
    group.command()(fetch)
    group.command()(verify)
    app.add_typer(group, name="data")


def fetch(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Names, folders or URIs of data sets.")],
    image_size: Annotated[int, typer.Option(min=8, help="Height and width in pixels.")] = 32,
) -> None:
    """Download data sets, or decode image folders, so that later runs start at once."""
    _describe_datasets(datasets, image_size)


def verify(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name, folder or URI of a data set.")],
    image_size: Annotated[int, typer.Option(min=8, help="Height and width in pixels.")] = 32,
    fingerprint: Annotated[
        str | None, typer.Option(help="Expected fingerprint, from a manifest.json.", show_default=False)
    ] = None,
) -> None:
    """Read every image of a data set, and compare its fingerprint with the expected one."""
    (found,) = _describe_datasets([dataset], image_size)
    if fingerprint and found != fingerprint:
        typer.echo(f"raytrain: the fingerprint of {dataset} is {found}, not the expected {fingerprint}", err=True)
        raise typer.Exit(ExitCode.ASSERTION_FAILED)


def _describe_datasets(datasets: list[str], image_size: int) -> list[str]:
    from raytrain.data import load
    from raytrain.experiment.user_code import read_user_code

    fingerprints: list[str] = []
    for name in datasets:
        images = load(read_user_code("dataset", name, folder=Path(), where=name), image_size=image_size)
        fingerprints.append(images.fingerprint)
        val = f", {len(images.val):,} validation" if images.val else ""
        typer.echo(
            f"{name}: {len(images.train):,} training{val} and {len(images.test):,} test images of {image_size} × "
            f"{image_size} in {len(images.classes)} classes, fingerprint {images.fingerprint}"
        )
    return fingerprints
