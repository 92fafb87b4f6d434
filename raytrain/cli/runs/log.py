"""`raytrain log`: a run sent to a tracker that a team looks at already."""

from enum import StrEnum
from typing import Annotated

import typer

from raytrain.cli.options import Json, Out, Run
from raytrain.cli.text_option import text_option
from raytrain.report.document import document
from raytrain.report.text.visible import in_one_line, visible


class To(StrEnum):
    """The trackers."""

    mlflow = "mlflow"
    wandb = "wandb"
    trackio = "trackio"


def add_commands(app: typer.Typer) -> None:
    """Add `log` to the application."""
    app.command()(log)


def log(
    run: Run,
    to: Annotated[To, typer.Option(help="The tracker. Its package is an extra of raytrain that has the same name.")],
    tracking_uri: Annotated[
        str | None,
        text_option(
            metavar="URI",
            show_default="that of MLFLOW_TRACKING_URI, W&B's settings or TRACKIO_DIR",
            help="Address of the tracker, such as http://127.0.0.1:5000 or sqlite:///mlflow.db; for Trackio, a folder.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        text_option(
            "--project",
            "--experiment",
            metavar="NAME",
            show_default="the run's name",
            help="Experiment of MLflow, or project of W&B or Trackio, that receives the trials.",
        ),
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="Send the weights of the chosen trial too.")] = False,
    out: Out = "runs",
    json: Json = False,
) -> None:
    """Send a run to MLflow, W&B or Trackio, each trial as a run there. The next time, send only what is new."""
    from raytrain.analysis.record import read_record
    from raytrain.cli.output import log_to_stderr, tolerant_output
    from raytrain.runs.folder import open_run
    from raytrain.storage.credentials import refuse_credentials
    from raytrain.trackers.sending import send
    from raytrain.trackers.tracker import CREDENTIALS, check_tracker, open_tracker

    log_to_stderr()
    refuse_credentials(tracking_uri or "", instead=CREDENTIALS)  # processes are listed with their arguments
    folder = open_run(run, out=out)
    check_tracker(to.value)
    record = read_record(folder)
    sent = send(record, open_tracker(to.value, uri=tracking_uri, project=project or record.name), models=models)
    with tolerant_output():
        if json:
            typer.echo(document(sent.as_dict()), nl=False)
            return
        typer.echo(in_one_line(sent.where))
        typer.echo(f"trials: {sent.new} new, {sent.updated} updated, {sent.unchanged} there already")
        if sent.chosen:
            typer.echo(visible(f"files of the chosen trial {sent.chosen}: {', '.join(sent.files) or 'none'}"))
