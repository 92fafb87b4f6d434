"""Which trials were tested on the same images: by what is written in their recipes, and by the content of the data."""

from collections.abc import Iterable, Mapping
from typing import Any

from raytrain.data.data_key import DataKey
from raytrain.runs.results import TrialResult

TestImages = tuple[object, ...]
"""What decides which test images there are: equal for trials that were tested on the same."""


def tested_images(results: Iterable[TrialResult], data: Mapping[str, Mapping[str, Any]]) -> dict[str, TestImages]:
    """Return what decides on the test images of each trial, by its id.

    A data set may be written in several ways: "photos" and "/home/me/photos" are one if their fingerprints are equal.

    Args:
        results: Results of the trials.
        data: What the manifest of each trial's run says of its data: the fingerprint by `DataKey.label`.
    """
    listed = list(results)
    same: dict[TestImages, TestImages] = {}
    by_fingerprint: dict[str, TestImages] = {}

    def first(images: TestImages) -> TestImages:
        while (other := same.get(images, images)) != images:
            images = other
        return images

    keys = [DataKey.of_test_images(result.recipe) for result in listed]
    for result, key in zip(listed, keys, strict=True):
        written = first(key)
        fingerprint = data.get(result.trial, {}).get(DataKey.of(result.recipe).label)
        if fingerprint is not None:
            known = first(by_fingerprint.setdefault(fingerprint, written))
            same[written] = known
    return {result.trial: first(key) for result, key in zip(listed, keys, strict=True)}
