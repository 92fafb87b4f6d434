"""Tests of raytrain.data.augmentation.augment against slow loops and torchvision."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from raytrain.data.augmentation import augment
from raytrain.data.augmentation.augment import (
    AUGMENTS,
    alternating_flip,
    apply_color_jitter,
    color_jitter,
    cutout,
    horizontal_flip,
    random_crop,
)
from raytrain.data.augmentation.mixing import MIXES
from raytrain.user_code.component import accepted


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(count=8, *, dtype=torch.uint8, size=16):
    """Draw images as the data set hands them out: (N, 3, H, W) views of (N, H, W, 3) storage."""
    pixels = torch.randint(256, (count, size, size, 3), dtype=torch.uint8, generator=generator(1))
    pixels = pixels if dtype == torch.uint8 else pixels / 255
    return pixels.permute(0, 3, 1, 2)


def coordinates(count, *, size=16):
    """Make uint8 images that hold y + 1 and x + 1 in their first two channels: 0 is padding."""
    rows = torch.arange(1, size + 1, dtype=torch.uint8)
    y, x = torch.meshgrid(rows, rows, indexing="ij")
    return torch.stack((y, x, y)).repeat(count, 1, 1, 1)


def crop_offsets(crops, *, padding):
    """Read from the middle pixel of crops of `coordinates` where each window began: (N, 2)."""
    middle = crops.shape[-1] // 2
    return crops[:, :2, middle, middle].long() - 1 - middle + padding


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [2, 4])
def test_crop_equals_a_slow_loop_over_padded_images(dtype, padding):
    images = random_images(32, dtype=dtype)
    found = crop_offsets(random_crop(coordinates(32), padding=padding, generator=generator()), padding=padding)
    crops = random_crop(images, padding=padding, generator=generator())
    assert crops.dtype == dtype
    assert crops.shape == images.shape
    for image, crop, (dy, dx) in zip(images, crops, found.tolist(), strict=True):
        padded = torch.zeros(3, 16 + 2 * padding, 16 + 2 * padding, dtype=dtype)
        padded[:, padding : padding + 16, padding : padding + 16] = image
        assert torch.equal(crop, padded[:, dy : dy + 16, dx : dx + 16])


def test_crop_offsets_are_uniform_over_all_windows():
    crops = random_crop(coordinates(8100), padding=4, generator=generator())
    dy, dx = crop_offsets(crops, padding=4).unbind(1)
    observed = torch.bincount(9 * dy + dx, minlength=81)
    assert len(observed) == 81
    assert ((observed - 100) ** 2 / 100).sum() < 124.8  # 99.9 % quantile of chi-square with 80 degrees


def test_flip_mirrors_each_image_or_leaves_it():
    images = random_images(32)
    flipped = horizontal_flip(images, generator=generator())
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    mirrored = [torch.equal(new, reference.hflip(old)) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept)
    assert any(mirrored)


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.5, 1.0])
def test_flip_happens_with_its_probability(probability):
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(4000, 3, 1, 2)
    flipped = horizontal_flip(images, probability=probability, generator=generator())
    share = flipped[:, 0, 0, 0].float().mean().item()
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 4000) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 4])
def test_a_crop_with_mirrored_borders_equals_numpys_padding(dtype, padding):
    images = random_images(32, dtype=dtype)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="reflect")
    offsets = crop_offsets(random_crop(coordinates(32), padding=padding, generator=generator()), padding=padding)
    crops = random_crop(images, padding=padding, mode="reflect", generator=generator())
    for window, crop, (dy, dx) in zip(padded, crops, offsets.tolist(), strict=True):
        assert torch.equal(crop, torch.from_numpy(window[:, dy : dy + 16, dx : dx + 16]))


def mirrored(flipped, images):
    """Tell for each image whether it was mirrored; those that are their own mirror image count as not."""
    return [not torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]


def test_alternating_flip_shows_the_other_side_of_every_image_in_the_next_epoch():
    images, index = random_images(32), torch.arange(32)
    epochs = [alternating_flip(images, index=index, epoch=epoch, seed=3) for epoch in range(3)]
    assert all(torch.equal(new, reference.hflip(old)) for new, old in zip(epochs[1], epochs[0], strict=True))
    assert torch.equal(epochs[2], epochs[0])
    first = mirrored(epochs[0], images)
    assert any(first)
    assert not all(first)


def test_alternating_flip_knows_an_image_by_its_number_wherever_it_is_in_the_batch():
    images, order = random_images(32), torch.randperm(32, generator=generator(5))
    straight = alternating_flip(images, index=torch.arange(32), epoch=0, seed=3)
    assert torch.equal(alternating_flip(images[order], index=order, epoch=0, seed=3), straight[order])


@pytest.mark.parametrize("numbers", [torch.arange(20_000), 2 * torch.arange(20_000), 1_000_003 * torch.arange(20_000)])
def test_the_coin_of_alternating_flip_is_fair_and_independent(numbers):
    tosses = torch.stack([augment._coin(numbers, seed=seed) for seed in (0, 1, 2, 2**32 - 1)]).double()
    deviation = 0.5 / 20_000**0.5
    assert ((tosses.mean(dim=1) - 0.5).abs() < 4 * deviation).all()
    # neither neighbours nor seeds agree more often than by chance
    for one, other in [*combinations(tosses, 2), *((toss[1:], toss[:-1]) for toss in tosses)]:
        assert abs((one == other).double().mean().item() - 0.5) < 4 * deviation


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_blanks_one_square_that_may_reach_over_the_edge(dtype, size):
    images = torch.ones(500, 3, 9, 9, dtype=dtype)
    blank = cutout(images, size=size, generator=generator()) == 0
    assert (blank == blank[:, :1]).all()  # of all channels
    rows, columns = blank[:, 0].any(dim=2), blank[:, 0].any(dim=1)
    assert torch.equal(blank[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle
    for side in (rows, columns):
        lengths = side.sum(dim=1)
        assert lengths.max() == size
        assert lengths.min() == (size + 1) // 2  # a centre on the edge
        firsts = side.int().argmax(dim=1)
        assert all(row[first : first + n].all() for row, first, n in zip(side, firsts, lengths, strict=True))  # no gaps


def test_cutout_centres_are_uniform():
    blank = cutout(torch.ones(8100, 3, 9, 9), size=1, generator=generator())[:, 0] == 0
    observed = blank.sum(dim=0).flatten()
    assert ((observed - 100) ** 2 / 100).sum() < 124.8  # 99.9 % quantile of chi-square with 80 degrees


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_jitter_equals_torchvision_in_every_order(dtype):
    operations = (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation)
    order = torch.tensor(list(permutations(range(3))) * 4)
    factors = torch.rand(len(order), 3, generator=generator()) * 2
    images = random_images(len(order), dtype=dtype)
    jittered = apply_color_jitter(images, factors=factors, order=order)
    assert jittered.dtype == torch.float32
    for image, row, sequence, result in zip(images, factors.tolist(), order.tolist(), jittered, strict=True):
        expected = reference.to_dtype(image, torch.float32, scale=True)
        for operation in sequence:
            expected = operations[operation](expected, row[operation])
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_jitter_with_factors_of_one_changes_nothing():
    images = random_images(dtype=torch.float32)
    order = torch.tensor([[2, 0, 1]] * 8)
    torch.testing.assert_close(apply_color_jitter(images, factors=torch.ones(8, 3), order=order), images)


def test_jitter_draws_factors_from_their_ranges_and_all_orders_equally(monkeypatch):
    drawn = {}
    monkeypatch.setattr(augment, "apply_color_jitter", lambda images, **given: drawn.update(given) or images)
    images = torch.zeros(6000, 3, 1, 1)
    color_jitter(images, brightness=0.4, contrast=1.5, saturation=0.0, generator=generator())
    low, high = drawn["factors"].aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([0.6, 0.0, 1.0]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 2.5, 1.0]), atol=0.01, rtol=0)
    middle = drawn["factors"].mean(dim=0)
    torch.testing.assert_close(middle, torch.tensor([1.0, 1.25, 1.0]), atol=0.05, rtol=0)
    orders, observed = drawn["order"].unique(dim=0, return_counts=True)
    assert sorted(map(tuple, orders.tolist())) == list(permutations(range(3)))
    assert ((observed - 1000) ** 2 / 1000).sum() < 20.5  # 99.9 % quantile of chi-square with 5 degrees


def augmented(name, images, *, seed=0):
    """Apply an augmentation with what it asks for, all of it from one seed."""
    offered = {"generator": generator(seed), "index": torch.arange(len(images)), "epoch": 0, "seed": seed}
    function = AUGMENTS[name]
    return function(images, **{key: offered[key] for key in offered.keys() & accepted(function)})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", AUGMENTS)
def test_an_augmentation_never_writes_to_its_input(name, layout, dtype):
    images = random_images(dtype=dtype).contiguous(memory_format=layout)
    before = images.clone()
    result = augmented(name, images)
    result.zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", AUGMENTS)
def test_an_augmentation_is_a_function_of_its_generator(name):
    images = random_images()
    first, again, other = (augmented(name, images, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", AUGMENTS)
def test_an_augmentation_does_not_depend_on_the_memory_format(name):
    images = random_images()
    last = augmented(name, images)
    planes = augmented(name, images.contiguous())
    assert torch.equal(last, planes)
    assert last.is_contiguous(memory_format=torch.channels_last)


LABELS = torch.tensor([3, 1, 4, 0])
COLOURS = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16)


def mix(name, *, rng, images=COLOURS):
    return MIXES[name](images, LABELS, num_classes=5, alpha=1.0, generator=rng)


def shares(labels):
    """Return what each row of mixed labels gives to the image's own class."""
    return labels[torch.arange(4), LABELS]


