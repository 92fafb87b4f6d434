"""What TensorBoard's HParams page shows of a trial: a row of its table, and a line of its parallel coordinates."""

from collections.abc import Iterable, Mapping
from typing import Any

from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

RESULT = "Result/"
"""What stands before the names of final metrics: the last value of `Accuracy/Val` is not that of the best epoch."""
ALWAYS = ("arch", "lr", "seed")
"""Fields of the recipe that are shown whether they vary or not."""
METRICS = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "parameters", "seconds")


def shown_fields(recipes: Iterable[Recipe]) -> list[str]:
    """Return the fields that HParams shows of a run with these recipes: those that vary, and `ALWAYS`."""
    first, *others = recipes
    return [
        name
        for name in Recipe.model_fields
        if name in ALWAYS or any(getattr(one, name) != getattr(first, name) for one in others)
    ]


def final_metrics(result: TrialResult) -> dict[str, float]:
    """Return the final metrics of a trial by their tags, those that were measured."""
    values = {f"{RESULT}{name}": getattr(result, name) for name in METRICS}
    return {tag: float(value) for tag, value in values.items() if value is not None}


def summaries(result: TrialResult, fields: Iterable[str]) -> list[Any]:
    """Return the Summary messages by which the HParams plugin knows a trial that has ended.

    They say which fields and metrics there are, the trial's own fields, and how it ended.

    Args:
        result: Result of the trial.
        fields: Names of the recipe's fields to show.
    """
    from tensorboardX import summary  # imports PyTorch, over a second

    values: Mapping[str, Any] = {name: _plain(result.recipe[name]) for name in fields}
    metrics = {f"{RESULT}{name}": 0.0 for name in METRICS}
    experiment, begin, end = summary.hparams(values, metrics)
    # the plugin takes a trial without an end for one that runs, and knows no other word for one that failed
    return [experiment, begin] if result.status in {"failed", "unfinished"} else [experiment, begin, end]


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return "+".join(map(str, value)) or "none"
    return value if isinstance(value, bool | int | float | str) else str(value)
