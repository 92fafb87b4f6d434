"""Claims about a run, such as `test_accuracy >= 0.9`, that a script or CI checks."""

import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from raytrain.analysis.ranking import METRICS, Ranking
from raytrain.errors import ExperimentError
from raytrain.runs.results import STATUSES

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
MEASURES = (
    "test_accuracy",
    "val_accuracy",
    "train_accuracy",
    "test_loss",
    "val_loss",
    "train_loss",
    "seconds",
    "test_tta_accuracy",
    "val_balanced_accuracy",
    "val_macro_f1",
    *METRICS,
)
"""Measured numbers that a claim may name; each is the mean over the seeds of the chosen configuration."""
_CLAIM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")


def broken(claim: str, ranking: Ranking) -> str | None:
    """Return why a claim does not hold, or None if it does.

    Args:
        claim: A name, a comparison and a number. Names are `MEASURES`, of the configuration that
            validation chooses (the first row where there is no validation split), and `trials`,
            `finished`, `stopped`, `diverged`, `failed` and `unfinished`, which count trials.
        ranking: Ranking of the run.

    Raises:
        ExperimentError: It is no such claim.
    """
    match = _CLAIM.fullmatch(claim)
    number = _number(match[3]) if match else None
    counts = _counts(ranking)
    if match is None or number is None or match[1] not in (*MEASURES, *counts):
        names = ", ".join((*MEASURES, *counts))
        raise ExperimentError(
            f"--assert {claim!r}: write NAME >= NUMBER; comparisons are {', '.join(COMPARISONS)}; names are {names}"
        )
    name, comparison = match[1], match[2]
    value = counts[name] if name in counts else _of_the_chosen(ranking, name)
    if value is None:
        return f"{claim}: no trial has a {name}"
    return None if COMPARISONS[comparison](value, number) else f"{claim}: {name} is {value:.6g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _counts(ranking: Ranking) -> dict[str, int]:
    statuses = Counter(result.status for standing in ranking.standings for result in standing.results)
    return {"trials": sum(statuses.values()), **{status: statuses[status] for status in STATUSES}}


def _of_the_chosen(ranking: Ranking, name: str) -> float | None:
    chosen = ranking.chosen or next(iter(ranking.standings), None)
    return chosen.mean(name) if chosen else None
