"""Fields in which trials differ, and which code of the user's does not take: the trials would train the same."""

from collections.abc import Sequence
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.experiment.trial import Trial
from raytrain.training.field_rules import not_taken
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import without_digest

_OF_RAYTRAIN = {"arch": "resnet18", "mix": "mixup", "optimizer": "sgd"}
"""A value of each field that takes what code of the user's may not, for the example in a message."""


def refuse_untaken(trials: Sequence[Trial], *, drawn: bool) -> None:
    """Refuse trials that differ only in fields that code of the user's does not take.

    Values that are drawn are refused wherever such a field varies: whether two trials differ in it alone is then a
    matter of luck, and another one when the search grows.

    Args:
        trials: The trials of an experiment, whose code this process keeps.
        drawn: Whether the values of the axes are drawn.

    Raises:
        ExperimentError: There are such trials; the message names the fields and the code.
    """
    found: dict[tuple[Any, ...], Recipe] = {}
    for recipe in (trial.recipe for trial in trials):
        untaken = not_taken(recipe)
        if not untaken:
            continue
        effect = dict(zip(vars(recipe), recipe.effect, strict=True))
        same = set(untaken.values()) if drawn else effect.keys() - untaken
        other = found.setdefault(tuple((name, value) for name, value in effect.items() if name in same), recipe)
        theirs = dict(zip(vars(other), other.effect, strict=True))
        differing = [name for name in untaken if theirs[name] != effect[name]]
        if differing:
            raise ExperimentError(_refusal(differing[0], untaken[differing[0]], other, recipe))


def _refusal(field: str, by: str, one: Recipe, other: Recipe) -> str:
    code = without_digest(name_of(getattr(one, by)))
    values = [_as_yaml(getattr(recipe, field)) for recipe in (one, other)]
    below = f"{by}: {{{_OF_RAYTRAIN[by]}: {{{field}: [{', '.join(values)}]}}, {code}: {{}}}}"
    return (
        f"{field} varies ({' and '.join(values)}), and {code} does not take it: trials that differ in it alone would "
        "train the same, and be ranked as different configurations. Give one value; in a grid, put the field below the "
        f"values of {by} that take it, as in {below}; or have {code} take it"
    )


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
