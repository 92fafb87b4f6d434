"""Whether two configurations differ, seed by seed and image by image, by the metric that decides in both."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raytrain.analysis.standing import Standing
from raytrain.analysis.statistics.bootstrap import MetricSample, metric_samples
from raytrain.analysis.statistics.sample import Sample, by_seed, compare, paired_differences
from raytrain.analysis.statistics.significance import paired_t
from raytrain.errors import counted
from raytrain.metrics.means import mean_over_seeds
from raytrain.metrics.predictions import Predictions
from raytrain.metrics.selection import SELECTIONS, Select, select_of

SAME_IMAGES = "the same"
"""What decides on the test images of both: their fingerprints are equal, however the data set is written."""


@dataclass(frozen=True)
class Compared:
    """What a metric of two configurations shows.

    Attributes:
        metric: The metric that was compared.
        first: Its mean over the seeds of the first.
        second: The same of the second.
        p_value: P-value that the two are equally good; None where nothing compares them.
        test: The test, in words, or why there is none.
    """

    metric: Select
    first: float
    second: float
    p_value: float | None
    test: str


Tested = tuple[Standing, Mapping[str, Predictions]]
"""A configuration that has finished, and the test predictions of the trials of its run; some may be missing."""


def compared(first: Tested, second: Tested) -> Compared:
    """Return what tells two configurations apart that were tested on the same images.

    The metric is the one that `select` names, as in the ranked table, if it is the same in both recipes and known of
    all seeds. Otherwise accuracy is compared, and the words say why.
    """
    one, other = select_of(first[0].results[0].recipe), select_of(second[0].results[0].recipe)
    if one != other:
        return _by_accuracy(first, second, why=f"select is {one} in the first and {other} in the second")
    if one == "accuracy":
        return _by_accuracy(first, second)
    return _by_metric(first, second, one) or _by_accuracy(
        first, second, why=f"what {SELECTIONS[one].words} needs is not on record"
    )


def accuracies(first: Standing, second: Standing, *, why_not: str) -> Compared:
    """Return the accuracies of two configurations that nothing compares, with the reason in words."""
    return Compared("accuracy", first.test_accuracy or 0.0, second.test_accuracy or 0.0, None, why_not)


def _by_accuracy(first: Tested, second: Tested, *, why: str = "") -> Compared:
    p_value, test = _accuracy_test(first, second)
    said = f"{test}; of accuracy, because {why}" if why else test
    return Compared("accuracy", first[0].test_accuracy or 0.0, second[0].test_accuracy or 0.0, p_value, said)


def _accuracy_test(first: Tested, second: Tested) -> tuple[float | None, str]:
    samples = [Sample.of(standing.results, seen, dataset=SAME_IMAGES) for standing, seen in (first, second)]
    counts = [len(sample.accuracies) for sample in samples]
    reached = [by_seed(standing.results, seen) for standing, seen in (first, second)]
    if min(counts) > 1 and reached[0].keys() == reached[1].keys() and len(reached[0]) == min(counts):
        paired = paired_differences(*reached, seeds=sorted(reached[0]))
        return paired_t(paired.values.tolist(), floor=float(paired.floors[-1])), _over_seeds(*counts, paired=True)
    if max(counts) > 1:
        return compare(*samples), _over_seeds(*counts)
    correct = [sample.correct for sample in samples]
    if correct[0] is None or correct[1] is None or correct[0].shape != correct[1].shape:
        return None, "not compared: predictions are missing"
    return compare(*samples), f"McNemar's, paired on {counted(correct[0].shape[1], 'test image')}"


def _by_metric(first: Tested, second: Tested, select: Select) -> Compared | None:
    """Return what a metric other than accuracy shows; None where it cannot be measured of a seed."""
    one, other = _sample(*first, select), _sample(*second, select)
    if one is None or other is None or one.replicates is None or other.replicates is None:
        return None
    if not one.on_the_same_images(other):
        return None
    counts = len(one.values), len(other.values)
    seeds = [sorted(result.recipe["seed"] for result in standing.results) for standing, _ in (first, second)]
    if min(counts) > 1 and seeds[0] == seeds[1]:
        differences = [value - there for value, there in zip(one.values, other.values, strict=True)]
        paired = MetricSample(differences, one.replicates - other.replicates, one.data)
        p_value, test = paired_t(differences, floor=paired.floor), _over_seeds(*counts, paired=True)
    elif max(counts) > 1:
        p_value, test = one.p_value(other), _over_seeds(*counts)
    else:
        images = len(first[1][first[0].results[0].trial].labels)
        p_value, test = one.p_value(other), f"the bootstrap, paired on {counted(images, 'test image')}"
    return Compared(select, mean_over_seeds(one.values), mean_over_seeds(other.values), p_value, test)


def _sample(standing: Standing, predictions: Mapping[str, Predictions], select: Select) -> MetricSample | None:
    """Return a metric of the seeds of a configuration, in the order of the seeds; None where one lacks it."""
    known = {result.trial: standing.of_seed(index, select) for index, result in enumerate(standing.results)}
    in_order = sorted(standing.results, key=lambda result: result.recipe["seed"])
    values = {one.trial: value for one in in_order if (value := known[one.trial]) is not None}
    if len(values) < len(known) or not np.isfinite(list(values.values())).all():
        return None
    return metric_samples([values], predictions, select, [SAME_IMAGES])[0]


def _over_seeds(first: int, second: int, *, paired: bool = False) -> str:
    fewer, more = sorted((first, second))
    if paired:
        return f"Student's t over {fewer} paired seeds"
    if fewer > 1:
        return f"Welch's over {first} and {second} seeds"
    return f"one seed against {more}, by Student's t"
