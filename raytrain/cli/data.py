"""`raytrain data`: data sets, fetched and checked."""

from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import Json
from raytrain.cli.text_option import text_option
from raytrain.errors import ExitCode, ExperimentError
from raytrain.report.document import document
from raytrain.report.text.visible import in_one_line


def add_commands(app: typer.Typer) -> None:
    """Add the group `data` to the application."""
    group = typer.Typer(help="Fetch and check data sets.", no_args_is_help=True)
    group.command()(fetch)
    group.command()(verify)
    app.add_typer(group, name="data")


Columns = Annotated[
    str,
    typer.Option(metavar="image=NAME,label=NAME", help="Columns of Parquet files.", show_default="the usual names"),
]
ImageSize = Annotated[int, typer.Option(min=8, max=1024, help="Height and width in pixels.")]
TestSize = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SHARE|COUNT",
        help="Images set aside for the test where there is no test part, as in the recipe.",
    ),
]
Background = Annotated[
    str, typer.Option(metavar="COLOUR", help="Colour behind transparent pixels: white, black or '#rrggbb'.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on without images that cannot be read.")]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow links that lead out of the folder of the images.")
]

SAME_READING = (
    "The images are others, or were read otherwise: give the values of the recipe, with --image-size, --test-size, "
    "--columns, --background, --skip-bad and --follow-links."
)


def fetch(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Names, folders or URIs of data sets.")],
    image_size: ImageSize = 32,
    test_size: TestSize = 0.2,
    columns: Columns = "",
    skip_bad: SkipBad = False,
    follow_links: FollowLinks = False,
    background: Background = "white",
    json: Json = False,
) -> None:
    """Download data sets, or decode image folders, so that later runs start at once."""
    from raytrain.cli.output import log_to_stderr
    from raytrain.cli.progress import reading_shown
    from raytrain.data import load

    log_to_stderr()
    fetched: list[dict[str, object]] = []
    named, colour = columns_text(columns), _background_text(background)
    for name in datasets:
        with reading_shown():
            images = load(
                _data_set(name),
                image_size=image_size,
                test_size=test_size,
                columns=named,
                skip_bad=skip_bad,
                background=colour,
                follow_links=follow_links,
            )
        said = {"summary": images.summary, "image_size": image_size, "fingerprint": images.fingerprint}
        fetched.append({"dataset": name, **said})
        if not json:
            summary = in_one_line(f"{name}: {images.summary}")
            typer.echo(f"{summary}; fingerprint at {image_size} × {image_size} pixels {images.fingerprint}")
    if json:
        typer.echo(document({"datasets": fetched}), nl=False)


def verify(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name, folder or URI of a data set.")],
    image_size: ImageSize = 32,
    test_size: TestSize = 0.2,
    columns: Columns = "",
    skip_bad: SkipBad = False,
    follow_links: FollowLinks = False,
    background: Background = "white",
    near: Annotated[bool, typer.Option("--near", help="Look for images that look alike too.")] = False,
    fingerprint: Annotated[
        str | None, text_option(help="Expected fingerprint, from a manifest.json.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Read every image of a data set, show what it holds, and compare its fingerprint with the expected one."""
    from rich.console import Console

    from raytrain.cli.output import log_to_stderr
    from raytrain.cli.progress import reading_shown
    from raytrain.data import read, refuse
    from raytrain.data.inspection.inspection import inspect
    from raytrain.data.split import refuse_no_classes, refuse_unsplittable
    from raytrain.report.inspection_page import page
    from raytrain.training.recipe import Recipe

    named, colour = columns_text(columns), _background_text(background)
    log_to_stderr()
    with reading_shown():
        images = read(
            _data_set(dataset),
            image_size=image_size,
            test_size=test_size,
            columns=named,
            background=colour,
            follow_links=follow_links,
        )
    inspection = inspect(images, dataset, near=near)
    if json:
        typer.echo(document(inspection), nl=False)
    else:
        console = Console()
        typer.echo(page(inspection, console if console.is_terminal else Console(width=80)))
    refuse(images, skip_bad=skip_bad, name=_data_set(dataset))
    if fingerprint is None:  # else it is whether these are the images of a run that has been trained
        refuse_no_classes(images, name=dataset)
        refuse_unsplittable(images, Recipe().val_size)
    elif images.fingerprint != fingerprint:
        at = f"at {image_size} × {image_size} pixels"
        said = in_one_line(f"the fingerprint of {dataset} {at} is {images.fingerprint}, not the expected {fingerprint}")
        typer.echo(f"raytrain: {said}\n{SAME_READING}", err=True)
        raise typer.Exit(ExitCode.ASSERTION_FAILED)


def _data_set(name: str) -> str:
    """Return a data set as recipes name it: code of the user's own with the digest of its source."""
    from raytrain.experiment.user_code import read_user_code

    return read_user_code("dataset", name, folder=Path(), where=name)


def columns_text(text: str) -> str:
    """Return the text of `--columns` as recipes keep it.

    Raises:
        ExperimentError: It does not name columns.
    """
    from raytrain.data.layouts.columns import canonical_columns

    try:
        return canonical_columns(text)
    except ValueError as error:
        raise ExperimentError(f"--columns: {error}") from error


def _background_text(text: str) -> str:
    """Return the text of `--background` as recipes keep it.

    Raises:
        ExperimentError: It is no colour.
    """
    from raytrain.data.layouts.background import canonical_background

    try:
        return canonical_background(text)
    except ValueError as error:
        raise ExperimentError(f"--background: {error}") from error
