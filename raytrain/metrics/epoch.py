"""The numbers that training, evaluation and trials report, readable without PyTorch."""

import base64
import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, Self

from raytrain.metrics.selection import SELECTIONS, Select

DETAILS = tuple(one.measure for one in SELECTIONS.values() if one.detailed)
"""Fields of `Evaluation` that are measured only where they are asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics on a split.

    Attributes:
        loss: Mean cross-entropy per image in nats.
        accuracy: Share of the images that are classified correctly, in [0, 1].
        balanced_accuracy: Mean of the recalls of the classes, in [0, 1]; None unless measured.
        macro_f1: Mean of the F1 scores of the classes, in [0, 1]; None unless measured.
        top5_accuracy: Share of the images whose true class is among the five most probable, in [0, 1]; None unless
            measured.
        ece: Expected calibration error with 15 bins, in [0, 1]; None unless measured.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    top5_accuracy: float | None = None
    ece: float | None = None

    def details(self, *, prefix: str) -> dict[str, float]:
        """Return the metrics beside loss and accuracy that were measured, by their names after `prefix`."""
        values = {name: getattr(self, name) for name in DETAILS}
        return {f"{prefix}{name}": value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean loss in nats over the epoch's batches, as augmented, mixed and weighted by class, taken while
            the network changed.
        train_accuracy: Accuracy over the same batches, in [0, 1]; a mixed image has the class of its larger part.
        val: Evaluation on the validation split after the epoch, or None without such a split.
        test: Evaluation on the test set after the epoch, or None unless the recipe tracks it.
        lr: Learning rate of the epoch's last step.
        seconds: Wall-clock time of training and evaluation, in seconds.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val: Evaluation | None
    test: Evaluation | None
    lr: float
    seconds: float

    def quality(self, select: Select) -> float:
        """Return what the validation split, which must be there, says by the metric `select`: more is better."""
        selection = SELECTIONS[select]
        return selection.quality(getattr(self.val, selection.measure))

    def row(self) -> dict[str, Any]:
        """Return a row of metrics.jsonl: numbers, and None for what was not measured.

        The other validation metrics are there where the recipe's `select` asks for them.
        """
        return {
            "epoch": self.epoch,
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "val_loss": self.val.loss if self.val else None,
            "val_accuracy": self.val.accuracy if self.val else None,
            "test_loss": self.test.loss if self.test else None,
            "test_accuracy": self.test.accuracy if self.test else None,
            "lr": self.lr,
            "seconds": self.seconds,
            **(self.val.details(prefix="val_") if self.val else {}),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the metrics that `dataclasses.asdict` made `values` of."""
        return cls(**_with_evaluations(values))


@dataclass(frozen=True)
class FinalMetrics:
    """Measured once, after the last epoch, with the weights of `epoch`.

    Attributes:
        epoch: Number of the epoch whose weights were taken: the best on the validation split, or the last without one.
        train: Evaluation on the training split, without augmentation; None where the recipe leaves it out.
        val: Evaluation on the validation split, or None without such a split.
        test: Evaluation on the test set.
        precision: Arithmetic that was used: fp32, bf16 or fp16.
        device: Name of the device that was used: "cpu", or that of a GPU.
        predictions: Content of predictions.npz: the class that the network gives each test image, with its probability.
        test_tta: Evaluation on the test set with the recipe's test-time augmentation, or None without one.
        threads: Number of CPU threads of each process that trained; None on a GPU.
        workers: Number of processes that trained; None where it is not known.
    """

    epoch: int
    train: Evaluation | None
    val: Evaluation | None
    test: Evaluation
    precision: str
    device: str
    predictions: bytes = b""
    test_tta: Evaluation | None = None
    threads: int | None = None
    workers: int | None = None

    def measured(self) -> dict[str, Any]:
        """Return what a trial's result holds of it: the epoch and the numbers, without those that were not measured."""
        train = {"train_loss": self.train.loss, "train_accuracy": self.train.accuracy} if self.train else {}
        val = {"val_loss": self.val.loss, "val_accuracy": self.val.accuracy} if self.val else {}
        val |= self.val.details(prefix="val_") if self.val else {}
        test = {"test_loss": self.test.loss, "test_accuracy": self.test.accuracy}
        views = {"test_tta_accuracy": self.test_tta.accuracy} if self.test_tta else {}
        return {"best_epoch": self.epoch, **train, **test, **val, **views}

    def ran_on(self) -> dict[str, str | int]:
        """Return what the event of the end holds of it: where and how it was measured, and the predictions' SHA-256."""
        known = {name: number for name, number in (("threads", self.threads), ("workers", self.workers)) if number}
        predictions = {"predictions": hashlib.sha256(self.predictions).hexdigest()} if self.predictions else {}
        return {"device": self.device, "precision": self.precision, **known, **predictions}


@dataclass(frozen=True)
class Report:
    """What a trial reports after each epoch.

    Attributes:
        metrics: The metrics of the epoch.
        final: The metrics of the whole trial, with the last epoch only.
    """

    metrics: EpochMetrics
    final: FinalMetrics | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, nested as the fields are; `predictions` is in base64.

        Ray Tune writes the newest report of each trial into a JSON file of its own.
        """
        values = dataclasses.asdict(self)
        if self.final:
            values["final"]["predictions"] = base64.b64encode(self.final.predictions).decode()
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the report that `as_dict` made `values` of."""
        metrics = EpochMetrics.from_dict(values["metrics"])
        if values["final"] is None:
            return cls(metrics)
        final: dict[str, Any] = {**values["final"], "predictions": base64.b64decode(values["final"]["predictions"])}
        return cls(metrics, FinalMetrics(**_with_evaluations(final)))


def _with_evaluations(values: dict[str, Any]) -> dict[str, Any]:
    return {key: Evaluation(**value) if isinstance(value, dict) else value for key, value in values.items()}
