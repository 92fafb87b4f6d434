"""The test accuracies of one configuration, whether two configurations differ, and by how much, seed by seed."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from raytrain.analysis.statistics.sequential import Differences, floors_of
from raytrain.analysis.statistics.significance import (
    Interval,
    accuracy_interval,
    mcnemar,
    mcnemar_of_all,
    mean_interval,
    one_against_several,
    variance_floor,
    welch,
    wilson,
)
from raytrain.data.data_key import DataKey
from raytrain.metrics.predictions import Predictions
from raytrain.runs.results import TrialResult


@dataclass(frozen=True)
class Sample:
    """The test accuracies of a configuration.

    Attributes:
        accuracies: Accuracy of each seed.
        correct: (seeds, N) bool, whether each seed is right on each image; None where predictions are missing, or are
            of different images.
        dataset: What decides which test images there are, such as `DataKey.of_test_images`.
        labels: Digest of the labels of the test images; None where predictions are missing.
    """

    accuracies: list[float]
    correct: NDArray[np.bool_] | None
    dataset: object
    labels: bytes | None = None

    @classmethod
    def of(
        cls, group: Sequence[TrialResult], predictions: Mapping[str, Predictions], *, dataset: object = None
    ) -> Self:
        """Return the sample of the seeds of a configuration.

        Args:
            group: Results of the seeds.
            predictions: Test predictions by trial id; some may be missing.
            dataset: What decides which test images there are; None for what the recipe says.
        """
        accuracies = [result.test_accuracy for result in group if result.test_accuracy is not None]
        seen = [predictions[result.trial].correct for result in group if result.trial in predictions]
        whole = seen and len(seen) == len(accuracies) and len({one.shape for one in seen}) == 1
        labels = next((predictions[result.trial].labels for result in group if result.trial in predictions), None)
        return cls(
            accuracies,
            np.stack(seen) if whole else None,
            DataKey.of_test_images(group[0].recipe) if dataset is None else dataset,
            None if labels is None else hashlib.sha256(labels.tobytes()).digest(),
        )

    def on_the_same_images(self, other: "Sample") -> bool:
        """Return whether both were tested on the same images, as far as that is known."""
        apart = self.labels is not None and other.labels is not None and self.labels != other.labels
        return self.dataset == other.dataset and not apart

    @cached_property
    def floor(self) -> float:
        """Least variance over seeds; 0 where it is not known."""
        return variance_floor(self.correct) if self.correct is not None and len(self.correct) > 1 else 0.0

    def interval(self) -> Interval | None:
        """Return the 95 % interval of the mean: over seeds and images, with one seed over images.

        None if it is unknown: without predictions, seeds that agree by chance would give an interval without width.
        """
        if len(self.accuracies) > 1:
            if self.correct is not None:
                return accuracy_interval(self.accuracies, self.correct)
            if len(set(self.accuracies)) == 1:
                return None
            whole = mean_interval(self.accuracies)
            return Interval(max(0.0, whole.low), min(1.0, whole.high))  # no accuracy lies beyond
        if self.correct is None or not self.accuracies:
            return None
        return wilson(int(self.correct.sum()), self.correct.shape[1])


def compare(one: Sample, other: Sample) -> float:
    """Return the p-value of two finished configurations: over seeds where one has several, else over the images."""
    if not one.on_the_same_images(other):
        return 1.0  # other images: nothing compares them
    fewer, more = sorted((one, other), key=lambda sample: len(sample.accuracies))
    if len(fewer.accuracies) > 1:
        return welch(one.accuracies, other.accuracies, floors=(one.floor, other.floor))
    if len(more.accuracies) > 1:
        return one_against_several(fewer.accuracies[0], more.accuracies, floor=more.floor)
    if one.correct is None or other.correct is None or one.correct.shape != other.correct.shape:
        return 1.0  # other test sets, or none on record: nothing pairs them, so nothing tells them apart
    return mcnemar(one.correct[0], other.correct[0])


def comparing(samples: Sequence[Sample]) -> Callable[[int, int], float]:
    """Return what compares two of some finished configurations, by their places, as `compare` does.

    Where each has one seed and all have the same test images, the pairs are counted together: 200 have 19,900.
    """
    seen = [sample.correct[0] for sample in samples if sample.correct is not None and len(sample.accuracies) == 1]
    alike = len(seen) == len(samples) and all(sample.on_the_same_images(samples[0]) for sample in samples)
    if not seen or not alike or len({one.shape for one in seen}) > 1:
        return lambda one, other: compare(samples[one], samples[other])
    table: list[list[float]] = mcnemar_of_all(np.stack(seen)).tolist()
    return lambda one, other: table[one][other]


def count_test_sets(samples: Iterable[Sample]) -> int:
    """Return the number of different sets of test images; only samples of the same set are compared."""
    found: list[Sample] = []
    for sample in samples:
        if not any(sample.on_the_same_images(one) for one in found):
            found.append(sample)
    return len(found)


Seen = tuple[float, NDArray[np.bool_] | None]
"""What a trained network reaches: its test accuracy, and whether it is right on each image, (N,) bool, if on record."""


def by_seed(results: Iterable[TrialResult], predictions: Mapping[str, Predictions]) -> dict[int, Seen]:
    """Return what each seed of a configuration reaches, by seed, of those that have finished."""
    return {
        result.recipe["seed"]: (result.test_accuracy, seen.correct if (seen := predictions.get(result.trial)) else None)
        for result in results
        if result.test_accuracy is not None
    }


def paired_differences(one: Mapping[int, Seen], other: Mapping[int, Seen], *, seeds: Sequence[int]) -> Differences:
    """Return the test accuracies of one configuration minus those of another, seed by seed.

    Args:
        one: What each seed of the one reaches.
        other: The same of the other, on the same images.
        seeds: Seeds that both have, in the order in which they were trained.
    """
    pairs = [(one[seed], other[seed]) for seed in seeds]
    values = np.array([first - second for (first, _), (second, _) in pairs], float)
    apart = [
        a.astype(np.int8) - b for (_, a), (_, b) in pairs if a is not None and b is not None and a.shape == b.shape
    ]
    whole = apart and len(apart) == len(pairs) and len({one.shape for one in apart}) == 1
    return Differences(values, floors_of(np.stack(apart)) if whole else np.zeros(len(pairs)))
