"""Tests of raytrain.analysis.tested_images: trials that were tested on the same images."""

from typing import Any

from raytrain.analysis import tested_images
from raytrain.training.recipe import Recipe


def recipe(**changes: Any) -> dict[str, Any]:
    return Recipe(**changes).as_json()


def test_what_training_and_the_look_of_images_depend_on_leaves_the_test_images_the_same():
    found = tested_images.tested_images({"a": recipe(), "b": recipe(lr=0.5, image_size=16, val_size=0.2)}, {})
    assert found["a"] == found["b"]


def test_other_test_images_are_told_apart():
    found = tested_images.tested_images({"a": recipe(), "b": recipe(test_size=0.3), "c": recipe(dataset="photos")}, {})
    assert len({*found.values()}) == 3


def test_a_recipe_of_an_earlier_version_has_the_defaults_of_the_fields_that_it_lacks():
    older = {name: value for name, value in recipe().items() if name not in {"test_size", "columns", "skip_bad"}}
    found = tested_images.tested_images({"a": recipe(), "b": older}, {})
    assert found["a"] == found["b"]


def test_one_data_set_that_is_written_in_two_ways_is_known_by_its_fingerprint():
    recipes = {"a": recipe(dataset="photos"), "b": recipe(dataset="/home/me/photos"), "c": recipe(dataset="photos")}
    data = {"a": {"photos at 32 px": "f1"}, "b": {"/home/me/photos at 32 px": "f1"}}
    found = tested_images.tested_images(recipes, data)
    assert found["a"] == found["b"] == found["c"]
    assert len({*tested_images.tested_images(recipes, {}).values()}) == 2
