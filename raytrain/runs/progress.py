"""Where each trial of a run is now: what `RunState` holds and the live table shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytrain.data.data_key import DataKey
from raytrain.experiment.duration.order import Order
from raytrain.experiment.trial import Trial
from raytrain.metrics.epoch import DETAILS
from raytrain.metrics.selection import SELECTIONS
from raytrain.runs.events import Stage, Status
from raytrain.runs.planned import Range
from raytrain.runs.results import TrialResult

VALIDATION = ("val_loss", "val_accuracy", *(f"val_{name}" for name in DETAILS))
"""Validation metrics of a row of metrics.jsonl that a result has too; all but the first two may be missing."""


@dataclass
class Setting:
    """Where the trials of a run are trained now, and on how many images: what an estimate of their time needs.

    Attributes:
        slots: Number of trials that run at the same time.
        images: Number of training images of each split data set.
        classes: Number of classes of each split data set.
        planned: Seconds that the run takes, as `raytrain plan` said; None where it was not asked.
        order: Which of the waiting trials starts next; whoever runs a stage of them says so.
    """

    slots: int
    images: Mapping[DataKey, int]
    classes: Mapping[DataKey, int]
    planned: Range | None = None
    order: Order = "listed"


@dataclass
class TrialProgress:
    """Where a trial is now.

    Attributes:
        trial: The trial.
        parameters: Number of trainable parameters; 0 until they are counted.
        status: "waiting", "running", or the status of the trial's end.
        epoch: Number of finished epochs.
        within_epoch: Finished share of the current epoch, in [0, 1].
        latest: Latest row of metrics.jsonl.
        best: Row of metrics.jsonl that is best on validation, by the recipe's `select`.
        seconds: Wall-clock seconds of the finished epochs.
        attempts: Number of starts.
        result: Result of the trial; None before its end.
        stage: Stage in which the trial is run.
        gpu_bytes: Most bytes of GPU memory that its process has held; 0 without a GPU.
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
    gpu_bytes: int = 0

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Count a row of metrics.jsonl, that of the next epoch."""
        self.epoch, self.within_epoch, self.latest = row["epoch"], 0.0, row
        self.seconds += row["seconds"]
        # ties are decided as the trial decides them: by the lower loss, then the earlier epoch
        if row["val_accuracy"] is not None and (not self.best or self._quality(row) > self._quality(self.best)):
            self.best = row

    def _quality(self, row: dict[str, Any]) -> tuple[float, float]:
        selection = SELECTIONS[self.trial.recipe.select]
        return selection.key(row.get(selection.val_field), row["val_loss"])

    def replace_epochs(self, rows: list[dict[str, Any]]) -> None:
        """Count these rows in place of all that were counted."""
        self.epoch, self.latest, self.best, self.seconds = 0, {}, {}, 0.0
        for row in rows:
            self.add_epoch(row)

    def result_so_far(self, status: Status, **measured: Any) -> TrialResult:
        """Return the result of the trial as it stands.

        Args:
            status: Status for the result.
            measured: Fields of the result that were measured at the end; the others come from the best epoch.
        """
        best = {name: self.best[name] for name in VALIDATION if name in self.best}
        if self.best:
            best["best_epoch"] = self.best["epoch"]
        return TrialResult(
            trial=self.trial.id,
            status=status,
            recipe=self.trial.recipe.as_json(),
            parameters=self.parameters,
            epochs=self.epoch,
            seconds=self.seconds,
            attempts=self.attempts,
            phase="confirm" if self.stage == "confirm" else "search",
            **(best | measured),
        )

    def end(self, result: TrialResult) -> None:
        """Say how the trial ended."""
        self.result, self.status = result, result.status
        self.parameters = result.parameters
        self.epoch, self.seconds = result.epochs, result.seconds
        if "epoch" not in self.latest:  # read from its result alone, without its epochs
            self.latest = {"train_accuracy": result.train_accuracy, "val_accuracy": result.val_accuracy}
