"""The prediction of a trained network for each test image, kept for every finished trial (250 KB for CIFAR-10).

They give, without the images and without the network: the confusion of classes and other metrics than accuracy, the
images that every trial gets wrong, tests between pairs of trials, and the accuracy of an ensemble of trials.
"""

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.format import read_array, read_array_header_1_0, read_magic
from numpy.typing import NDArray

from raytrain.errors import RunFolderError
from raytrain.metrics.class_metrics import (
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_f1,
    negative_log_likelihood,
    recalls,
    top_k_accuracy,
)

FILE = "predictions.npz"
"""Name of the file in a trial's folder."""
MOST_PROBABILITIES = 2_000_000
"""Most probabilities, images x classes, of which all are kept: 4 MB in half precision. CIFAR-100 has a million."""

MAX_UNPACKED = 64 * 2**20
"""Largest size of what a file unpacks to, in bytes; six million images have as much."""


_ALWAYS, _LATER = ("labels", "predicted", "probabilities"), ("ranks", "losses", "softmax")
"""Names of the arrays that every file has, and of those that older versions' files, or large data sets', have not."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The class that a network gives each test image, in the order of the test set.

    Attributes:
        labels: True classes, (N,) int64.
        predicted: Most probable classes, (N,) int64.
        probabilities: Probabilities of the predicted classes, (N,) float32 in [0, 1].
        ranks: Number of classes that are more probable than the true one, (N,) int64; None in older versions' files.
        losses: Cross-entropy of each image in nats, (N,) float32; None in older versions' files.
        softmax: Probability of every class, (N, classes) float16; None if it is not kept or was not asked for.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    ranks: NDArray[np.int64] | None = None
    losses: NDArray[np.float32] | None = None
    softmax: NDArray[np.float16] | None = None

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image is classified correctly, (N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly, in [0, 1]."""
        return float(self.correct.mean())

    def surest_mistakes(self, most: int) -> NDArray[np.int64]:
        """Return the rows of the wrong images, at most so many: those of which the network is surest come first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.probabilities[wrong], kind="stable")][:most]

    def to_bytes(self) -> bytes:
        """Return the content of an npz file: classes in as few bits as they need, the rest to 3 digits."""
        classes = np.min_scalar_type(int(max(self.labels.max(initial=0), self.predicted.max(initial=0))))
        arrays = {
            "labels": self.labels.astype(classes),
            "predicted": self.predicted.astype(classes),
            "probabilities": self.probabilities.astype(np.float16),
        }
        if self.ranks is not None:
            arrays["ranks"] = self.ranks.astype(np.min_scalar_type(int(self.ranks.max(initial=0))))
        if self.losses is not None:
            arrays["losses"] = np.minimum(self.losses, np.finfo(np.float16).max).astype(np.float16)
        if self.softmax is not None:
            arrays["softmax"] = self.softmax
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, *, softmax: bool = False) -> "Predictions":
        """Return the predictions that `to_bytes` wrote, in this version or an older one.

        Args:
            content: Content of the file.
            softmax: Whether to read the probabilities of all classes, which are most of the file.

        Raises:
            RunFolderError: The content is something else, or damaged.
        """
        try:
            # not np.load, which opens the file once more and takes twice as long: ten thousand trials have as many
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = sum(one.file_size for one in archive.infolist())
                if unpacked > MAX_UNPACKED:
                    raise ValueError(f"it unpacks to {unpacked:,} bytes")  # noqa: TRY301 (damage, as what NumPy raises)
                names = [*_ALWAYS, *(name for name in _LATER if f"{name}.npy" in archive.namelist())]
                arrays = {name: _array(archive.read(f"{name}.npy")) for name in names if softmax or name != "softmax"}
            read = cls(
                arrays["labels"].astype(np.int64),
                arrays["predicted"].astype(np.int64),
                arrays["probabilities"].astype(np.float32),
                arrays["ranks"].astype(np.int64) if "ranks" in arrays else None,
                arrays["losses"].astype(np.float32) if "losses" in arrays else None,
                arrays.get("softmax"),
            )
            read.refuse_wrong_shapes()
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds of errors for noise
            raise RunFolderError(f"{FILE} is damaged: {error}") from error
        return read

    def refuse_wrong_shapes(self) -> None:
        """Raise ValueError unless each of one or more images has classes from 0 on and a probability in [0, 1]."""
        arrays = [self.labels, self.predicted, self.probabilities]
        arrays += [array for array in (self.ranks, self.losses) if array is not None]
        shapes = {array.shape for array in arrays}
        if len(shapes) != 1 or self.labels.ndim != 1 or not len(self.labels):
            raise ValueError(f"the arrays have the shapes {', '.join(str(array.shape) for array in arrays)}")
        in_range = (self.labels >= 0) & (self.predicted >= 0) & (self.probabilities >= 0) & (self.probabilities <= 1)
        if not in_range.all():
            raise ValueError("a class is negative, or a probability is not in [0, 1]")


def _array(content: bytes) -> NDArray[Any]:
    """Return the array of an npy file; its header, which takes longer to read than the numbers, is known mostly."""
    stream = io.BytesIO(content)
    if read_magic(stream) != (1, 0):
        return read_array(io.BytesIO(content), allow_pickle=False)
    start = stream.tell() + 2 + int.from_bytes(stream.read(2), "little")
    shape, by_columns, dtype = _header(content[stream.tell() - 2 : start])
    if dtype.hasobject or by_columns:
        return read_array(io.BytesIO(content), allow_pickle=False)
    return np.frombuffer(content, dtype, count=math.prod(shape), offset=start).reshape(shape)


@lru_cache(maxsize=64)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of the array that a header of version 1.0 describes."""
    return read_array_header_1_0(io.BytesIO(content))


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of a trained network on the test images, beside accuracy and loss.

    Attributes:
        balanced_accuracy: Mean of the recalls of the classes, in [0, 1].
        macro_f1: Mean of the F1 scores of the classes, in [0, 1].
        ece: Expected calibration error with 15 bins, in [0, 1].
        top5_accuracy: Share of the images whose true class is among the five most probable, in [0, 1]; None where an
            older version wrote the predictions.
    """

    balanced_accuracy: float
    macro_f1: float
    ece: float
    top5_accuracy: float | None


def metrics_of(predictions: Predictions) -> ClassMetrics:
    """Return the metrics of some predictions, at least one; they are those that `class_metrics` defines."""
    classes = 1 + int(max(predictions.labels.max(), predictions.predicted.max()))
    table = confusion(predictions, classes=classes)
    return ClassMetrics(
        balanced_accuracy(table),
        macro_f1(table),
        expected_calibration_error(predictions.probabilities, predictions.correct),
        None if predictions.ranks is None else top_k_accuracy(predictions.ranks),
    )


def confusion(predictions: Predictions, *, classes: int) -> NDArray[np.int64]:
    """Return how often each true class (row) is predicted as each class (column), (classes, classes)."""
    return confusion_matrix(predictions.labels, predictions.predicted, classes=classes)


def class_accuracies(predictions: Predictions, *, classes: int) -> NDArray[np.float64]:
    """Return the share of each class's images that are classified correctly, its recall, (classes,); NaN for none."""
    return recalls(confusion(predictions, classes=classes))


