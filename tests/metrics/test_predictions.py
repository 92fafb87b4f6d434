"""Tests of raytrain.metrics.predictions: kept as they were, and counted as by hand."""

import io
import zipfile

import numpy as np
import pytest
from sklearn import metrics

from raytrain.errors import RunFolderError
from raytrain.metrics.predictions import (
    Predictions,
    class_accuracies,
    confusion,
    ensemble,
    ensemble_accuracy,
    metrics_of,
    missed_by_all,
)


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


def with_softmax(images: int, classes: int) -> Predictions:
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = shares[np.arange(images), labels]
    return Predictions(
        labels,
        shares.argmax(axis=1),
        shares.max(axis=1).astype(np.float32),
        (shares > own[:, None]).sum(axis=1),
        -np.log(own).astype(np.float32),
        shares.astype(np.float16),
    )


def test_a_file_gives_back_the_probabilities_of_all_classes_when_asked_for() -> None:
    before = with_softmax(500, 12)
    after = Predictions.from_bytes(before.to_bytes(), softmax=True)
    assert (after.softmax == before.softmax).all()
    assert (after.ranks == before.ranks).all()
    assert after.losses == pytest.approx(before.losses, rel=1e-3)
    assert Predictions.from_bytes(before.to_bytes()).softmax is None


def test_all_probabilities_of_cifar_10_take_less_than_260_kilobytes() -> None:
    assert len(with_softmax(10_000, 10).to_bytes()) < 260_000


def test_a_file_of_an_older_version_still_reads_and_has_no_top_5_accuracy() -> None:
    """It holds the three arrays that the first version wrote."""
    full, stream = with_softmax(500, 12), io.BytesIO()
    np.savez_compressed(
        stream,
        labels=full.labels.astype(np.uint8),
        predicted=full.predicted.astype(np.uint8),
        probabilities=full.probabilities.astype(np.float16),
    )
    old = Predictions.from_bytes(stream.getvalue(), softmax=True)
    assert (old.ranks, old.losses, old.softmax) == (None, None, None)
    assert metrics_of(old).top5_accuracy is None
    assert metrics_of(old).balanced_accuracy == metrics_of(full).balanced_accuracy


def test_metrics_of_predictions_equal_those_of_scikit_learn() -> None:
    full = with_softmax(500, 12)
    found = metrics_of(full)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(full.labels, full.predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(full.labels, full.predicted, average="macro"))
    top = np.argsort(-full.softmax, axis=1, kind="stable")[:, :5]  # of half precision: ties are rare
    assert found.top5_accuracy == pytest.approx((top == full.labels[:, None]).any(axis=1).mean(), abs=0.003)
    bins = np.digitize(full.probabilities, np.arange(1, 15) / 15, right=True)
    gaps = [
        abs(full.correct[bins == one].sum() - full.probabilities[bins == one].sum(dtype=np.float64))
        for one in range(15)
    ]
    assert found.ece == pytest.approx(sum(gaps) / 500)


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


def of_softmax(labels: list[int], softmax: list[list[float]]) -> Predictions:
    shares = np.array(softmax, dtype=np.float16)
    return Predictions(np.array(labels), shares.argmax(axis=1), shares.max(axis=1).astype(np.float32), softmax=shares)


def test_an_ensemble_takes_the_mean_of_the_probabilities() -> None:
    """Both networks get one image of the two wrong, and their mean none: a vote could not tell."""
    one = of_softmax([0, 1], [[0.75, 0.25], [0.5625, 0.4375]])
    other = of_softmax([0, 1], [[0.4375, 0.5625], [0.125, 0.875]])
    found = ensemble([one, other])
    assert found is not None
    assert (one.accuracy, other.accuracy, found.accuracy) == (0.5, 0.5, 1.0)
    means = [(0.75 + 0.4375) / 2, (0.4375 + 0.875) / 2]
    assert found.nll == pytest.approx(-np.log(means).mean())
    assert found.networks == 2


def test_an_ensemble_takes_the_smallest_half_precision_number_where_all_its_networks_have_0() -> None:
    found = ensemble([of_softmax([0, 1], [[1.0, 0.0], [1.0, 0.0]])] * 2)
    assert found is not None
    assert found.accuracy == 0.5
    assert found.nll == pytest.approx(-np.log(2.0**-24) / 2)


def test_an_ensemble_leaves_out_other_images_and_files_of_an_older_version() -> None:
    one = of_softmax([0, 1], [[0.75, 0.25], [0.5625, 0.4375]])
    assert ensemble([one, predictions([0, 1], [0, 1]), of_softmax([1, 1], [[0, 1], [0, 1]])]) is None
    assert ensemble([]) is None


def test_a_file_is_unpacked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    content = predictions([0, 1], [1, 1]).to_bytes()
    opened: list[object] = []
    unpacking = zipfile.ZipFile

    def unpack(file: io.BytesIO) -> zipfile.ZipFile:
        opened.append(file)
        return unpacking(file)

    monkeypatch.setattr("zipfile.ZipFile", unpack)
    assert Predictions.from_bytes(content).predicted.tolist() == [1, 1]
    assert len(opened) == 1


@pytest.mark.parametrize("missing", ["labels", "predicted", "probabilities"])
def test_a_file_without_an_array_is_damaged(missing: str) -> None:
    arrays = {"labels": np.zeros(2, np.uint8), "predicted": np.zeros(2, np.uint8), "probabilities": np.zeros(2)}
    stream = io.BytesIO()
    np.savez(stream, **{name: array for name, array in arrays.items() if name != missing})  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match=rf"predictions\.npz is damaged: .*{missing}"):
        Predictions.from_bytes(stream.getvalue())
