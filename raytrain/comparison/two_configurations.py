"""Whether two configurations differ, seed by seed and image by image, by the metric that decides in both."""

from collections.abc import Collection, Mapping, Sequence
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
FEWEST_OF_SOME = 7
"""Fewest pairs of seeds that are compared where a side has other seeds too."""
SHARE_OF_SOME = 70
"""Least share of its seeds, in per cent, that the side with more has in pairs, where a side has other seeds too."""


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
    if shared := _worth_pairing(*reached):
        paired = paired_differences(*reached, seeds=shared)
        differences: list[float] = paired.values.tolist()
        said = _over_pairs(differences, *counts, in_nats=False)
        return paired_t(differences, floor=float(paired.floors[-1])), said
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
    if shared := _worth_pairing(*seeds):
        rows = [[of_side.index(seed) for seed in shared] for of_side in seeds]
        differences = [one.values[here] - other.values[there] for here, there in zip(*rows, strict=True)]
        paired = MetricSample(differences, one.replicates[rows[0]] - other.replicates[rows[1]], one.data)
        said = _over_pairs(differences, *counts, in_nats=SELECTIONS[select].in_nats)
        p_value, test = paired_t(differences, floor=paired.floor), said
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


def _worth_pairing(first: Collection[int], second: Collection[int]) -> list[int]:
    """Return the seeds by whose differences two configurations are compared; none where Welch's test sees more.

    Pairs take the variance off that both sides share, but leave the other seeds out, and k pairs have k - 1 degrees of
    freedom: two pairs must differ by 12.7 standard errors, while Welch's test over 3 and 3 seeds has 4 degrees and asks
    for 2.8. So all seeds must be shared, or so many that the degrees hardly matter: `FEWEST_OF_SOME`, and
    `SHARE_OF_SOME` per cent of the side with more. There the two tests see about as much where seeds have a correlation
    of 0.5, as those of similar networks have (docs/statistics.md, the bank).
    """
    shared = sorted({*first} & {*second})
    pairs, most = len(shared), max(len(first), len(second))
    if pairs == len(first) == len(second):
        return shared if pairs > 1 else []
    return shared if pairs >= FEWEST_OF_SOME and 100 * pairs >= SHARE_OF_SOME * most else []


def _over_pairs(differences: Sequence[float], first: int, second: int, *, in_nats: bool) -> str:
    """Return the paired test in words; where it leaves seeds out, how the pairs differ, second minus first."""
    pairs = len(differences)
    if pairs == first == second:
        return f"Student's t over {pairs} paired seeds"
    mean = -mean_over_seeds(differences)
    by = f"{mean:+.4f} nats" if in_nats else f"{100 * mean:+.2f} points"
    return f"Student's t over {pairs} paired seeds of {first} and {second}, which differ by {by}"


def _over_seeds(first: int, second: int) -> str:
    fewer, more = sorted((first, second))
    if fewer > 1:
        return f"Welch's over {first} and {second} seeds"
    return f"one seed against {more}, by Student's t"
