"""The stopping rule of asynchronous successive halving (Li et al. 2020, arXiv:1810.05934).

This is the rule as Ray Tune's AsyncHyperBandScheduler applies it, with one bracket: trials are stopped, never
paused or promoted, and a trial is judged by what has been recorded at its rung *so far*, so the first to arrive
always goes on. Runs with and without Ray use it.
"""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Decision:
    """What happened to a trial at a rung.

    Attributes:
        rung: Epoch of the rung.
        accuracy: Validation accuracy of the trial, in [0, 1], or another metric by its `Selection.quality`.
        cut: Least accuracy to go on: the (1 - 1/eta) quantile of those recorded before; None for the first to arrive.
        stop: Whether the trial was stopped.
    """

    rung: float
    accuracy: float
    cut: float | None
    stop: bool


def rungs_between(first: int, *, epochs: int, reduction_factor: float) -> list[float]:
    """Return the epochs at which trials are judged, ascending: first, first * eta, ... below `epochs`."""
    rungs: list[float] = []
    rung = float(first)
    while rung < epochs:
        rungs.append(rung)
        rung *= reduction_factor
    return rungs


@dataclass
class Rungs:
    """The validation accuracies of trials at each rung; or, by `Selection.quality`, what else the recipes select by.

    Attributes:
        first: Epoch of the first rung, the paper's r.
        epochs: Epochs of the longest trial, the paper's R.
        reduction_factor: The paper's eta.
        recorded: For each rung, the accuracy of each trial that was judged there.
    """

    first: int
    epochs: int
    reduction_factor: float
    recorded: dict[float, dict[str, float]] = field(default_factory=dict[float, dict[str, float]])

    def __post_init__(self) -> None:
        for rung in rungs_between(self.first, epochs=self.epochs, reduction_factor=self.reduction_factor):
            self.recorded.setdefault(rung, {})

    def judge(self, trial: str, *, epoch: int, accuracy: float) -> Decision | None:
        """Return the decision on `trial` after `epoch`, or None when it is at no rung.

        A trial is judged once per rung, at the highest that it has reached, and its accuracy is recorded there.
        """
        for rung in sorted(self.recorded, reverse=True):
            others = self.recorded[rung]
            if epoch < rung or trial in others:
                continue
            cut = float(np.quantile(list(others.values()), 1 - 1 / self.reduction_factor)) if others else None
            others[trial] = accuracy
            return Decision(rung, accuracy, cut, stop=cut is not None and accuracy < cut)
        return None

    def due(self, trial: str, *, epoch: int) -> int | None:
        """Return the first epoch up to `epoch` at which `trial` should have been judged and was not, or None."""
        judged = [rung for rung, accuracies in self.recorded.items() if trial in accuracies]
        # who was judged at a higher rung is not judged at a lower one any more
        missed = [rung for rung in self.recorded if max(judged, default=0) < rung <= epoch]
        return math.ceil(min(missed)) if missed else None
