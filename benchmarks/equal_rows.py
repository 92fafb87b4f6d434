"""Rows of a table that are all equally good: accuracies and predictions of networks, drawn from one distribution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytrain.analysis.statistics.bootstrap import MetricSample, metric_samples
from raytrain.analysis.statistics.sample import Sample
from raytrain.metrics.predictions import Predictions, metrics_of
from raytrain.metrics.selection import Select

ACCURACY = 0.95
MOST_UNCERTAIN = 0.1
"""Largest share of the test images that are right or wrong by chance."""
RIGHT = 0.9
"""Probability with which networks of another metric are right on an image."""


@dataclass(frozen=True)
class Rows:
    """Equal configurations.

    Attributes:
        samples: Of each, on one test set.
        truth: Accuracy of each on all images, the mean over all seeds.
        networks: Accuracy on all images of each trained network, by configuration.
    """

    samples: list[Sample]
    truth: float
    networks: list[NDArray[np.float64]]


def uncertain_share(noise: float, images: int) -> float:
    """Return the share of images right with probability 1/2 that gives half of the variance over seeds."""
    return min(4 * images * noise**2 / 2, MOST_UNCERTAIN)


def on_grid(
    seeds: Sequence[int], noise: float, images: int, draw: np.random.Generator, *, accuracy: float | None = None
) -> Rows:
    """Return equal configurations, each with its number of seeds, whose accuracies are shares of the test images.

    `ACCURACY` is the accuracy on the images that are not right or wrong by chance. Instead, `accuracy` gives that on
    all images. Then at most half of the errors come by chance.
    """
    share, sure_accuracy = uncertain_share(noise, images), ACCURACY
    if accuracy is not None:
        share = min(share, 1 - accuracy)
        sure_accuracy = (accuracy - share / 2) / (1 - share)
    uncertain = draw.binomial(images, share)
    sure = draw.binomial(images - uncertain, sure_accuracy)
    together = np.sqrt(max(noise**2 - share / 4 / images, 0.0))
    truth = (1 - share) * sure_accuracy + share / 2
    samples: list[Sample] = []
    networks: list[NDArray[np.float64]] = []
    for count in seeds:
        correct = np.zeros((count, images), dtype=bool)
        correct[:, uncertain : uncertain + sure] = True
        moved = 0.5 + draw.normal(0, together, (count, 1)) / max(share, 1 / images)
        correct[:, :uncertain] = draw.random((count, uncertain), dtype=np.float32) < moved
        samples.append(Sample(correct.mean(axis=1).tolist(), correct, ("simulated", 0.0)))
        networks.append(truth + share * (moved[:, 0].clip(0, 1) - 0.5))
    return Rows(samples, truth, networks)


def continuous(seeds: Sequence[int], noise: float, draw: np.random.Generator) -> Rows:
    """Return equal configurations without predictions."""
    values = [draw.normal(ACCURACY, noise, count) for count in seeds]
    return Rows([Sample(one.tolist(), None, ("simulated", 0.0)) for one in values], ACCURACY, values)


def on_classes(select: Select, rarest: int, seeds: int, draw: np.random.Generator, *, count: int) -> list[MetricSample]:
    """Return equal configurations on one test set whose classes have 60, 60 and few images."""
    labels = np.repeat([0, 1, 2], [60, 60, rarest])
    sure, right_where_sure = draw.random(len(labels)) < 0.5, draw.random(len(labels)) < RIGHT
    scores: list[dict[str, float]] = []
    seen: dict[str, Predictions] = {}
    for row in range(count):
        names = [f"{row}-{seed}" for seed in range(seeds)]
        for name in names:
            right = np.where(sure, right_where_sure, draw.random(len(labels)) < RIGHT)
            predicted = np.where(right, labels, (labels + draw.integers(1, 3, len(labels))) % 3)
            seen[name] = Predictions(labels, predicted, np.ones(len(labels), dtype=np.float32))
        scores.append({name: getattr(metrics_of(seen[name]), select) for name in names})
    return metric_samples(scores, seen, select, ["simulated"] * len(scores))
