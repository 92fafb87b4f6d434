"""Conditions on columns, such as `test_accuracy >= 0.9`: claims that CI checks, and rows that are to be shown."""

import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raytrain.analysis.columns import check_column, column_names, column_value
from raytrain.analysis.standing import Ranking, Standing
from raytrain.errors import ExperimentError, counted
from raytrain.runs.results import STATUSES
from raytrain.user_code.reference import without_digest

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([^\s=].*?)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition on a column.

    Attributes:
        text: The condition as it was given.
        name: Name of the column.
        comparison: One of `COMPARISONS`.
        wanted: What the value is compared with.
    """

    text: str
    name: str
    comparison: str
    wanted: float | str

    def holds(self, value: object) -> bool:
        """Return whether the condition holds of a value.

        Raises:
            ExperimentError: A word is compared with a number, or words by their order.
        """
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(self.wanted, str):
                raise ExperimentError(f"{self.text}: {self.name} is a number, {self.wanted!r} is none")
            return COMPARISONS[self.comparison](value, self.wanted)
        if self.comparison not in {"==", "!="}:
            raise ExperimentError(f"{self.text}: {self.name} has words, such as {value!r}; compare them by == or !=")
        wanted = self.text.partition(self.comparison)[2].strip().strip("'\"")
        if isinstance(value, bool):  # YAML has true, and tables have True
            value, wanted = str(value).lower(), wanted.lower()
        value = str(value)
        if wanted == without_digest(wanted):  # code of the user's own as tables print it
            value = without_digest(value)
        return COMPARISONS[self.comparison](value or "none", wanted or "none")


def parse_condition(text: str, names: Collection[str], *, option: str) -> Condition:
    """Return the condition that a text says.

    Args:
        text: A name, a comparison and a number or a word: "lr < 0.1", "arch == resnet18".
        names: Names that it may have.
        option: Option that it stands behind, for the message.

    Raises:
        ExperimentError: It is no condition, or has another name.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ExperimentError(
            f"{option} {text!r}: write NAME >= NUMBER or NAME == WORD; comparisons are {', '.join(COMPARISONS)}"
        )
    name, comparison, wanted = match.groups()
    check_column(name, names, what=f"name in {option} {text!r}:")
    return Condition(text, name, comparison, _number(wanted.strip("'\"")))


def broken(claim: str, ranking: Ranking) -> str | None:
    """Return why a claim does not hold, or None if it does.

    Args:
        claim: A condition. Its name is a column of the configuration that validation chooses (without a validation
            split, of the first row of which all seeds have finished), or `trials`, `finished`, `stopped`, `paused`,
            `diverged`, `failed` or `unfinished`, which count trials.
        ranking: Ranking of the run.

    Raises:
        ExperimentError: It is no such claim.
    """
    counts = _counts(ranking)
    condition = parse_condition(claim, [*column_names(ranking), *counts], option="--assert")
    name = condition.name
    chosen = ranking.chosen or ranking.first_complete or next(iter(ranking.standings), None)
    value = counts[name] if name in counts else _value(ranking, chosen, condition) if chosen else None
    if value is None:
        why = f"the chosen row ({chosen.results[0].trial}) has no {name}" if chosen else "there is no trial"
        return f"{claim}: {why}"
    shown = f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return None if condition.holds(value) else f"{claim}: {name} is {shown}"


def where(ranking: Ranking, conditions: Sequence[str]) -> tuple[Ranking, str | None]:
    """Return the ranking with the rows of which all conditions hold, and how many rows that leaves out, in a sentence.

    Ranks stay what they are.

    Args:
        ranking: The ranking.
        conditions: Conditions on its columns.

    Raises:
        ExperimentError: One is no condition.
    """
    names = column_names(ranking)
    rows, unknown = list(ranking.standings), dict[str, int]()
    kept = range(len(rows))
    for condition in [parse_condition(text, names, option="--where") for text in conditions]:
        values = [_value(ranking, one, condition) for one in rows]
        # asked of every row: a wrong condition is refused also where those before it leave no row
        holds = [value is not None and condition.holds(value) for value in values]
        if missing := sum(values[row] is None for row in kept):
            unknown[condition.name] = missing
        kept = [row for row in kept if holds[row]]
    if not conditions:
        return ranking, None
    left_out = len(rows) - len(kept)
    without = "".join(f", {count} because no {name} is known of them" for name, count in unknown.items())
    shown = replace(ranking, standings=[rows[row] for row in kept])
    return shown, f"--where leaves out {left_out} of {counted(len(rows), 'row')}{without}."


def _value(ranking: Ranking, standing: Standing, condition: Condition) -> Any:
    """Return a value; of `trial` the digest that tables print, if the condition names it by that."""
    if condition.name == "trial":
        wanted = condition.text.partition(condition.comparison)[2].strip().strip("'\"")
        names = {name for result in standing.results for name in (result.trial, result.digest)}
        return wanted if wanted in names else standing.results[0].trial
    return column_value(ranking, standing, condition.name)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _counts(ranking: Ranking) -> dict[str, int]:
    statuses = Counter(result.status for standing in ranking.standings for result in standing.results)
    return {"trials": sum(statuses.values()), **{status: statuses[status] for status in STATUSES}}
