"""Intervals and tests for metrics other than accuracy, by the bootstrap over test images.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993): the test images are drawn again, with
replacement, and the metric is taken of each drawing. Four differences from its plainest form:

- All networks are measured on the same drawings, so that the difference of two is measured on the same images (the
  paired bootstrap of P. Koehn, EMNLP 2004).
- Balanced accuracy and macro F1 count all classes alike, so each class keeps its number of images, and none can vanish.
- Of n images n - 1 are drawn, and count n / (n - 1) times, because the variance of n would be too small by that factor
  (P. J. McCarthy and C. B. Snowden, Vital and Health Statistics 2 (95), 1985). Of a single image, one is drawn.
- Networks that are all right or all wrong on a few images show no variance there, although other images would show
  some. So `ADDED` images are added to each class (for top-5 accuracy to the whole set) before the drawing, on which a
  coin decides for each network whether it is right. For one network, A. Agresti and B. Coull, The American Statistician
  52 (1998), add four. For two, this adds half an image to each of the four cells of their table, as A. Agresti and Y.
  Min, Statistics in Medicine 24 (2005), do.

Only the variances are taken from it; p-values are those of the normal distribution with that variance.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from raytrain.analysis.statistics.p_values import LEAST
from raytrain.analysis.statistics.significance import CONFIDENCE, Interval, mean_interval, one_against_several, welch
from raytrain.metrics.class_metrics import BINS, TOP, calibration_bins
from raytrain.metrics.predictions import Predictions
from raytrain.metrics.selection import SELECTIONS, Select

DRAWINGS = 1000
"""Number of times that the test images are drawn again: the standard error of a deviation is then 2 %."""
BY_CLASS: frozenset[Select] = frozenset({"balanced_accuracy", "macro_f1"})
"""Metrics that count all classes alike, whatever their numbers of images."""
ADDED = 2
"""Images that are added to each class before the drawing, on which a coin decides whether a network is right."""
ROUNDING = 1e-6
"""Deviations below this one come from the rounding of sums of float32."""
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
    by_class = select in BY_CLASS
    strata = labels if by_class else np.zeros_like(labels)
    added = ADDED if by_class or select == "top5_accuracy" else 0  # losses and probabilities vary by themselves
    coins = [np.random.default_rng([zlib.crc32(one.predicted.tobytes()), at]) for at, one in enumerate(networks)]
    _, stratum_of, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    weights = sizes / drawn_of(sizes)
    parts: list[NDArray[np.float64]] = []
    for counts, more in drawn_counts(strata, drawings, added=added):
        counts *= weights[stratum_of].astype(np.float32)
        right = [coin.binomial(more, 0.5) * weights for coin in coins]
        pairs = zip(networks, right, strict=True)
        parts.append(np.stack([_metric(one, select, counts, of_added, more * weights) for one, of_added in pairs]))
    return np.concatenate(parts, axis=1)


def drawn_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many images are drawn of strata of these sizes."""
    return np.maximum(sizes - 1, 1)


