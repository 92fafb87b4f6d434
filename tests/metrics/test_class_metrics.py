"""Tests of raytrain.metrics.class_metrics against scikit-learn and slow loops."""

import math

import numpy as np
import pytest
from sklearn import metrics

from raytrain.metrics.class_metrics import (
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    label_ranks,
    macro_f1,
    negative_log_likelihood,
    recalls,
    top_k_accuracy,
)

CLASSES = 7


def unbalanced(seed: int, *, images: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels of very unequal classes, and probabilities of a classifier that is better than chance."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(CLASSES, images, p=np.array([40, 20, 10, 8, 4, 2, 1]) / 85)
    logits = draw.normal(size=(images, CLASSES)) + 1.5 * (np.arange(CLASSES) == labels[:, None])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities.argmax(axis=1), probabilities


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_classes_equal_those_of_scikit_learn(seed: int) -> None:
    labels, predicted, _ = unbalanced(seed)
    matrix = confusion_matrix(labels, predicted, classes=CLASSES)
    assert (matrix == metrics.confusion_matrix(labels, predicted, labels=range(CLASSES))).all()
    assert recalls(matrix) == pytest.approx(metrics.recall_score(labels, predicted, average=None, labels=range(7)))
    assert balanced_accuracy(matrix) == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert macro_f1(matrix) == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_probabilities_equal_those_of_scikit_learn(seed: int) -> None:
    labels, _, probabilities = unbalanced(seed)
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(metrics.log_loss(labels, probabilities))
    ranks = label_ranks(probabilities, labels)
    for k in (1, 2, 5):
        assert top_k_accuracy(ranks, k=k) == pytest.approx(metrics.top_k_accuracy_score(labels, probabilities, k=k))


def test_a_classifier_that_knows_one_class_only_is_accurate_and_not_balanced() -> None:
    labels, predicted = np.array([0] * 98 + [1, 1]), np.zeros(100, dtype=np.int64)
    matrix = confusion_matrix(labels, predicted, classes=2)
    assert matrix.trace() / 100 == 0.98
    assert balanced_accuracy(matrix) == 0.5
    assert macro_f1(matrix) == pytest.approx((2 * 98 / (98 + 100)) / 2)


def test_a_class_without_images_is_left_out_unless_it_is_predicted() -> None:
    never = confusion_matrix(np.array([0, 1]), np.array([0, 1]), classes=3)
    assert np.isnan(recalls(never)).tolist() == [False, False, True]
    assert (balanced_accuracy(never), macro_f1(never)) == (1.0, 1.0)
    predicted = confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 2]), classes=3)
    assert balanced_accuracy(predicted) == 0.75
    assert macro_f1(predicted) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_without_images_there_is_no_metric() -> None:
    nothing = np.zeros((3, 3), dtype=np.int64)
    assert math.isnan(balanced_accuracy(nothing))
    assert math.isnan(macro_f1(nothing))


def slow_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Equation 3 of Guo et al. as it is written."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, p in enumerate(confidence) if (m - 1) / bins < p <= m / bins]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_equals_the_formula_of_its_paper(bins: int) -> None:
    labels, predicted, probabilities = unbalanced(0)
    confidence = probabilities.max(axis=1)
    expected = slow_calibration_error(confidence, predicted == labels, bins)
    assert expected_calibration_error(confidence, predicted == labels, bins=bins) == pytest.approx(expected)


def test_a_bin_includes_its_upper_bound() -> None:
    confidence, correct = np.array([0.5, 0.5, 0.75]), np.array([True, False, True])
    # two bins: the images with 0.5 are in the first, where accuracy is 0.5 too
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.25 / 3)


def test_equally_probable_classes_are_ranked_by_their_number() -> None:
    even = np.full((3, 3), 1 / 3)
    assert label_ranks(even, np.array([0, 1, 2])).tolist() == [0, 1, 2]


def test_a_probability_that_half_precision_rounds_to_0_gives_a_finite_loss() -> None:
    probabilities = np.array([[1.0, 1e-9]], dtype=np.float16)
    assert negative_log_likelihood(probabilities, np.array([1])) == pytest.approx(-math.log(2.0**-24))
