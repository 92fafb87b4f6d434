"""Tests of random_resized_crop against torchvision's own boxes and its crop of one image at a time."""

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from raytrain.data.augmentation.resized_crop import crop_and_resize, draw_boxes, random_resized_crop
from raytrain.training.choices import AUGMENT_CHOICES

COUNT = 2000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [(64, 64, (0.08, 1.0), (3 / 4, 4 / 3)), (40, 60, (0.3, 0.9), (0.5, 1.0)), (20, 20, (1.0, 1.0), (3 / 4, 4 / 3))],
)
def test_boxes_are_distributed_as_torchvision_draws_them(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
):
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(COUNT)])
    ours = draw_boxes(COUNT, height, width, scale=scale, ratio=ratio, generator=generator())
    for what in (lambda box: box[:, 0], lambda box: box[:, 1], area, shape):
        # of 12 comparisons of equal distributions one in 10,000 is below this
        assert ks_2samp(what(ours), what(theirs)).pvalue > 1e-5


def area(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[:, 2] * boxes[:, 3]


def shape(boxes: torch.Tensor) -> torch.Tensor:
    return boxes[:, 3] / boxes[:, 2]


@pytest.mark.parametrize(("height", "width", "ratio"), [(20, 30, (0.5, 0.6)), (30, 20, (2.0, 2.1))])
def test_where_no_box_fits_the_largest_at_the_centre_is_torchvisions(
    height: int, width: int, ratio: tuple[float, float]
):
    theirs = RandomResizedCrop.get_params(torch.zeros(3, height, width), [1.0, 1.0], list(ratio))
    ours = draw_boxes(5, height, width, scale=(1.0, 1.0), ratio=ratio, generator=generator())
    assert ours.tolist() == [list(theirs)] * 5


@pytest.mark.parametrize("size", [12, 40])
def test_each_box_is_resized_as_torchvision_resizes_one_image(size: int):
    images = torch.rand(16, 3, 24, 20, generator=generator(1))
    boxes = draw_boxes(16, 24, 20, scale=(0.08, 1.0), ratio=(0.5, 2.0), generator=generator(2))
    found = crop_and_resize(images, boxes, height=size, width=size)
    for image, box, crop in zip(images, boxes.tolist(), found, strict=True):
        expected = functional.resized_crop(image, *box, size=[size, size], antialias=True)
        torch.testing.assert_close(crop, expected, rtol=0, atol=1e-5)


def test_images_of_bytes_are_rounded_as_torchvision_rounds_them():
    images = torch.randint(256, (16, 24, 24, 3), dtype=torch.uint8, generator=generator(1)).permute(0, 3, 1, 2)
    boxes = draw_boxes(16, 24, 24, scale=(0.08, 1.0), ratio=(0.5, 2.0), generator=generator(2))
    found = crop_and_resize(images, boxes, height=16, width=16)
    assert found.dtype == torch.uint8
    for image, box, crop in zip(images, boxes.tolist(), found, strict=True):
        expected = functional.resized_crop(image.contiguous(), *box, size=[16, 16], antialias=True)
        assert (crop.int() - expected.int()).abs().max() <= 1


def test_images_may_be_stored_larger_than_the_network_sees_them():
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert random_resized_crop(images, size=24, generator=generator()).shape == (2, 3, 24, 24)
    assert random_resized_crop(images, generator=generator()).shape == images.shape


def test_a_recipe_keeps_its_ranges_as_text():
    given = {"random_resized_crop": {"scale": [0.35, 1], "size": 24}}
    assert AUGMENT_CHOICES.canonical(given) == "random_resized_crop(scale=[0.35, 1], size=24)"
    assert AUGMENT_CHOICES.canonical({"random_resized_crop": {"scale": [0.08, 1.0]}}) == "random_resized_crop"


@pytest.mark.parametrize("scale", [[0, 1], [0.5], [0.5, 2], 0.5])
def test_a_scale_that_is_no_range_of_shares_is_refused(scale: object):
    with pytest.raises(ValueError, match="random_resized_crop: scale"):
        AUGMENT_CHOICES.canonical({"random_resized_crop": {"scale": scale}})