def drawn_counts(
    strata: NDArray[np.int64], drawings: int, *, added: int = 0
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield how often each image is drawn, (some drawings, N), and how often an added one, (some drawings, strata).

    Of each stratum `drawn_of` images are drawn, the added ones among them.

    Args:
        strata: Stratum of each image, (N,), such as its class.
        drawings: Number of drawings in all.
        added: Number of images that are added to each stratum.
    """
    draw = np.random.default_rng(0)
    rows_of = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    step = max(1, AT_ONCE // len(strata))
    for first in range(0, drawings, step):
        some = min(step, drawings - first)
        counts = np.empty((some, len(strata)), dtype=np.float32)
        more = np.empty((some, len(rows_of)), dtype=np.int64)
        for index, rows in enumerate(rows_of):
            whole, drawn = len(rows) + added, int(drawn_of(np.array(len(rows))))
            chosen = draw.integers(0, whole, (some, drawn)) + whole * np.arange(some)[:, None]
            often = np.bincount(chosen.ravel(), minlength=some * whole).reshape(some, -1)
            counts[:, rows], more[:, index] = often[:, : len(rows)], often[:, len(rows) :].sum(axis=1)
        yield counts, more


def _metric(
    one: Predictions,
    select: Select,
    counts: NDArray[np.float32],
    added_right: NDArray[np.float64],
    added: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a metric on drawings, (drawings,).

    Args:
        one: Predictions of a network.
        select: The metric.
        counts: How often each image counts, (drawings, N).
        added_right: How often the added images count on which the network is right, (drawings, strata).
        added: How often all added images count, (drawings, strata).
    """
    if select == "nll":
        assert one.losses is not None, "`replicates` has looked"
        return (counts @ one.losses).astype(np.float64) / len(one.labels)
    if select == "top5_accuracy":
        assert one.ranks is not None, "`replicates` has looked"
        seen = (counts @ (one.ranks < TOP).astype(np.float32)).astype(np.float64)
        return (seen + added_right[:, 0]) / len(one.labels)
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
    known = np.flatnonzero(images)
    right[:, known] += added_right
    if select == "balanced_accuracy":
        return (right[:, known] / images[known]).mean(axis=1)
    both = images + table @ (predicted[:, None] == np.arange(classes))
    # an added image on which the network is wrong is predicted as each other class alike
    wrong = added - added_right
    elsewhere = (wrong.sum(axis=1, keepdims=True) - wrong) / max(len(known) - 1, 1)
    both[:, known] += added_right + elsewhere
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
        labels: Labels of the test images; None where predictions are missing.
    """

    values: Sequence[float]
    replicates: NDArray[np.float64] | None
    data: object
    most: float = 1.0
    labels: bytes | None = None

    def on_the_same_images(self, other: "MetricSample") -> bool:
        """Return whether both were measured on the same images, as far as that is known."""
        apart = self.labels is not None and other.labels is not None and self.labels != other.labels
        return self.data == other.data and not apart

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
        """Return the 95 % interval of the mean: over seeds and images, with one seed over images.

        None if it is unknown: an interval without width would say that nothing can vary.
        """
        spread = None if self.replicates is None else np.var(self.replicates, axis=1, ddof=1)
        if len(self.values) > 1:
            images = 0.0 if spread is None else max(0.0, float(spread.mean()) - self.floor)
            return self._possible(mean_interval(self.values, floor=self.floor, images=images))
        if spread is None or not self.values:
            return None
        half = float(special.ndtri((1 + CONFIDENCE) / 2)) * float(np.sqrt(spread[0]))
        return self._possible(Interval(self.values[0] - half, self.values[0] + half))

    def _possible(self, interval: Interval) -> Interval | None:
        """Return the part of an interval in which the metric can lie; None of an interval without width."""
        if interval.high - interval.low < ROUNDING:
            return None
        return Interval(max(0.0, interval.low), min(self.most, interval.high))

    def p_value(self, other: "MetricSample") -> float:
        """Return the p-value that two configurations are equal: over seeds where one has several, else over images."""
        if not self.on_the_same_images(other) or not self.values or not other.values:
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
        return max(LEAST, 2 * float(special.ndtr(-distance / deviation))) if deviation > ROUNDING else 1.0


def metric_samples(
    values: Sequence[Mapping[str, float]],
    predictions: Mapping[str, Predictions],
    select: Select,
    data: Sequence[object],
) -> list[MetricSample]:
    """Return the samples of configurations.

    Args:
        values: The metric by trial, of each configuration's seeds; of none where one lacks it.
        predictions: Test predictions by trial; some may be missing.
        select: Metric, other than accuracy.
        data: What decides on the test images of each configuration.
    """
    samples: list[MetricSample] = []
    most = float("inf") if SELECTIONS[select].in_nats else 1.0
    for trials, key in zip(values, data, strict=True):
        seen = [predictions[trial] for trial in trials if trial in predictions]
        drawn = replicates(seen, select) if seen and len(seen) == len(trials) else None
        labels = seen[0].labels.tobytes() if seen else None
        samples.append(MetricSample(list(trials.values()), drawn, key, most, labels))
    return samples
