"""The smallest difference in accuracy that a run can show: by its seeds, or with one seed by its test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

import numpy as np

from raytrain.analysis.statistics.power import resolvable_gap, resolvable_gap_of_images, seeds_for
from raytrain.analysis.statistics.sample import Sample
from raytrain.analysis.statistics.significance import ALPHA

REFERENCE_GAP = 0.002
"""Difference in accuracy, a fraction, for which the needed number of seeds is computed."""


@dataclass(frozen=True)
class SeedResolution:
    """The difference in accuracy that the seeds can show.

    Attributes:
        deviation: Standard deviation of test accuracy over seeds, pooled over the configurations, a fraction.
        seeds: Lowest number of seeds of any configuration.
        gap: Difference in accuracy that a test finds with the probability `statistics.POWER`, a fraction.
        needed: Number of seeds needed to find `REFERENCE_GAP`; None if more than `statistics.MOST_SEEDS`.
    """

    deviation: float
    seeds: int
    gap: float
    needed: int | None


@dataclass(frozen=True)
class ImageResolution:
    """The difference in accuracy between two trained networks that the test images can show.

    Attributes:
        images: Number of test images.
        gap: Difference in accuracy that a test finds with the probability `statistics.POWER`, a fraction.
    """

    images: int
    gap: float


def resolution_of(samples: Sequence[Sample]) -> SeedResolution | ImageResolution | None:
    """Return the difference that some configurations' seeds, or else the test images, can show; None if unknown."""
    if len(samples) < 2:
        return None
    if all(len(sample.accuracies) > 1 for sample in samples):
        return _of_seeds(samples)
    return _of_images(samples)


def _of_seeds(samples: Sequence[Sample]) -> SeedResolution | None:
    """Return which gap this number of seeds resolves, from the spread that the configurations show."""
    variances = [max(float(np.var(sample.accuracies, ddof=1)), sample.floor) for sample in samples]
    freedom = [len(sample.accuracies) - 1 for sample in samples]
    deviation = sqrt(sum(v * f for v, f in zip(variances, freedom, strict=True)) / sum(freedom))
    if not deviation:
        return None
    alpha, fewest = ALPHA / _pairs(samples), min(len(sample.accuracies) for sample in samples)
    gap = resolvable_gap(deviation, fewest, alpha=alpha)
    return SeedResolution(deviation, fewest, gap, seeds_for(REFERENCE_GAP, deviation, alpha=alpha))


def _of_images(samples: Sequence[Sample]) -> ImageResolution | None:
    """Return which gap the test images resolve, from how often networks disagree on who is right."""
    seen = [sample.correct[0] for sample in samples if sample.correct is not None]
    if len(seen) < 2 or len({one.shape for one in seen}) > 1:
        return None
    # what two networks disagree on beyond the difference of their accuracies
    disagreement = median(
        float((seen[0] != other).mean()) - abs(float(seen[0].mean() - other.mean())) for other in seen[1:]
    )
    gap = resolvable_gap_of_images(disagreement, len(seen[0]), alpha=ALPHA / _pairs(seen))
    return None if gap is None else ImageResolution(len(seen[0]), gap)


def _pairs(of: Sequence[object]) -> int:
    return len(of) * (len(of) - 1) // 2
