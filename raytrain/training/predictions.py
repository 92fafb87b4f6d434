"""The prediction of a trained network for each test image, kept for every finished trial (20 KB for CIFAR-10).

They give, without the images and without the network: the confusion of classes, the images that every trial gets
wrong, tests between pairs of trials, and the accuracy of an ensemble of trials.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import RunFolderError

FILE = "predictions.npz"
"""Name of the file in a trial's folder."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The class that a network gives each test image, in the order of the test set.

    Attributes:
        labels: True classes, (N,) int64.
        predicted: Most probable classes, (N,) int64.
        probabilities: Probabilities of the predicted classes, (N,) float32 in [0, 1].
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image is classified correctly, (N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly, in [0, 1]."""
        return float(self.correct.mean())

    def to_bytes(self) -> bytes:
        """Return the content of an npz file: classes in as few bits as they need, probabilities to 3 digits."""
        classes = np.min_scalar_type(int(max(self.labels.max(initial=0), self.predicted.max(initial=0))))
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            labels=self.labels.astype(classes),
            predicted=self.predicted.astype(classes),
            probabilities=self.probabilities.astype(np.float16),
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Predictions":
        """Return the predictions that `to_bytes` wrote.

        Raises:
            RunFolderError: The content is something else, or damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                read = cls(
                    arrays["labels"].astype(np.int64),
                    arrays["predicted"].astype(np.int64),
                    arrays["probabilities"].astype(np.float32),
                )
            read.refuse_wrong_shapes()
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds of errors for noise
            raise RunFolderError(f"{FILE} is damaged: {error}") from error
        return read

    def refuse_wrong_shapes(self) -> None:
        """Raise ValueError unless each of one or more images has classes from 0 on and a probability in [0, 1]."""
        arrays = (self.labels, self.predicted, self.probabilities)
        shapes = {array.shape for array in arrays}
        if len(shapes) != 1 or self.labels.ndim != 1 or not len(self.labels):
            raise ValueError(f"the arrays have the shapes {', '.join(str(array.shape) for array in arrays)}")
        in_range = (self.labels >= 0) & (self.predicted >= 0) & (self.probabilities >= 0) & (self.probabilities <= 1)
        if not in_range.all():
            raise ValueError("a class is negative, or a probability is not in [0, 1]")


def confusion(predictions: Predictions, *, classes: int) -> NDArray[np.int64]:
    """Return how often each true class (row) is predicted as each class (column), (classes, classes)."""
    counts = np.bincount(predictions.labels * classes + predictions.predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def class_accuracies(predictions: Predictions, *, classes: int) -> NDArray[np.float64]:
    """Return the share of each class's images that are classified correctly, (classes,); NaN without images."""
    table = confusion(predictions, classes=classes)
    totals = table.sum(axis=1)
    return np.divide(table.diagonal(), totals, out=np.full(classes, np.nan), where=totals > 0)


def missed_by_all(trials: Sequence[Predictions]) -> NDArray[np.int64]:
    """Return the rows of the test images that no trial classifies correctly.

    Raises:
        ValueError: There is no trial.
    """
    if not trials:
        raise ValueError("no trial has predictions")
    return np.flatnonzero(~np.any([one.correct for one in trials], axis=0))


def ensemble_accuracy(trials: Sequence[Predictions], *, classes: int) -> float:
    """Return the accuracy of the trials together: each votes for its class, with its probability as the weight.

    Only the most probable class of each is on record, so this is a weighted vote and not the mean of the softmaxes.

    Raises:
        ValueError: There is no trial.
    """
    if not trials:
        raise ValueError("no trial has predictions")
    labels = trials[0].labels
    votes = np.zeros((len(labels), classes))
    for one in trials:
        np.add.at(votes, (np.arange(len(labels)), one.predicted), one.probabilities)
    return float((votes.argmax(axis=1) == labels).mean())
