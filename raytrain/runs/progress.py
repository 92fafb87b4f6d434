"""Where each trial of a run is now: what `RunState` holds and the live table shows."""

from dataclasses import dataclass, field
from typing import Any

from raytrain.experiment.experiment import Trial
from raytrain.runs.events import Stage, Status
from raytrain.runs.results import TrialResult


@dataclass
class TrialProgress:
    """Where a trial is now.

    Attributes:
        trial: The trial.
        parameters: Trainable parameters; 0 until they are counted.
        status: waiting or running, or how the trial ended.
        epoch: Epochs done.
        within_epoch: Share of the current epoch that is done, in [0, 1].
        latest: The newest row of its metrics.
        best: The row with the highest validation accuracy.
        seconds: Wall-clock time of its epochs.
        attempts: How often it was started.
        result: Its result, once it has ended.
        stage: Why it is run.
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

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Count a row of metrics.jsonl, that of the next epoch."""
        self.epoch, self.within_epoch, self.latest = row["epoch"], 0.0, row
        self.seconds += row["seconds"]
        # ties are decided as the trial decides them: by the lower loss, then the earlier epoch
        if row["val_accuracy"] is not None and (
            not self.best
            or (row["val_accuracy"], -row["val_loss"]) > (self.best["val_accuracy"], -self.best["val_loss"])
        ):
            self.best = row

    def replace_epochs(self, rows: list[dict[str, Any]]) -> None:
        """Count these rows in place of all that were counted."""
        self.epoch, self.latest, self.best, self.seconds = 0, {}, {}, 0.0
        for row in rows:
            self.add_epoch(row)

    def result_so_far(self, status: Status, **measured: Any) -> TrialResult:
        """Return the result of the trial as it stands.

        Args:
            status: How it has ended.
            measured: Fields of the result that were measured at its end; the best epoch stands for the others.
        """
        best = {name: self.best[name] for name in ("val_loss", "val_accuracy") if self.best}
        if self.best:
            best["best_epoch"] = self.best["epoch"]
        return TrialResult(
            trial=self.trial.id,
            status=status,
            recipe=self.trial.recipe.model_dump(mode="json"),
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
        if not self.latest:  # read from its result alone, without its epochs
            self.latest = {"train_accuracy": result.train_accuracy, "val_accuracy": result.val_accuracy}
