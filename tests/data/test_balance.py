"""Tests of raytrain.data.balance: weights as scikit-learn has them, and draws that are even over the classes."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from raytrain.data.balance import balanced_order, balanced_weights

LABELS = torch.tensor([0] * 700 + [2] * 200 + [3] * 90 + [5] * 10)[
    torch.randperm(1000, generator=torch.Generator().manual_seed(0))
]


def test_weights_equal_those_of_scikit_learn_and_add_up_to_the_number_of_images() -> None:
    weights = balanced_weights(LABELS, classes=7)
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3, 5]), y=LABELS.numpy())
    assert weights[[0, 2, 3, 5]].numpy() == pytest.approx(expected)
    assert weights[[1, 4, 6]].tolist() == [0, 0, 0]  # no images
    assert weights[LABELS].sum().item() == pytest.approx(1000)


def test_classes_of_equal_size_have_the_weight_1() -> None:
    assert balanced_weights(torch.arange(12) % 4, classes=4).tolist() == [1, 1, 1, 1]


def test_all_classes_with_images_are_drawn_equally_often_whatever_their_size() -> None:
    drawn = torch.cat([LABELS[balanced_order(LABELS, seed=0, epoch=epoch)] for epoch in range(20)])
    counts = drawn.bincount(minlength=7)
    assert counts[[1, 4, 6]].tolist() == [0, 0, 0]
    # 20,000 draws with probability 1/4: four standard deviations
    assert counts[[0, 2, 3, 5]].numpy() == pytest.approx(5000, abs=4 * (20_000 * 3 / 16) ** 0.5)


def test_every_image_of_a_class_is_drawn_equally_often() -> None:
    rows = torch.cat([balanced_order(LABELS, seed=1, epoch=epoch) for epoch in range(20)])
    counts = rows.bincount(minlength=1000)[LABELS == 5]
    assert counts.numpy() == pytest.approx(500, abs=4.5 * 500**0.5)


def test_the_draws_are_a_function_of_seed_and_epoch() -> None:
    first = balanced_order(LABELS, seed=3, epoch=2)
    assert len(first) == 1000
    assert torch.equal(first, balanced_order(LABELS, seed=3, epoch=2))
    assert not torch.equal(first, balanced_order(LABELS, seed=3, epoch=3))
    assert not torch.equal(first, balanced_order(LABELS, seed=2, epoch=3))
