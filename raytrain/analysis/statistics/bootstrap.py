"""Intervals and tests for metrics other than accuracy, by the bootstrap over test images.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993): the test images are drawn again, with
replacement, and the metric is taken of each drawing. Two differences from its plainest form: each class keeps its
number of images, so that none can vanish; and all networks are measured on the same drawings, so that the difference of
two is measured on the same images (the paired bootstrap of P. Koehn, EMNLP 2004). Only the variances are taken from it;
p-values are those of the normal distribution with that variance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raytrain.analysis.statistics.significance import CONFIDENCE, Interval, mean_interval, one_against_several, welch
from raytrain.metrics.class_metrics import BINS, TOP, calibration_bins
from raytrain.metrics.predictions import Predictions
from raytrain.metrics.selection import SELECTIONS, Select

DRAWINGS = 1000
"""Number of times that the test images are drawn again: the standard error of a deviation is then 2 %."""
AT_ONCE = 4_000_000
"""Images times drawings that are held in memory at once."""


def replicates(
    networks: Sequence[Predictions], select: Select, *, drawings: int = DRAWINGS
) -> NDArray[np.float64] | None:
    """Return a metric of each network on each drawing, (networks, drawings); None where it cannot be measured.

    The same number of images and of drawings gives the same drawings, whichever networks are asked for.

    Args:
        networks: Predictions for the same test images, at least one.
        select: Metric, other than accuracy.
        drawings: Number of drawings.
    """
    labels = networks[0].labels
    if any(not np.array_equal(labels, one.labels) for one in networks[1:]) or not len(labels):
        return None
    needed = {"nll": "losses", "top5_accuracy": "ranks"}.get(select)  # older versions did not store them
    if needed and any(getattr(one, needed) is None for one in networks):
        return None
    parts = [np.stack([_metric(one, select, counts) for one in networks]) for counts in drawn_counts(labels, drawings)]
    return np.concatenate(parts, axis=1)


def drawn_counts(labels: NDArray[np.int64], drawings: int) -> Iterator[NDArray[np.float32]]:
    """Yield how often each image is drawn, (some drawings, N): of each class as many images as it has.

    Args:
        labels: True classes, (N,).
        drawings: Number of drawings in all.
    """
    draw = np.random.default_rng(0)
    rows_of = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    step = max(1, AT_ONCE // len(labels))
    for first in range(0, drawings, step):
        some = min(step, drawings - first)
        counts = np.empty((some, len(labels)), dtype=np.float32)
        for rows in rows_of:
            chosen = draw.integers(0, len(rows), (some, len(rows))) + len(rows) * np.arange(some)[:, None]
            counts[:, rows] = np.bincount(chosen.ravel(), minlength=some * len(rows)).reshape(some, -1)
        yield counts


def _metric(one: Predictions, select: Select, counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a metric on drawings, (drawings,).

    Args:
        one: Predictions of a network.
        select: The metric.
        counts: How often each image is drawn, (drawings, N).
    """
    if select == "nll":
        assert one.losses is not None, "`replicates` has looked"
        return (counts @ one.losses).astype(np.float64) / len(one.labels)
    if select == "top5_accuracy":
        assert one.ranks is not None, "`replicates` has looked"
        return (counts @ (one.ranks < TOP).astype(np.float32)).astype(np.float64) / len(one.labels)
    if select == "ece":
        bins = calibration_bins(one.probabilities)[:, None] == np.arange(BINS)
        gaps = bins * (one.probabilities.astype(np.float64) - one.correct)[:, None]
        return np.abs(counts @ gaps).sum(axis=1) / len(one.labels)
    classes = 1 + int(max(one.labels.max(), one.predicted.max()))
    cells, cell_of = np.unique(one.labels * classes + one.predicted, return_inverse=True)
    order = np.argsort(cell_of, kind="stable")
    starts = np.searchsorted(cell_of[order], np.arange(len(cells)))
    table = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)  # (drawings, cells that occur)
    label, predicted = np.divmod(cells, classes)
    right = np.zeros((len(counts), classes))
    right[:, label[label == predicted]] = table[:, label == predicted]
    images = np.bincount(one.labels, minlength=classes)  # the same in each drawing
    if select == "balanced_accuracy":
        return (right[:, images > 0] / images[images > 0]).mean(axis=1)
    both = images + table @ (predicted[:, None] == np.arange(classes))
    scores = np.divide(2 * right, both, out=np.full_like(right, np.nan), where=both > 0)
    return np.nanmean(scores, axis=1)


