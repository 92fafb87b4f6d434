"""A plan as text. It is a module of its own so that `raytrain --help` does not load its imports."""

from collections.abc import Callable, Iterator, Sequence

from raytrain.execution.plan import Plan
from raytrain.experiment.duration.costs import DECIDE_THE_TIME
from raytrain.experiment.duration.order import Order
from raytrain.experiment.trial import Trial
from raytrain.report.column_text import axis_cells, cell
from raytrain.report.text.columns import as_text
from raytrain.report.text.quantities import duration
from raytrain.runs.planned import Range
from raytrain.runs.results import varied_fields

SWEEPS_FOR_RANGE = 20
"""Number of simulated sweeps from which on a range of nine in ten is stated, where chance decides who is stopped."""
_START: dict[Order, str] = {"longest": "the longest first", "shortest": "the shortest first", "listed": "as listed"}


def plan_text(plan: Plan, *, price: float | None = None, width: int | None = None) -> str:
    """Return a plan as a table of its trials and a line for everything else.

    Args:
        plan: What a run will take.
        price: Dollars per hour of a GPU, or of a core where there is no GPU; None shows no price.
        width: Width of the terminal in characters; None for a table as wide as it needs.
    """
    lines = [f"{name:<16}{text}" for name, text in _facts(plan, price)]
    return "\n".join([_table(plan, width), *lines, ""])


def trials_text(trials: Sequence[Trial], *, width: int | None = None) -> str:
    """Return a table with a row for each trial and a column for each field in which they differ.

    Args:
        trials: The trials.
        width: Width of the terminal in characters; None for a table as wide as it needs.
    """
    recipes = [trial.recipe.model_dump() for trial in trials]
    varied = ["arch", *varied_fields(recipes)]
    columns = {"trial": [trial.id for trial in trials]}
    columns |= axis_cells(recipes, varied)
    return as_text(columns, left={"trial", "arch", "optimizer", "schedule", "augment", "mix"}, width=width)


def _table(plan: Plan, width: int | None) -> str:
    recipes = [kind.recipe for kind in plan.kinds]
    varied = [name for name in varied_fields(recipes) if name in DECIDE_THE_TIME and name != "arch"]
    columns = {"arch": [str(recipe["arch"]) for recipe in recipes]}
    columns |= {name: [cell(recipe[name]) for recipe in recipes] for name in varied}
    columns |= {
        "parameters": [f"{kind.parameters / 1e6:.2f} M" for kind in plan.kinds],
        "trials": [str(kind.trials) for kind in plan.kinds],
        "epochs": [str(kind.epochs) for kind in plan.kinds],
        "per epoch": [duration(kind.epoch_s) for kind in plan.kinds],
        "per trial": [duration(kind.trial_s) for kind in plan.kinds],
    }
    return as_text(columns, left={"arch", *varied}, width=width)


def _facts(plan: Plan, price: float | None) -> Iterator[tuple[str, str]]:
    done = f", {plan.done} {'has' if plan.done == 1 else 'have'} ended already" if plan.done else ""
    rounds = "a round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    later = f", and about {plan.later} that tpe proposes later, in {rounds}" if plan.later else ""
    yield "Trials", f"{plan.trials}{later}{done}; {plan.placement}; {_START[plan.order]}"
    if plan.rungs:
        yield "Early stopping", f"after {_rungs(plan.rungs)}; {_stopped(plan)}"
    if plan.asha_chosen:
        yield "Its setting", plan.asha_chosen
    if plan.follows:
        yield "Later", plan.follows
    without = f"; {duration(plan.seconds_unstopped)} without early stopping" if plan.rungs else ""
    yield "Time", f"{_about(plan.seconds)}{without}"
    hours, unit = plan.device_hours(), "GPU" if plan.gpus else "core"
    yield "Work", f"{hours.median:,.2f} {unit} hours{_between(hours, '{:,.2f}'.format)}"
    if price is not None:
        cost = Range(hours.low * price, hours.median * price, hours.high * price)
        yield "Price", f"${cost.median:,.2f}{_between(cost, '${:,.2f}'.format)} at ${price:g} per {unit} hour"
    yield "Checkpoints", f"{plan.checkpoint_bytes / 2**30:.2f} GiB at most{_free(plan)}"
    how = f"; {plan.sweeps} simulated sweeps" if plan.sweeps > 1 else ""
    if plan.sweeps == 1 or plan.sweeps >= SWEEPS_FOR_RANGE:
        how += "; nine runs in ten should stay within the range"
    yield "Method", f"measured on some batches of each kind of trial ({plan.device}){how}"


def _rungs(epochs: Sequence[float]) -> str:
    return f"epoch{'' if len(epochs) == 1 else 's'} {', '.join(f'{one:g}' for one in epochs)}"


def _stopped(plan: Plan) -> str:
    count = round(plan.stopped.median)
    if plan.mode == "promote":
        how = "stays paused" if count == 1 else "stay paused"
    else:
        how = "is stopped" if count == 1 else "are stopped"
    return f"about {count} of {plan.trials + plan.later} {how}"


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
