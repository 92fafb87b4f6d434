"""Whether two runs were tested on the same images, without which nothing can be paired."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.analysis.record import RunRecord
from raytrain.analysis.tested_images import tested_images
from raytrain.data.data_key import OF_TEST_IMAGES, DataKey
from raytrain.errors import ExperimentError
from raytrain.runs.results import TrialResult


def refuse_other_test_images(
    names: tuple[str, str],
    *,
    recipes: tuple[Mapping[str, Any], Mapping[str, Any]],
    data: tuple[Mapping[str, str], Mapping[str, str]],
    labels: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None],
) -> None:
    """Refuse two runs that were tested on other images.

    What is written in the recipes decides where the fingerprints do not: a data set with a test part of its own has the
    same test images whatever its `test_size`.

    Args:
        names: Names of the runs.
        recipes: Fields of a recipe of each.
        data: The fingerprints of the data of each by `DataKey.label`.
        labels: Labels of their test images, (N,); None where they are not on record.

    Raises:
        ExperimentError: They were.
    """
    advice = "accuracies on different images cannot be compared; train one of them again on the images of the other"
    images = tested_images(dict(zip(names, recipes, strict=True)), dict(zip(names, data, strict=True)))
    if images[names[0]] != images[names[1]]:
        written = [dict(zip(OF_TEST_IMAGES, DataKey.of_test_images(recipe), strict=True)) for recipe in recipes]
        for field in OF_TEST_IMAGES[1:]:  # the data sets have been compared before
            one, other = (values[field] for values in written)
            if one != other:
                raise ExperimentError(f"{names[0]} has {field} {one!r} and {names[1]} has {other!r}: {advice}")
    first, second = labels
    if first is not None and second is not None and not np.array_equal(first, second):
        counts = f"{len(first)} images and {names[1]} on {len(second)}"
        raise ExperimentError(f"{names[0]} was tested on {counts}, which are not the same: {advice}")


def labels_of(record: RunRecord, results: Mapping[int, TrialResult]) -> NDArray[np.int64] | None:
    """Return the labels of the test images of a configuration, of the first seed of which they are on record."""
    seen = (record.predictions.get(result.trial) for result in results.values())
    return next((one.labels for one in seen if one is not None), None)
