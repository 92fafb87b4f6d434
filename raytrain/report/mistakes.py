"""What the winner gets wrong: which classes it takes for which, and the images themselves."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raytrain.training.predictions import Predictions, class_accuracies, confusion, ensemble_accuracy, missed_by_all

SHEET = 40
"""Images on the sheet, the most confident mistakes first."""
MOST_CLASSES = 20
"""A confusion matrix of more classes is shown by its largest entries."""
PAIRS = 15


@dataclass(frozen=True)
class Mistake:
    """A test image that the winner gets wrong.

    Attributes:
        image: A PNG as a data URI; "" where the images are not at hand.
        label: Its class.
        predicted: What the network took it for.
        probability: How sure it was, in [0, 1].
        missed_by_all: Whether every finished trial gets it wrong.
    """

    image: str
    label: str
    predicted: str
    probability: float
    missed_by_all: bool


@dataclass(frozen=True)
class Mistakes:
    """All that is shown of a trial's errors.

    Attributes:
        trial: Which.
        classes: Names, in the order of the labels.
        matrix: Counts by class and prediction; empty for more than `MOST_CLASSES`.
        accuracies: By class, fractions in [0, 1]; NaN for a class without test images.
        pairs: The most frequent confusions: class, prediction, count.
        sheet: The most confident mistakes.
        wrong: How many test images it gets wrong, of ...
        images: ... so many.
        missed_by_all: Test images that every finished trial gets wrong.
        ensemble: Accuracy of all finished trials voting; None for fewer than two.
    """

    trial: str
    classes: Sequence[str]
    matrix: Sequence[Sequence[int]]
    accuracies: Sequence[float]
    pairs: Sequence[tuple[str, str, int]]
    sheet: Sequence[Mistake]
    wrong: int
    images: int
    missed_by_all: int
    ensemble: float | None


def mistakes(
    trial: str,
    predictions: Mapping[str, Predictions],
    *,
    classes: Sequence[str],
    images: NDArray[np.uint8] | None,
) -> Mistakes:
    """Return what a trial gets wrong.

    Args:
        trial: Which; it must be in `predictions`.
        predictions: Of the finished trials.
        classes: Names, in the order of the labels.
        images: (N, H, W, 3), those that `predictions` are of, in that order; None when they are not at hand.
    """
    own = predictions[trial]
    same = [one for one in predictions.values() if np.array_equal(one.labels, own.labels)]
    table = confusion(own, classes=len(classes))
    never = missed_by_all(same)
    return Mistakes(
        trial,
        classes,
        matrix=table.tolist() if len(classes) <= MOST_CLASSES else [],
        accuracies=class_accuracies(own, classes=len(classes)).tolist(),
        pairs=list(_pairs(table, classes)),
        sheet=list(_sheet(own, classes, images, never=set(never.tolist()))),
        wrong=int((~own.correct).sum()),
        images=len(own.labels),
        missed_by_all=len(never),
        ensemble=ensemble_accuracy(same, classes=len(classes)) if len(same) > 1 else None,
    )


def _pairs(table: NDArray[np.int64], classes: Sequence[str]) -> Iterable[tuple[str, str, int]]:
    errors = table - np.diag(table.diagonal())
    for cell in np.argsort(-errors, axis=None, kind="stable")[:PAIRS]:
        label, predicted = divmod(int(cell), len(classes))
        if errors[label, predicted]:
            yield classes[label], classes[predicted], int(errors[label, predicted])


def _sheet(
    own: Predictions, classes: Sequence[str], images: NDArray[np.uint8] | None, *, never: set[int]
) -> Iterable[Mistake]:
    wrong = np.flatnonzero(~own.correct)
    for row in wrong[np.argsort(-own.probabilities[wrong], kind="stable")][:SHEET].tolist():
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
