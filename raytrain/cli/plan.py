"""`raytrain plan`: what a run will take, before it starts."""

import logging
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from raytrain.cli.options import (
    Address,
    ExperimentFile,
    Gpus,
    Json,
    Local,
    MaxConcurrent,
    Name,
    NoAsha,
    Out,
    Seeds,
    Set,
    Workers,
    changes_of,
    experiment_of,
)
from raytrain.execution.plan import Plan, Range
from raytrain.experiment.order import DECIDE_THE_TIME
from raytrain.report.table import cell
from raytrain.report.text import as_text, duration
from raytrain.runs.results import varied_fields


def add_commands(app: typer.Typer) -> None:
    """Add `plan` to the application."""
    app.command()(plan)


def plan(
    experiment: ExperimentFile = None,
    set_: Set = None,
    name: Name = None,
    out: Out = "runs",
    address: Address = None,
    seeds: Seeds = None,
    workers: Workers = None,
    gpus: Gpus = None,
    max_concurrent: MaxConcurrent = None,
    no_asha: NoAsha = False,
    price: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="DOLLARS", show_default=False, help="Of an hour of a GPU, or of a core where there is none."
        ),
    ] = None,
    local: Local = False,
    json: Json = False,
) -> None:
    """Say what compare or tune will take, by training a few batches of each kind of trial; writes no run folder.

    It may download data, and have nodes of an autoscaling cluster start. For train, add --no-asha.
    """
    import sys
    from json import dumps

    from raytrain.cli.plan import plan_text
    from raytrain.execution.plan import make_plan

    logging.basicConfig(level=logging.WARNING, format="raytrain: %(message)s", stream=sys.stderr)
    changes = changes_of(name, workers=workers, gpus=gpus, seeds=seeds, max_concurrent=max_concurrent, no_asha=no_asha)
    made = make_plan(experiment_of(experiment, set_, changes), out=out, address=address, local=local)
    if made is None:
        typer.echo(dumps({"trials": 0}) if json else "All trials have ended; the run would train nothing.")
    elif json:
        typer.echo(dumps(made.as_dict(price=price)))
    else:
        typer.echo(plan_text(made, price=price), nl=False)


ENOUGH = 20
"""Simulated sweeps of which nine in ten can be said."""


def plan_text(plan: Plan, *, price: float | None = None) -> str:
    """Return a plan as a table of its trials and a line for everything else.

    Args:
        plan: Of a run.
        price: Dollars of an hour of a GPU, or of a core where there is no GPU.
    """
    lines = [f"{name:<16}{text}" for name, text in _facts(plan, price)]
    return "\n".join([_table(plan), *lines, ""])


def _table(plan: Plan) -> str:
    recipes = [kind.recipe for kind in plan.kinds]
    varied = [name for name in varied_fields(recipes) if name in DECIDE_THE_TIME and name != "arch"]
    columns = {"architecture": [str(recipe["arch"]) for recipe in recipes]}
    columns |= {name: [cell(recipe[name]) for recipe in recipes] for name in varied}
    columns |= {
        "parameters": [f"{kind.parameters / 1e6:.2f} M" for kind in plan.kinds],
        "trials": [str(kind.trials) for kind in plan.kinds],
        "epochs": [str(kind.epochs) for kind in plan.kinds],
        "an epoch": [duration(kind.epoch_s) for kind in plan.kinds],
        "to the end": [duration(kind.trial_s) for kind in plan.kinds],
    }
    return as_text(columns, left={"architecture", *varied})


def _facts(plan: Plan, price: float | None) -> Iterator[tuple[str, str]]:
    settled = f", {plan.settled} more are done" if plan.settled else ""
    yield "Trials", f"{plan.trials}{settled}; {plan.placement}"
    if plan.rungs:
        stopped = f"about {plan.stopped.median:.0f} of {plan.trials} are stopped there"
        yield "Early stopping", f"after epochs {', '.join(f'{rung:g}' for rung in plan.rungs)}; {stopped}"
    without = f"; {duration(plan.seconds_unstopped)} without early stopping" if plan.rungs else ""
    yield "Time", f"{_about(plan.seconds)}{without}"
    hours, unit = plan.device_hours(), "GPU" if plan.gpus else "core"
    yield "Work", f"{hours.median:,.2f} {unit} hours{_between(hours, '{:,.2f}'.format)}"
    if price is not None:
        cost = Range(hours.low * price, hours.median * price, hours.high * price)
        yield "Price", f"${cost.median:,.2f}{_between(cost, '${:,.2f}'.format)} at ${price:g} per {unit} hour"
    yield "Checkpoints", f"{plan.checkpoint_bytes / 2**30:.2f} GiB at most{_free(plan)}"
    how = f"; {plan.sweeps} simulated sweeps" if plan.sweeps > 1 else ""
    how += ", nine in ten within the range" if plan.sweeps >= ENOUGH else ""
    yield "How", f"a few batches of each kind were trained ({plan.device}){how}"


def _about(seconds: Range) -> str:
    return f"about {duration(seconds.median)}{_between(seconds, duration)}"


def _between(values: Range, text: Callable[[float], str]) -> str:
    low, high = text(values.low), text(values.high)
    return f" ({low} to {high})" if low != high else ""


def _free(plan: Plan) -> str:
    if plan.free_bytes is None:
        return ""
    refused = "; the run would be refused" if plan.checkpoint_bytes > plan.free_bytes else ""
    return f", {plan.free_bytes / 2**30:.1f} GiB are free{refused}"
