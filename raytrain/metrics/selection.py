"""Which metric decides.

On the validation split it decides on the epoch, on early stopping and on the choice, on the test images on the order of
the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Select = Literal["accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "nll", "ece"]


@dataclass(frozen=True)
class Selection:
    """A metric that may decide.

    Attributes:
        measure: Field of `Evaluation`, and with "val_" before it of a trial's results and of metrics.jsonl.
        words: The metric in a sentence.
        heading: The metric in the heading of a column, without a unit.
        lower_is_better: Whether less of it is better.
        in_nats: Whether it is a loss in nats, and no share.
        detailed: Whether it is measured only where it is asked for: all but loss and accuracy.
    """

    measure: str
    words: str
    heading: str
    lower_is_better: bool = False
    in_nats: bool = False
    detailed: bool = False

    @cached_property
    def val_field(self) -> str:
        """Name of the validation metric in a trial's results and in metrics.jsonl."""
        return f"val_{self.measure}"

    def quality(self, value: float | None) -> float:
        """Return a value of the metric so that more is better, negated where less is; the least of all for None."""
        if value is None:
            return float("-inf")
        return -value if self.lower_is_better else value

    def key(self, value: float | None, loss: float | None) -> tuple[float, float]:
        """Return what decides between epochs or trials, more is better: the quality of a value, then the lower loss."""
        return self.quality(value), float("-inf") if loss is None else -loss

    def text(self, value: float) -> str:
        """Return a value as text: a loss in nats, anything else in per cent."""
        return f"{value:.4f}" if self.in_nats else f"{100 * value:.2f} %"


SELECTIONS: dict[Select, Selection] = {
    "accuracy": Selection("accuracy", "accuracy", "accuracy"),
    "balanced_accuracy": Selection("balanced_accuracy", "balanced accuracy", "balanced accuracy", detailed=True),
    "macro_f1": Selection("macro_f1", "macro F1 score", "macro F1", detailed=True),
    "top5_accuracy": Selection("top5_accuracy", "top-5 accuracy", "top-5 accuracy", detailed=True),
    "nll": Selection("loss", "negative log-likelihood", "NLL", lower_is_better=True, in_nats=True),
    "ece": Selection("ece", "expected calibration error", "ECE", lower_is_better=True, detailed=True),
}


def select_of(recipe: Mapping[str, Any]) -> Select:
    """Return what decides, by the fields of a recipe; recipes of older versions have accuracy."""
    return recipe.get("select", "accuracy")


def selection_of(recipe: Mapping[str, Any]) -> Selection:
    """Return the metric that decides, by the fields of a recipe."""
    return SELECTIONS[select_of(recipe)]
