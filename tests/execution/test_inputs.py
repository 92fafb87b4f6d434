import itertools
import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raytrain.data.batches import images_per_step, on_device, parts_of_share, training_batches
from raytrain.data.data_key import DataKey
from raytrain.data.images import LabelledImages
from raytrain.errors import DataError, ExperimentError
from raytrain.execution.inputs import (
    described_inputs,
    few_validation_images,
    left_out_images,
    load_splits,
    smallest_part,
    trials_and_splits,
    why_not,
)
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Resources
from raytrain.experiment.trial import Trial
from raytrain.provenance.manifest import inputs_of
from raytrain.training.recipe import Recipe

DIGITS = Recipe(dataset="digits", image_size=8)


def warned(recipes: list[Recipe], caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING):
        load_splits([Trial.of(recipe) for recipe in recipes])
    return [record.getMessage() for record in caplog.records]


def test_validation_images_too_few_to_choose_by_are_warned_of_once(caplog: pytest.LogCaptureFixture):
    few = DIGITS.replace(val_size=50)
    (said,) = warned([few, few.replace(lr=0.01), few.replace(seed=3)], caplog)
    assert said.startswith("digits: 50 validation images choose the epoch and the trial, and one image is 2.0 points")


@pytest.mark.parametrize("val_size", [0, 100, 0.1])
def test_nothing_is_said_of_enough_validation_images_or_of_none(val_size: float, caplog: pytest.LogCaptureFixture):
    assert warned([DIGITS.replace(val_size=val_size)], caplog) == []


def test_five_images_are_twenty_points_each():
    said = few_validation_images("photos", 5, own=False)
    assert "5 validation images choose the epoch and the trial, and one image is 20.0 points" in said
    assert "set a larger val_size or add images" in said
    assert few_validation_images("photos", 1, own=False).startswith("photos: 1 validation image chooses")


def test_val_size_is_no_advice_where_the_data_set_has_validation_images_of_its_own():
    assert "; add images, best 100 or more" in few_validation_images("photos", 5, own=True)


@pytest.fixture
def with_validation(tmp_path: Path) -> Recipe:
    """A recipe for a folder that has validation images of its own."""
    for number in range(24):
        folder = tmp_path / "photos" / ("train", "val", "test")[number % 3] / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(folder / f"{number}.png")
    return Recipe(dataset=str(tmp_path / "photos"), image_size=8)


def test_a_grid_over_val_size_is_refused_where_the_data_set_has_validation_images_of_its_own(with_validation: Recipe):
    experiment = Experiment(name="sizes", recipe=with_validation, grid={"val_size": [0.1, 0.2, 3]})
    with pytest.raises(
        ExperimentError, match=r"val_size varies \(0.1 and 0.2 and others\) without effect: .*photos' has"
    ):
        trials_and_splits(experiment)


def test_a_val_size_of_0_beside_another_trains_on_more_images(with_validation: Recipe):
    both = [with_validation.replace(val_size=size) for size in (0, 0.2)]
    splits = load_splits([Trial.of(one) for one in both])
    assert [len(splits[one.data_key].train) for one in both] == [16, 8]


def test_images_that_each_epoch_leaves_out_are_warned_of_once(caplog: pytest.LogCaptureFixture):
    recipe = DIGITS.replace(width=2, batch_size=800)
    with caplog.at_level(logging.WARNING):
        trials_and_splits(Experiment(name="large", recipe=recipe, seeds=[0, 1]))
    (said,) = [record.getMessage() for record in caplog.records]
    count = len(load_splits([Trial.of(recipe)])[recipe.data_key].train)
    assert 1.1 * 800 < count < 2 * 800
    assert f"digits: with batch_size 800, each epoch leaves out {count - 800} of {count:,} training images" in said


@pytest.mark.parametrize(
    ("count", "batch_size", "said"),
    [
        (300, 200, "leaves out 100 of 300 training images, other ones each time, .* such as 150, which leaves out 0"),
        (1099, 1000, ""),  # less than a tenth
        (220, 200, ""),
        (100, 200, ""),  # one batch of all
        (1, 1, ""),
    ],
)
def test_an_epoch_leaves_out_what_is_no_whole_batch(count: int, batch_size: int, said: str):
    found = left_out_images("photos", count, batch_size)
    assert re.search(said, found) if said else not found


def test_the_manifest_keeps_everything_that_the_images_depend_on_and_finds_them_by_it():
    other = DataKey("digits", 8, 0.2, 0.3, columns="label=kind", skip_bad=True, background="black", follow_links=True)
    assert all(value != DataKey._field_defaults.get(name) for name, value in other._asdict().items())
    splits = load_splits([Trial.of(DIGITS)])[DIGITS.data_key]
    described = described_inputs(other, splits)
    found = inputs_of(
        {"inputs": [asdict(described_inputs(DIGITS.data_key, splits)), asdict(described)]}, other._asdict()
    )
    assert found == described


