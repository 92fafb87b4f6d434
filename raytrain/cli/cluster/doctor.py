"""`raytrain doctor`: whether trials can run here, or on a cluster."""

# The imports inside `doctor` load PyTorch and Ray: at the top they would make `raytrain --help` take seconds more.

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from raytrain.cli.options import Address, Json, Out, warn_of_what_is_for_ray
from raytrain.errors import PreflightError
from raytrain.report.document import document


def add_commands(app: typer.Typer) -> None:
    """Add `doctor` to the application."""
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    out: Out = "runs",
    dataset: Annotated[str, typer.Option(help="Name, folder or URI of a data set to read.")] = "digits",
    address: Address = None,
    local: Annotated[bool, typer.Option("--local", help="Check only what --local needs, and not Ray.")] = False,
    json: Json = False,
) -> None:
    """Check what trials need (versions, device, storage, disk, data, Ray), and say how to fix each problem."""
    from raytrain.cli.output import log_to_stderr
    from raytrain.experiment.user_code import read_user_code
    from raytrain.training.doctor import Check, check_machine

    log_to_stderr()
    warn_of_what_is_for_ray(ctx)
    dataset = read_user_code("dataset", dataset, folder=Path(), where="--dataset")
    checks: list[Check] = []

    def show(check: Check) -> None:
        checks.append(check)
        if not json:
            typer.echo(f"{'✓' if check.ok else '✗'} {check.name}: {check.found}")
            if check.advice and not check.ok:
                typer.echo(f"  {check.advice}")

    for check in check_machine(out=out, dataset=dataset):
        show(check)
    if not local:
        from raytrain.ray_backend.preflight import check_ray

        for check in check_ray(address=address, out=out):
            show(check)
    if json:
        typer.echo(document({"checks": [asdict(check) for check in checks]}), nl=False)
    if not all(check.ok for check in checks):
        raise typer.Exit(PreflightError.exit_code)