def test_cutmix_labels_equal_the_pasted_area():
    rng = generator()
    for _ in range(50):
        images, labels = mix("cutmix", rng=rng)
        own = (images == COLOURS).float().mean(dim=(1, 2, 3))
        predecessor = (images == COLOURS.roll(1, 0)).float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(shares(labels), own)
        torch.testing.assert_close(shares(labels.roll(-1, 0)), predecessor)


def test_mixup_is_the_convex_combination_of_its_labels():
    rng = generator()
    for _ in range(20):
        images, labels = mix("mixup", rng=rng)
        share = shares(labels)[:, None, None, None]
        torch.testing.assert_close(images, share * COLOURS + (1 - share) * COLOURS.roll(1, 0))
        torch.testing.assert_close(shares(labels.roll(-1, 0)), 1 - shares(labels))


def test_cutmix_or_mixup_is_a_fair_draw_between_the_two():
    rng = generator()
    blends = [bool((mix("cutmix_or_mixup", rng=rng)[0] % 1 != 0).any()) for _ in range(400)]
    assert 160 < sum(blends) < 240  # 4 standard deviations


@pytest.mark.parametrize("name", MIXES)
def test_mixed_labels_are_float_rows_that_sum_to_one(name):
    _, labels = mix(name, rng=generator())
    assert labels.dtype == torch.float32
    assert labels.shape == (4, 5)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_a_function_of_its_generator_and_each_batch_differs(name):
    first, again = (mix(name, rng=generator()) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    rng = generator()
    assert not torch.equal(mix(name, rng=rng)[0], mix(name, rng=rng)[0])


@pytest.mark.parametrize("name", MIXES)
def test_batches_are_mixed_in_many_ways(name):
    rng = generator()
    ways = {mix(name, rng=rng)[0].contiguous().numpy().tobytes() for _ in range(256)}
    assert len(ways) > 128  # CutMix on 16 x 16 pixels repeats a box now and then


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_leaves_the_global_generator_untouched(name):
    before = torch.get_rng_state()
    mix(name, rng=generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", MIXES)
def test_a_mix_keeps_its_input_and_the_memory_format(name, layout):
    images = random_images(4, dtype=torch.float32).contiguous(memory_format=layout)
    before = images.clone()
    mixed, _ = mix(name, rng=generator(), images=images)
    assert mixed.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)
