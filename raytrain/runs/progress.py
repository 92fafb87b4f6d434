"""Where each trial of a run is now: what the run folder keeps in memory and the live table shows."""

from dataclasses import dataclass, field
from typing import Any, Literal

from raytrain.experiment.experiment import Trial
from raytrain.runs.results import Status, TrialResult

Stage = Literal["search", "rescue", "confirm"]
"""What a trial is run for: the experiment itself; the regret of early stopping; the best again with fresh seeds."""

TRIAL_TIMEOUT_S = 1800.0
"""How long a trial may show no progress, not even a step, before its process is taken to hang."""


@dataclass
class TrialProgress:
    """Where a trial is now.

    Attributes:
        trial: Which.
        parameters: Trainable parameters, known from the start of the run on.
        status: waiting or running, else how it ended.
        epoch: Epochs done.
        within_epoch: How far the current epoch is, in [0, 1].
        latest: The newest row of its metrics.
        best: The row with the highest validation accuracy.
        seconds: Wall-clock time of its epochs.
        attempts: How often it was started.
        result: Once it has ended.
        stage: What it is run for.
    """

    trial: Trial
    parameters: int = 0
    status: Status | str = "waiting"
    epoch: int = 0
    within_epoch: float = 0.0
    latest: dict[str, Any] = field(default_factory=dict[str, Any])
    best: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0
    attempts: int = 0
    result: TrialResult | None = None
    stage: Stage = "search"

    def show(self, within_epoch: float) -> None:
        """Say how far the current epoch is, in [0, 1]."""
        self.within_epoch = within_epoch

    def take(self, row: dict[str, Any]) -> None:
        """Count a row of metrics in."""
        self.epoch, self.within_epoch, self.latest = row["epoch"], 0.0, row
        self.seconds += row["seconds"]
        # ties are settled as the trial settles them: by the lower loss, then the earlier epoch
        if row["val_accuracy"] is not None and (
            not self.best
            or (row["val_accuracy"], -row["val_loss"]) > (self.best["val_accuracy"], -self.best["val_loss"])
        ):
            self.best = row
