"""What the winner gets wrong: which classes it takes for which, and the images themselves."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raytrain.data.mapped import Images
from raytrain.metrics.class_metrics import BINS, calibration_bins
from raytrain.metrics.predictions import (
    Ensemble,
    Predictions,
    class_accuracies,
    confusion,
    ensemble,
    ensemble_accuracy,
    metrics_of,
    missed_by_all,
)
from raytrain.report.metric_columns import metric_sentence

SHEET = 12
"""Number of images on the sheet, the most confident mistakes first."""
MOST_CLASSES = 20
"""Most classes of a confusion matrix; with more, only the most frequent confusions are shown."""
PAIRS = 15


@dataclass(frozen=True)
class Mistake:
    """A test image that the winner gets wrong.

    Attributes:
        image: PNG image as a data URI; "" if the images are not on this machine.
        label: Name of the true class.
        predicted: Name of the predicted class.
        probability: Probability of the predicted class, in [0, 1].
        missed_by_all: Whether every finished trial gets it wrong.
    """

    image: str
    label: str
    predicted: str
    probability: float
    missed_by_all: bool


@dataclass(frozen=True)
class Bin:
    """An interval of the probability of the predicted class in which there are images.

    Attributes:
        low: Its lower end, in [0, 1].
        high: Its upper end.
        accuracy: Share of its images that are classified correctly, in [0, 1].
        images: Number of its images.
    """

    low: float
    high: float
    accuracy: float
    images: int


@dataclass(frozen=True)
class Mistakes:
    """All that is shown of a trial's errors.

    Attributes:
        trial: Id of the trial.
        classes: Names of the classes, in the order of the labels.
        matrix: Numbers of test images by true and predicted class; empty for more than `MOST_CLASSES`.
        recalls: Share of each class's images that are classified correctly, in [0, 1]; NaN for a class without images.
        pairs: Most frequent confusions: true class, predicted class, number of images.
        reliability: Accuracy by the probability of the predicted class, in the bins of the calibration error.
        sheet: Most confident mistakes.
        wrong: Number of test images that the trial gets wrong.
        images: Number of test images.
        missed_by_all: Number of test images that every finished trial gets wrong.
        metrics: Further metrics of the trial on the test images, as text.
        ensemble: Accuracy of all finished trials voting with their probabilities as weights; None for fewer than two.
        best: What the best trials reach together; None where there are not two of which all probabilities are kept.
    """

    trial: str
    classes: Sequence[str]
    matrix: Sequence[Sequence[int]]
    recalls: Sequence[float]
    pairs: Sequence[tuple[str, str, int]]
    reliability: Sequence[Bin]
    sheet: Sequence[Mistake]
    wrong: int
    images: int
    missed_by_all: int
    metrics: str
    ensemble: float | None
    best: Ensemble | None = None


def mistakes(
    trial: str,
    predictions: Mapping[str, Predictions],
    *,
    classes: Sequence[str],
    images: Images | None,
    best: Sequence[Predictions] = (),
) -> Mistakes:
    """Return what a trial gets wrong.

    Args:
        trial: Id of the trial, which must be in `predictions`.
        predictions: Test predictions of the finished trials, by trial id.
        classes: Names of the classes, in the order of the labels.
        images: (N, H, W, 3) uint8, the test images in the order of `predictions`; None if they are not on this machine.
        best: Predictions of the best trials by validation, with the probabilities of all classes.
    """
    own = predictions[trial]
    same = [one for one in predictions.values() if np.array_equal(one.labels, own.labels)]
    table = confusion(own, classes=len(classes))
    never = missed_by_all(same)
    return Mistakes(
        trial,
        classes,
        matrix=table.tolist() if len(classes) <= MOST_CLASSES else [],
        recalls=class_accuracies(own, classes=len(classes)).tolist(),
        pairs=list(_pairs(table, classes)),
        reliability=list(_reliability(own)),
        sheet=list(_sheet(own, classes, images, never=set(never.tolist()))),
        wrong=int((~own.correct).sum()),
        images=len(own.labels),
        missed_by_all=len(never),
        metrics=metric_sentence({**vars(metrics_of(own)), "nll": _nll(own)}),
        ensemble=ensemble_accuracy(same, classes=len(classes)) if len(same) > 1 else None,
        best=ensemble(best),
    )


def _nll(own: Predictions) -> float | None:
    return None if own.losses is None else float(own.losses.mean())


def _pairs(table: NDArray[np.int64], classes: Sequence[str]) -> Iterable[tuple[str, str, int]]:
    errors = table - np.diag(table.diagonal())
    for cell in np.argsort(-errors, axis=None, kind="stable")[:PAIRS]:
        label, predicted = divmod(int(cell), len(classes))
        if errors[label, predicted]:
            yield classes[label], classes[predicted], int(errors[label, predicted])


def _reliability(own: Predictions) -> Iterable[Bin]:
    bins = calibration_bins(own.probabilities)
    for index in np.unique(bins).tolist():
        correct = own.correct[bins == index]
        yield Bin(index / BINS, (index + 1) / BINS, float(correct.mean()), len(correct))


def _sheet(own: Predictions, classes: Sequence[str], images: Images | None, *, never: set[int]) -> Iterable[Mistake]:
    for row in own.surest_mistakes(SHEET).tolist():
        yield Mistake(
            "" if images is None else _data_uri(images[row]),
            classes[int(own.labels[row])],
            classes[int(own.predicted[row])],
            float(own.probabilities[row]),
            row in never,
        )


def _data_uri(image: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
