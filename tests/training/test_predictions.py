"""Tests of raytrain.training.predictions: kept as they were, and counted as by hand."""

import numpy as np
import pytest

from raytrain.errors import RunFolderError
from raytrain.training.predictions import Predictions, class_accuracies, confusion, ensemble_accuracy, missed_by_all


def predictions(labels: list[int], predicted: list[int], probabilities: list[float] | None = None) -> Predictions:
    return Predictions(
        np.array(labels), np.array(predicted), np.array(probabilities or [0.5] * len(labels), dtype=np.float32)
    )


@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 100_000])
def test_a_file_gives_back_the_classes_and_the_probabilities_to_three_digits(classes: int) -> None:
    draw = np.random.default_rng(0)
    before = Predictions(
        draw.integers(0, classes, 500), draw.integers(0, classes, 500), draw.random(500).astype(np.float32)
    )
    after = Predictions.from_bytes(before.to_bytes())
    assert (after.labels == before.labels).all()
    assert (after.predicted == before.predicted).all()
    assert after.probabilities == pytest.approx(before.probabilities, abs=5e-4)
    assert after.accuracy == before.accuracy == np.mean(before.labels == before.predicted)


def test_those_of_cifar_10_take_less_than_40_kilobytes() -> None:
    draw = np.random.default_rng(0)
    full = Predictions(
        draw.integers(0, 10, 10_000), draw.integers(0, 10, 10_000), draw.random(10_000, dtype=np.float32)
    )
    assert len(full.to_bytes()) < 40_000


@pytest.mark.parametrize("content", [b"", b"PK", b"no npz", predictions([0], [1]).to_bytes()[:-30]])
def test_a_damaged_file_is_said(content: bytes) -> None:
    with pytest.raises(RunFolderError, match=r"predictions\.npz is damaged"):
        Predictions.from_bytes(content)


def test_confusion_counts_each_pair_of_classes() -> None:
    table = confusion(predictions([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2]), classes=4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_class_accuracies_are_shares_of_each_class_and_nan_without_images() -> None:
    shares = class_accuracies(predictions([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2]), classes=4)
    assert shares[:3].tolist() == [0.5, 1.0, pytest.approx(2 / 3)]
    assert np.isnan(shares[3])


def test_an_image_counts_as_missed_only_if_every_trial_misses_it() -> None:
    trials = [predictions([0, 1, 2], [0, 0, 0]), predictions([0, 1, 2], [1, 1, 0])]
    assert missed_by_all(trials).tolist() == [2]
    with pytest.raises(ValueError, match="no trial"):
        missed_by_all([])


def test_the_ensemble_votes_with_its_probabilities() -> None:
    sure = predictions([0, 1], [0, 1], [0.9, 0.9])
    unsure = [predictions([0, 1], [1, 0], [0.4, 0.4])] * 2
    assert ensemble_accuracy([sure, *unsure], classes=2) == 1.0
    assert ensemble_accuracy([sure, *unsure, *unsure], classes=2) == 0.0
