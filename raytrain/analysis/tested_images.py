"""Which trials were tested on the same images: by what is written in their recipes, and by the content of the data."""

from collections.abc import Mapping
from typing import Any

from raytrain.data.data_key import DataKey

TestImages = tuple[object, ...]
"""What decides which test images there are: equal for trials that were tested on the same."""


def tested_images(
    recipes: Mapping[str, Mapping[str, Any]], data: Mapping[str, Mapping[str, Any]]
) -> dict[str, TestImages]:
    """Return what decides on the test images of each trial, by its id.

    A data set may be written in several ways: "photos" and "/home/me/photos" are one if their fingerprints are equal.

    Args:
        recipes: Fields of the recipe of each trial, by its id.
        data: What the manifest of each trial's run says of its data: the fingerprint by `DataKey.label`.
    """
    same: dict[TestImages, TestImages] = {}
    by_fingerprint: dict[str, TestImages] = {}

    def first(images: TestImages) -> TestImages:
        while (other := same.get(images, images)) != images:
            images = other
        return images

    keys: dict[str, TestImages] = {}
    read: dict[tuple[Any, ...], tuple[TestImages, str]] = {}
    for trial, recipe in recipes.items():
        values = tuple(map(recipe.get, DataKey._fields))
        if values not in read:  # thousands of trials have the same
            read[values] = DataKey.of_test_images(recipe), DataKey.of(recipe).label
        keys[trial], label = read[values]
        fingerprint = data.get(trial, {}).get(label)
        if fingerprint is not None:
            written = first(keys[trial])
            known = first(by_fingerprint.setdefault(fingerprint, written))
            same[written] = known
    return {trial: first(key) for trial, key in keys.items()}