@dataclass(frozen=True)
class MetricSample:
    """A metric other than accuracy, of the seeds of one configuration.

    Attributes:
        values: The metric of each seed on the test images.
        replicates: The metric of each seed on each drawing, (seeds, drawings); None where it cannot be measured.
        data: What decides on the test images: samples with other data are not compared.
        most: Largest value of the metric.
    """

    values: Sequence[float]
    replicates: NDArray[np.float64] | None
    data: object
    most: float = 1.0

    @cached_property
    def floor(self) -> float:
        """Least variance over seeds, from the images on which the seeds differ; 0 where it is not known.

        For accuracy this is about `statistics.variance_floor`: half the variance of the difference of two seeds.
        """
        if self.replicates is None or len(self.values) < 2:
            return 0.0
        apart = self.replicates - self.replicates.mean(axis=1, keepdims=True)
        return float(np.var(apart, axis=0, ddof=1).mean())

    def interval(self) -> Interval | None:
        """Return the 95 % interval of the mean: over seeds and images, with one seed over images; None if unknown."""
        spread = None if self.replicates is None else np.var(self.replicates, axis=1, ddof=1)
        if len(self.values) > 1:
            images = 0.0 if spread is None else max(0.0, float(spread.mean()) - self.floor)
            return self._possible(mean_interval(self.values, floor=self.floor, images=images))
        if spread is None or not self.values:
            return None
        half = float(special.ndtri((1 + CONFIDENCE) / 2)) * float(np.sqrt(spread[0]))
        return self._possible(Interval(self.values[0] - half, self.values[0] + half))

    def _possible(self, interval: Interval) -> Interval:
        """Return the part of an interval in which the metric can lie."""
        return Interval(max(0.0, interval.low), min(self.most, interval.high))

    def p_value(self, other: "MetricSample") -> float:
        """Return the p-value that two configurations are equal: over seeds where one has several, else over images."""
        if self.data != other.data or not self.values or not other.values:
            return 1.0
        fewer, more = sorted((self, other), key=lambda sample: len(sample.values))
        if len(fewer.values) > 1:
            return welch(self.values, other.values, floors=(self.floor, other.floor))
        if len(more.values) > 1:
            return one_against_several(fewer.values[0], more.values, floor=more.floor)
        if self.replicates is None or other.replicates is None or self.values[0] == other.values[0]:
            return 1.0
        deviation = float(np.std(self.replicates[0] - other.replicates[0], ddof=1))
        distance = abs(self.values[0] - other.values[0])
        return 2 * float(special.ndtr(-distance / deviation)) if deviation else 0.0


def metric_samples(
    values: Sequence[Mapping[str, float]],
    predictions: Mapping[str, Predictions],
    select: Select,
    data: Sequence[object],
) -> list[MetricSample]:
    """Return the samples of configurations.

    Args:
        values: The metric by trial, of each configuration's seeds.
        predictions: Test predictions by trial; some may be missing.
        select: Metric, other than accuracy.
        data: What decides on the test images of each configuration.
    """
    samples: list[MetricSample] = []
    most = float("inf") if SELECTIONS[select].in_nats else 1.0
    for trials, key in zip(values, data, strict=True):
        seen = [predictions[trial] for trial in trials if trial in predictions]
        drawn = replicates(seen, select) if seen and len(seen) == len(trials) else None
        labels = seen[0].labels.tobytes() if drawn is not None else None
        samples.append(MetricSample(list(trials.values()), drawn, (key, labels), most))
    return samples
