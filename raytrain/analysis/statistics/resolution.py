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
        gap: Difference in accuracy that a test finds with the probability `statistics.POWER`, a fraction; 1 or more
            where it finds none.
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
    """Return the difference that some configurations' seeds, or with one seed the test images, can show.

    Args:
        samples: All configurations that are compared in pairs, the best first. Those that were tested on other images
            than the first are left out; they count as pairs all the same, for which the tests are corrected.

    Returns:
        The difference; None if it is unknown, or if only some configurations have several seeds: then their pairs have
        different tests.
    """
    alike = [sample for sample in samples if sample.on_the_same_images(samples[0])]
    if len(alike) < 2:
        return None
    alpha = ALPHA / (len(samples) * (len(samples) - 1) // 2)
    if all(len(sample.accuracies) > 1 for sample in alike):
        return _of_seeds(alike, alpha=alpha)
    if all(len(sample.accuracies) == 1 for sample in alike):
        return _of_images(alike, alpha=alpha)
    return None


def _of_seeds(samples: Sequence[Sample], *, alpha: float) -> SeedResolution | None:
    """Return which gap this number of seeds resolves, from the spread that the configurations show."""
    variances = [max(float(np.var(sample.accuracies, ddof=1)), sample.floor) for sample in samples]
    freedom = [len(sample.accuracies) - 1 for sample in samples]
    deviation = sqrt(sum(v * f for v, f in zip(variances, freedom, strict=True)) / sum(freedom))
    if not deviation:
        return None
    fewest = min(len(sample.accuracies) for sample in samples)
    gap = resolvable_gap(deviation, fewest, alpha=alpha)
    return SeedResolution(deviation, fewest, gap, seeds_for(REFERENCE_GAP, deviation, alpha=alpha))


def _of_images(samples: Sequence[Sample], *, alpha: float) -> ImageResolution | None:
    """Return which gap the test images resolve, from how often networks disagree on who is right."""
    seen = [sample.correct[0] for sample in samples if sample.correct is not None]
    if len(seen) < 2 or len({one.shape for one in seen}) > 1:
        return None
    # what two networks disagree on beyond the difference of their accuracies: in images, which are whole numbers
    beyond = [int((seen[0] != other).sum()) - abs(int(seen[0].sum()) - int(other.sum())) for other in seen[1:]]
    disagreement = median(beyond) / len(seen[0])
    gap = resolvable_gap_of_images(disagreement, len(seen[0]), alpha=alpha)
    return None if gap is None else ImageResolution(len(seen[0]), gap)