def test_top5_accuracy_cannot_decide_where_it_is_always_1(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(folder / f"{number}.png")
    recipe = Recipe(dataset=str(tmp_path / "photos"), image_size=8, select="top5_accuracy")
    with pytest.raises(DataError, match=r"100 % for every network on .*, which has 2 classes; select another metric"):
        trials_and_splits(Experiment(name="top", recipe=recipe))


@pytest.mark.parametrize(
    ("changes", "workers", "said"),
    [
        (
            {"batch_size": 1},
            1,
            "batch_size 1 gives resnet18 one image at a time, and it cannot be trained on a single image of 8 pixels",
        ),
        ({"batch_size": 4}, 4, "or fewer workers"),
        ({"batch_size": 6, "accumulate": 6}, 1, "accumulate 6"),
        ({"batch_size": 3, "accumulate": 2}, 1, "or a smaller accumulate"),  # parts of two images and of one
        ({"batch_size": 1, "image_size": 16, "resolution": "0:8,0.5:16"}, 1, "a single image of 8 pixels"),
        ({"batch_size": 1, "arch": "torchvision:resnet18", "image_size": 32}, 1, "gives torchvision:resnet18 one"),
    ],
)
def test_one_image_at_a_time_is_refused_where_the_network_needs_several(
    changes: dict[str, Any], workers: int, said: str
):
    recipe = DIGITS.replace(width=2, **changes)
    with pytest.raises(ExperimentError, match="one image at a time") as caught:
        trials_and_splits(Experiment(name="one", recipe=recipe, resources=Resources(workers=workers)))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "workers"),
    [
        ({"batch_size": 1, "image_size": 16}, 1),  # four pixels are left of the image
        ({"batch_size": 2}, 1),
        ({"batch_size": 4, "sync_batchnorm": True}, 4),
        ({"batch_size": 1, "epochs": 2, "freeze_epochs": 2}, 1),
        ({"batch_size": 1, "epochs": 2, "freeze_epochs": 1, "image_size": 16, "resolution": "0:8,0.5:16"}, 1),
    ],
)
def test_one_image_at_a_time_is_accepted_where_it_can_be_trained(changes: dict[str, Any], workers: int):
    recipe = DIGITS.replace(width=2, **changes)
    trials, _ = trials_and_splits(Experiment(name="one", recipe=recipe, resources=Resources(workers=workers)))
    assert len(trials) == 1


@pytest.mark.parametrize("way", ["at the start", "later"])
def test_the_network_is_rehearsed_for_the_workers_of_the_experiment(way: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr("raytrain.execution.inputs.rehearse", lambda _, workers: asked.append(workers))
    recipe = DIGITS.replace(width=2)
    if way == "at the start":
        trials_and_splits(Experiment(name="one", recipe=recipe, resources=Resources(workers=(1, 3))))
    else:
        trial = Trial.of(recipe)
        why_not(trial, load_splits([trial]), workers=3)
    assert asked == [3]


def test_a_trial_that_is_proposed_later_is_refused_for_the_same_reason():
    trial = Trial.of(DIGITS.replace(width=2, batch_size=3))
    splits = load_splits([trial])
    assert why_not(trial, splits, workers=1) == ""
    assert "one image at a time" in why_not(trial, splits, workers=3)


@pytest.mark.parametrize(
    ("images", "batch_size", "workers", "accumulate"), [(100, 7, 2, 2), (9, 50, 4, 3), (5, 5, 1, 4)]
)
def test_the_smallest_part_is_that_of_the_ranks_of_a_step(images: int, batch_size: int, workers: int, accumulate: int):
    everything = on_device(
        LabelledImages(np.zeros((images, 8, 8, 3), np.uint8), np.zeros(images, np.int64)), torch.device("cpu")
    )
    order = torch.arange(images)
    together = images_per_step(images, batch_size=batch_size, world_size=workers)
    parts = [
        len(part)
        for rank in range(workers)
        for _, labels, _ in training_batches(
            everything, batch_size=batch_size, order=order, rank=rank, world_size=workers
        )
        for part in parts_of_share(labels, most=accumulate, images=together, world_size=workers)
    ]
    assert smallest_part(images, batch_size, workers, accumulate) == min(parts)


def test_the_smallest_part_is_that_of_every_small_batch():
    for workers, accumulate in itertools.product(range(1, 5), range(1, 9)):
        for images in range(workers, 24):
            shares = [torch.arange(images)[rank::workers] for rank in range(workers)]
            parts = [parts_of_share(one, most=accumulate, images=images, world_size=workers) for one in shares]
            smallest = min(len(part) for some in parts for part in some)
            assert smallest_part(24 * workers, images, workers, accumulate) == smallest, (images, workers, accumulate)
