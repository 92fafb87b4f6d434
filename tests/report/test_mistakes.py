"""Tests of raytrain.report.figures.mistakes: what the winner takes for what."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from raytrain.metrics.predictions import Predictions
from raytrain.report.figures.mistakes import mistakes


def told(*predicted: int, sure: float = 0.9) -> Predictions:
    labels = np.array([0, 0, 1, 1, 2, 2])
    return Predictions(labels, np.array(predicted), np.linspace(sure, 0.5, 6, dtype=np.float32))


def test_errors_are_counted_named_and_ordered_by_confidence() -> None:
    predictions = {"a": told(0, 1, 1, 1, 0, 0), "b": told(0, 1, 1, 1, 2, 2)}
    images = np.arange(6 * 8 * 8 * 3, dtype=np.int64).reshape(6, 8, 8, 3).astype(np.uint8)
    found = mistakes("a", predictions, classes=["cat", "dog", "owl"], images=images)
    assert (found.wrong, found.images, found.missed_by_all) == (3, 6, 1)
    assert found.matrix == [[1, 1, 0], [0, 2, 0], [2, 0, 0]]
    assert list(found.recalls) == [0.5, 1.0, 0.0]
    assert list(found.pairs) == [("owl", "cat", 2), ("cat", "dog", 1)]
    # probabilities 0.9, 0.82, 0.74, 0.66, 0.58 and 0.5 are in the fifteenths 13, 12, 11, 9, 8 and 7, counted from 0
    assert [(round(15 * one.low), one.accuracy, one.images) for one in found.reliability] == [
        (7, 0.0, 1),
        (8, 0.0, 1),
        (9, 1.0, 1),
        (11, 1.0, 1),
        (12, 0.0, 1),
        (13, 1.0, 1),
    ]
    assert [(one.label, one.predicted, one.missed_by_all) for one in found.sheet] == [
        ("cat", "dog", True),
        ("owl", "cat", False),
        ("owl", "cat", False),
    ]
    head, _, content = found.sheet[0].image.partition(",")
    assert head == "data:image/png;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert (shown == images[1]).all()


def test_many_classes_show_their_commonest_confusions_and_no_matrix() -> None:
    labels = np.arange(100)
    one = Predictions(labels, np.where(labels < 3, 99, labels), np.ones(100, dtype=np.float32))
    found = mistakes("a", {"a": one}, classes=[f"class {label}" for label in labels], images=None)
    assert found.matrix == []
    assert list(found.pairs) == [(f"class {label}", "class 99", 1) for label in range(3)]
    assert found.ensemble is None
    assert {shown.image for shown in found.sheet} == {""}


def test_metrics_beside_accuracy_and_the_best_trials_together_are_said() -> None:
    predictions = {"a": told(0, 1, 1, 1, 0, 0), "b": told(0, 1, 1, 1, 2, 2)}
    softmax = np.eye(3, dtype=np.float16)[predictions["b"].labels]
    best = [replace(one, softmax=softmax) for one in predictions.values()]
    found = mistakes("a", predictions, classes=["cat", "dog", "owl"], images=None, best=best)
    # recalls 1/2, 1 and 0; F1 scores 2/5, 4/5 and 0; an older version's file has no ranks and no losses
    assert found.metrics.startswith("balanced accuracy 50.00 %, macro F1 40.00 %, ECE ")
    assert (found.best.networks, found.best.accuracy) == (2, 1.0)
    assert mistakes("a", predictions, classes=["cat", "dog", "owl"], images=None).best is None


def test_the_sheet_has_the_twelve_most_confident_mistakes() -> None:
    labels = np.zeros(40, dtype=np.int64)
    sure = np.linspace(0.2, 0.9, 40, dtype=np.float32)
    found = mistakes("a", {"a": Predictions(labels, labels + 1, sure)}, classes=["cat", "dog"], images=None)
    assert [one.probability for one in found.sheet] == [float(one) for one in sure[:-13:-1]]
    assert (len(found.sheet), found.wrong) == (12, 40)