def missed_by_all(trials: Sequence[Predictions]) -> NDArray[np.int64]:
    """Return the rows of the test images that no trial classifies correctly.

    Raises:
        ValueError: There is no trial.
    """
    if not trials:
        raise ValueError("no trial has predictions")
    return np.flatnonzero(~np.any([one.correct for one in trials], axis=0))


@dataclass(frozen=True)
class Ensemble:
    """What several networks reach together, by the mean of their probabilities.

    Attributes:
        networks: Number of networks.
        accuracy: Share of the images that are classified correctly, in [0, 1].
        nll: Mean negative log-likelihood in nats; a probability below 6e-8, the smallest one on record, counts as that.
    """

    networks: int
    accuracy: float
    nll: float


def ensemble(trials: Sequence[Predictions]) -> Ensemble | None:
    """Return the ensemble of some trials (Lakshminarayanan et al. 2017, arXiv:1612.01474); None for fewer than two.

    Trials whose probabilities of all classes are not there, or which are of other images, are left out.
    """
    parts = [one.softmax for one in trials if one.softmax is not None and np.array_equal(one.labels, trials[0].labels)]
    if len(parts) < 2:
        return None
    labels = trials[0].labels
    mean = np.stack(parts).mean(axis=0, dtype=np.float32)
    accuracy = float((mean.argmax(axis=1) == labels).mean())
    # 0 is what half precision has of any probability below: as float32, it would cost 103 nats
    mean = np.maximum(mean, np.finfo(np.float16).smallest_subnormal, dtype=np.float32)
    return Ensemble(len(parts), accuracy, negative_log_likelihood(mean, labels))


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
