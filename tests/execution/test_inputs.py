import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytrain.data.data_key import DataKey
from raytrain.errors import DataError
from raytrain.execution.inputs import described_inputs, few_validation_images, load_splits, trials_and_splits
from raytrain.experiment.experiment import Experiment
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
