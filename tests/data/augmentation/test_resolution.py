"""The size of the images in the course of training."""

import pytest
import torch

from raytrain.data.augmentation.resolution import canonical_resolution, mean_area, resized, resolution_of


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", ""),
        (None, ""),
        ({"0": 24, "0.4": 32}, "0:24,0.4:32"),
        ({0.4: 32, 0: 24}, "0:24,0.4:32"),
        ("0.4:32,0:24", "0:24,0.4:32"),
        ("0:16", "0:16"),
    ],
)
def test_a_schedule_has_one_text(given: object, text: str):
    assert canonical_resolution(given) == text


@pytest.mark.parametrize(
    "given",
    [
        24,
        "24",
        {0: float("inf")},
        {0: 24, "nan": 32},
        [24],
        {0.5: 24},
        {0: 24, 1: 32},
        {0: 7},
        {0: 2000},
        {0: 24.5},
        {0: "big"},
        {},
        {"0": 24, "0.0": 32},
    ],
)
def test_what_is_no_schedule_is_refused(given: object):
    with pytest.raises(ValueError, match=r"write \{0: 24, 0\.4: 32\}"):
        canonical_resolution(given)


def test_a_size_holds_from_the_first_epoch_that_begins_after_its_share():
    sizes = [resolution_of("0:24,0.375:28,0.9:32", epoch=epoch, epochs=8, full=32) for epoch in range(8)]
    assert sizes == [24, 24, 24, 28, 28, 28, 28, 28]  # epoch 7 begins at 0.875
    assert [resolution_of("", epoch=epoch, epochs=8, full=40) for epoch in range(2)] == [40, 40]


@pytest.mark.parametrize(("share", "epochs", "first"), [(0.28, 25, 7), (0.07, 100, 7), (2 / 3, 3, 2), (0.55, 100, 55)])
def test_a_share_that_is_a_whole_number_of_epochs_begins_there(share: float, epochs: int, first: int):
    schedule = canonical_resolution({0: 24, share: 32})
    assert canonical_resolution(schedule) == schedule
    sizes = [resolution_of(schedule, epoch=epoch, epochs=epochs, full=32) for epoch in range(epochs)]
    assert sizes.index(32) == first


def test_the_mean_area_is_that_of_all_epochs():
    assert mean_area("0:16,0.5:32", epochs=4, full=32) == (0.25 + 0.25 + 1 + 1) / 4
    assert mean_area("", epochs=4, full=32) == 1


def test_images_of_the_size_are_handed_on_and_others_are_averaged_down():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert resized(images, 8) is images
    half = resized(images, 4)
    assert half.shape == (2, 3, 4, 4)
    # antialiasing: away from the border, triangle weights 1 3 3 1 over four pixels
    weights = torch.tensor([1, 3, 3, 1]) / 8
    expected = torch.einsum("nchw,h,w->nc", images[:, :, 1:5, 3:7], weights, weights)
    torch.testing.assert_close(half[:, :, 1, 2], expected)
