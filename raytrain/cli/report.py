"""`raytrain report`: a run as one HTML file and four pictures."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import Out
from raytrain.errors import ExperimentError


def add_commands(app: typer.Typer) -> None:
    """Add `report` to the application."""
    app.command()(report)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="Its name, folder or URI.")],
    out: Out = "runs",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_CSV", help="Curves to show beside the run's, such as student.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the page to this file instead of the run folder.", show_default=False
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the web browser.")] = False,
) -> None:
    """Write report.html, one file that shows the whole run and opens without a network, and plots/*.png."""
    from raytrain.analysis.baselines import open_baseline
    from raytrain.analysis.record import read_record
    from raytrain.report import REPORT
    from raytrain.report.page import render, write_report
    from raytrain.runs.results import open_run

    folder = open_run(run, out=out)
    beside = open_baseline(baseline) if baseline else None
    if open_ and output is None and folder.local_path is None:
        raise ExperimentError(f"--open shows a file of this machine and {folder} is none; add --output report.html")
    if output is None:
        write_report(folder, baseline=beside)
        written = f"{folder}/{REPORT}"
    else:
        page = render(read_record(folder), baseline=beside)
        try:
            output.write_text(page, encoding="utf-8")
        except OSError as error:
            raise ExperimentError(
                f"{output}: cannot be written: {error.strerror}; name a file in a folder that exists"
            ) from error
        written = str(output.absolute())
    typer.echo(written)
    if open_ and not webbrowser.open(Path(written).as_uri()):
        typer.echo("raytrain: no web browser was found; open the file by hand", err=True)
