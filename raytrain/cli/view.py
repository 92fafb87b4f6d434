"""`raytrain view`: runs in a browser, while they train and afterwards."""

# The imports inside functions load aiohttp, SciPy and Plotly: at the top they would make `raytrain --help` slower.

import webbrowser
from typing import Annotated

import typer

from raytrain.cli.options import Out


def add_commands(app: typer.Typer) -> None:
    """Add `view` to the application."""
    app.command()(view)


def view(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", show_default=False, help="Names, folders or URIs of runs. Without any, all under --out."
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
        if open_ and not webbrowser.open(address):
            typer.echo("raytrain: no web browser was found; open the address yourself", err=True)

    shown = Runs(out, runs or ())
    try:
        with Interruption().handled():
            asyncio.run(serve(shown, port=port, ready=ready))
    except Terminated:
        raise
    except KeyboardInterrupt:
        return  # the usual end
