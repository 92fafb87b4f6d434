"""The stopping rule of asynchronous successive halving (Li et al. 2020, arXiv:1810.05934).

This is the rule as Ray Tune's AsyncHyperBandScheduler applies it, one bracket: trials are stopped, never paused
or promoted, and whether a trial goes on is decided by what has been recorded at its rung *so far*, so the first
to arrive always goes on. Runs without Ray use it; with Ray, Tune decides and a test holds the two together.
"""

import math
from dataclasses import dataclass, field

import numpy as np


def rung_epochs(first: int, *, epochs: int, reduction_factor: float) -> list[int]:
    """Return the epochs at which trials are judged, ascending; the last epoch itself is not judged.

    A rung at a fractional epoch is reached with the next whole one.
    """
    rungs: list[int] = []
    rung = float(first)
    while rung < epochs:
        rungs.append(math.ceil(rung))
        rung *= reduction_factor
    return rungs


@dataclass
class Rungs:
    """What trials have reached, rung by rung.

    Attributes:
        first: Epoch of the first rung.
        epochs: Epochs of the longest trial.
        reduction_factor: About 1 trial in this many goes on at each rung.
    """

    first: int
    epochs: int
    reduction_factor: float
    recorded: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])

    def __post_init__(self) -> None:
        milestones = rung_epochs(self.first, epochs=self.epochs, reduction_factor=self.reduction_factor)
        self.recorded = {milestone: {} for milestone in milestones}

    def goes_on(self, trial: str, *, epoch: int, accuracy: float) -> bool:
        """Record `accuracy` of `trial` after `epoch`, and return False if the trial is to be stopped.

        A trial is stopped when it is below the (1 - 1/reduction_factor) quantile of what others recorded at
        the highest rung that it has reached.
        """
        for milestone in sorted(self.recorded, reverse=True):
            others = self.recorded[milestone]
            if epoch < milestone or trial in others:
                continue
            cut = float(np.quantile(list(others.values()), 1 - 1 / self.reduction_factor)) if others else None
            others[trial] = accuracy
            return cut is None or accuracy >= cut
        return True
