"""`raytrain view` and `plot`: runs in a browser, while they train and afterwards, and figures of them in files."""

# The imports inside functions load aiohttp, SciPy, Plotly and matplotlib: at the top they would make `raytrain --help`
# slower.

import html
import os
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.completion import run_names
from raytrain.cli.options import Out, Run
from raytrain.errors import ExperimentError
from raytrain.report.plots import Kind
from raytrain.report.text.visible import in_one_line


def add_commands(app: typer.Typer) -> None:
    """Add `view` and `plot` to the application."""
    for command in (view, plot):
        app.command()(command)


def view(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            autocompletion=run_names,
            help="Names, folders or URIs of runs. Without any, all under --out.",
        ),
    ] = None,
    out: Out = "runs",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="any free one")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-browser", help="Open the page in the web browser.")] = False,
) -> None:
    """Serve pages of runs that update while they train: a list, the report of each, and two beside each other.

    The server answers on this machine only, to those who have the printed address. It reads and never writes. Ctrl-C
    ends it.
    """
    import asyncio

    from raytrain.execution.interruption import Interruption
    from raytrain.execution.signals import Terminated
    from raytrain.view.server import serve
    from raytrain.view.watch import Runs

    def ready(address: str) -> None:
        typer.echo(address)
        listening = address.split("/")[2].rpartition(":")[2]
        forward = f"ssh -L {listening}:127.0.0.1:{listening} HOST"
        typer.echo(f"Ctrl-C ends the server. From another machine: {forward}, and the same address there.", err=True)
        if open_ and not webbrowser.open(redirection(address, Path(private)).as_uri()):
            typer.echo("raytrain: no web browser was found; open the address yourself", err=True)

    shown = Runs(out, runs or ())
    try:
        with Interruption().handled(), tempfile.TemporaryDirectory(prefix="raytrain-view-") as private:
            asyncio.run(serve(shown, port=port, ready=ready))
    except Terminated:
        raise
    except KeyboardInterrupt:
        return  # the usual end


def redirection(address: str, folder: Path) -> Path:
    """Write a page that leads to an address, and that no other user may read; return its path.

    A browser is started with the page's path, because others see the words of a command in the list of processes.

    Args:
        address: Address with the token.
        folder: Folder of this user only.
    """
    path = folder / "open.html"
    content = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={html.escape(address)}">'
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    return path


def plot(
    run: Run,
    kind: Annotated[Kind, typer.Option(help="What to show.", show_default=False)],
    out: Out = "runs",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write: .pdf, .svg or .png.", show_default="RUN-KIND.pdf"),
    ] = None,
    width: Annotated[
        float, typer.Option(min=1, max=50, metavar="INCHES", help="Width of the figure; its height follows.")
    ] = 6.75,
) -> None:
    """Write a figure of a run for a paper or a talk: curves, a heat map, a confusion matrix and others."""
    from raytrain.analysis.record import read_record
    from raytrain.cli.output import write_file
    from raytrain.report.plots.files import FORMATS
    from raytrain.report.plots.files import plot as drawn
    from raytrain.runs.folder import open_run

    suffix = output.suffix.removeprefix(".").lower() if output else "pdf"
    if suffix not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise ExperimentError(f"--output {output}: the name of a figure ends in one of {allowed}")
    record = read_record(open_run(run, out=out))
    path = output or Path(f"{record.name}-{kind}.pdf")
    write_file(path, drawn(record, kind, width=width, format_=suffix))
    typer.echo(in_one_line(str(path)))
