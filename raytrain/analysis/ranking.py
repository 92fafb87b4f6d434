"""Who is ahead, and how sure that is: configurations ranked by test accuracy, those that cannot be told apart together.

A configuration is a recipe whatever its seed. With several seeds of each, intervals and tests speak of seeds; with one,
of the test images only, and the sentences that come along say so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, median, variance
from typing import Any

from raytrain.analysis.baselines import Baseline, BaselineRow
from raytrain.analysis.statistics import (
    ALPHA,
    Interval,
    mcnemar,
    mean_interval,
    pairwise,
    resolvable_gap,
    resolvable_gap_of_images,
    seeds_for,
    shared_ranks,
    welch,
    wilson,
)
from raytrain.errors import ExperimentError
from raytrain.runs.results import (
    Status,
    TrialResult,
    configurations,
    ranked,
    run_of,
)
from raytrain.training.predictions import Predictions

DASH = "–"
REFERENCE_GAP = 0.002
"""Difference in accuracy, a fraction, for which the needed number of seeds is computed."""
MOST_COMPARED = 200
"""Most configurations that are compared in pairs; of more, only the best are."""


@dataclass(frozen=True)
class Standing:
    """A configuration among the others.

    Attributes:
        rank: Rank as text, such as "1", "1=" or "3"; a dash for a configuration that did not finish.
        results: Results of its seeds, all of one status.
        test_accuracy: Mean test accuracy over the seeds, a fraction in [0, 1]; None unless finished.
        val_accuracy: Mean validation accuracy over the seeds, a fraction; None without a validation split.
        interval: 95 % interval of `test_accuracy`.
        p_value: P-value of the test that it equals the leader, corrected for all comparisons; None for the leader.
    """

    rank: str
    results: Sequence[TrialResult]
    test_accuracy: float | None = None
    val_accuracy: float | None = None
    interval: Interval | None = None
    p_value: float | None = None

    @property
    def status(self) -> Status:
        """How its trials ended."""
        return self.results[0].status

    @property
    def seeds(self) -> int:
        """Number of seeds that it was trained with."""
        return len(self.results)


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


@dataclass(frozen=True)
class Ranking:
    """All configurations of a run, best first, and what can be said of their order.

    Attributes:
        standings: Finished configurations by test accuracy, then stopped ones, then the rest.
        chosen: Configuration that validation chooses; None if nothing finished or there is no validation split.
        incomplete: Configurations with better validation, not chosen because one of their seeds failed or diverged.
        searched: Number of configurations without a rank from a search whose best were trained again.
        survivors: Number of ranked configurations that have other seeds which were stopped early.
        resolution: Difference that the seeds, or with one seed the test images, can show; None if unknown.
        beside: Rows of a baseline, shown below without a rank.
        notes: Further sentences about the rows.
    """

    standings: list[Standing]
    chosen: Standing | None = None
    incomplete: Sequence[Standing] = ()
    searched: int = 0
    survivors: int = 0
    resolution: SeedResolution | ImageResolution | None = None
    beside: Sequence[BaselineRow] = ()
    notes: Sequence[str] = ()


def rank(results: Iterable[TrialResult], predictions: Mapping[str, Predictions]) -> Ranking:
    """Return the ranking of results.

    Trials that were stopped early are never averaged with finished ones of the same configuration. Once a run has
    confirmed its best configurations on fresh seeds, of that run those trials alone are ranked; its search comes below,
    unranked.

    Args:
        results: Results of all trials.
        predictions: Test predictions by trial id, for finished trials; some may be missing.
    """
    listed = list(results)
    order = {result.trial: index for index, result in enumerate(listed)}
    results = ranked(listed)
    finished = [result for result in results if result.status == "finished"]
    confirmed = {run_of(result) for result in finished if result.phase == "confirm"}
    competing = [result for result in finished if result.phase == "confirm" or run_of(result) not in confirmed]
    groups = configurations(competing)
    groups.sort(key=lambda group: (-_mean(group, "test_accuracy"), -_mean(group, "val_accuracy"), _first(group, order)))
    tested = groups[:MOST_COMPARED]
    p_values = pairwise(len(tested), lambda one, other: _p_value(tested[one], tested[other], predictions))
    ranks = shared_ranks(p_values, len(tested)) + [DASH] * (len(groups) - len(tested))
    standings = [
        _standing(group, rank=rank, predictions=predictions, p_value=p_values.get((0, index)))
        for index, (rank, group) in enumerate(zip(ranks, groups, strict=True))
    ]
    competing_ids = {result.trial for result in competing}
    rest = configurations(result for result in results if result.trial not in competing_ids)
    unranked = [_standing(group, rank=DASH, predictions=predictions) for group in rest]
    chosen, incomplete = _chosen(standings, rest, order)
    return Ranking(
        standings + unranked,
        chosen=chosen,
        incomplete=incomplete,
        searched=sum(run_of(group[0]) in confirmed and group[0].phase == "search" for group in rest),
        survivors=_survivors(groups, rest),
        resolution=_resolution(standings, predictions),
    )


def arranged(ranking: Ranking, *, by: str | None = None, most: int | None = None) -> Ranking:
    """Return the ranking with its rows in another order, or fewer of them; ranks stay what they are.

    Args:
        ranking: The ranking to rearrange.
        by: Recipe field or result to sort by, such as `lr` or `seconds`: lowest first, but the highest accuracy first.
        most: Number of rows to keep; None for all.

    Raises:
        ExperimentError: There is no such field.
    """
    standings = ranking.standings
    if by is not None:
        known = sorted(
            {*vars(standings[0].results[0]), *standings[0].results[0].recipe} - {"recipe"} if standings else ()
        )
        if standings and by not in known:
            raise ExperimentError(f"--sort {by}: unknown field; choose one of {', '.join(known)}")
        standings = sorted(standings, key=lambda standing: _order(standing, by))
    return replace(ranking, standings=standings[:most])


def _order(standing: Standing, name: str) -> tuple[Any, ...]:
    values = [result.recipe[name] if name in result.recipe else getattr(result, name) for result in standing.results]
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return (values[0] is None, 1, str(values[0]))
    return (False, 0, fmean(numbers) * (-1 if name.endswith("accuracy") else 1))


def _standing(
    group: Sequence[TrialResult],
    *,
    rank: str,
    predictions: Mapping[str, Predictions],
    p_value: float | None = None,
) -> Standing:
    test = [result.test_accuracy for result in group if result.test_accuracy is not None]
    val = [result.val_accuracy for result in group if result.val_accuracy is not None]
    interval = None
    if len(test) > 1:
        whole = mean_interval(test)
        interval = Interval(max(0.0, whole.low), min(1.0, whole.high))  # no accuracy lies beyond
    elif test and (seen := predictions.get(group[0].trial)):
        interval = wilson(int(seen.correct.sum()), len(seen.labels))
    return Standing(rank, group, fmean(test) if test else None, fmean(val) if val else None, interval, p_value)


def _mean(group: Sequence[TrialResult], name: str) -> float:
    return fmean(getattr(result, name) or 0.0 for result in group)


def _p_value(one: Sequence[TrialResult], other: Sequence[TrialResult], predictions: Mapping[str, Predictions]) -> float:
    """Return the p-value of two finished configurations: over seeds if both have several, else over the images."""
    if min(len(one), len(other)) > 1:
        return welch([_accuracy(result) for result in one], [_accuracy(result) for result in other])
    first, second = predictions.get(one[0].trial), predictions.get(other[0].trial)
    if first is None or second is None or first.labels.shape != second.labels.shape:
        return 1.0  # other test sets, or none on record: nothing pairs them, so nothing tells them apart
    return mcnemar(first.correct, second.correct)


def _accuracy(result: TrialResult) -> float:
    return result.test_accuracy or 0.0


def _chosen(
    standings: Sequence[Standing], rest: Sequence[Sequence[TrialResult]], order: Mapping[str, int]
) -> tuple[Standing | None, list[Standing]]:
    """Return the configuration that validation chooses, and the incomplete ones that it would have chosen before it.

    The highest mean validation accuracy decides, then the lowest mean validation loss, then the order in which the
    experiment lists them. The test set decides nothing. A configuration of which a seed failed or diverged is not
    chosen before a complete one.
    """
    known = [standing for standing in standings if standing.val_accuracy is not None]
    known.sort(key=lambda one: (-(one.val_accuracy or 0.0), _mean(one.results, "val_loss"), _first(one.results, order)))
    broken = [_without_seed(group[0]) for group in rest if group[0].status in {"failed", "diverged"}]
    complete = [standing for standing in known if _without_seed(standing.results[0]) not in broken]
    if not complete:
        return next(iter(known), None), []
    return complete[0], known[: known.index(complete[0])]


def _first(group: Sequence[TrialResult], order: Mapping[str, int]) -> int:
    return min(order[result.trial] for result in group)


def _without_seed(result: TrialResult) -> dict[str, Any]:
    return {"run": run_of(result)} | {name: value for name, value in result.recipe.items() if name != "seed"}


def _survivors(finished: Sequence[Sequence[TrialResult]], rest: Sequence[Sequence[TrialResult]]) -> int:
    """Return how many configurations are ranked by those of their seeds that were not stopped."""
    stopped = [_without_seed(group[0]) for group in rest if group[0].status == "stopped"]
    return sum(_without_seed(group[0]) in stopped for group in finished)


def _resolution(
    standings: Sequence[Standing], predictions: Mapping[str, Predictions]
) -> SeedResolution | ImageResolution | None:
    if not standings:
        return None
    if all(standing.seeds > 1 for standing in standings):
        return _resolution_of_seeds(standings)
    return _resolution_of_images(standings, predictions)


def _resolution_of_seeds(standings: Sequence[Standing]) -> SeedResolution | None:
    """Return which gap this number of seeds resolves, from the spread that the configurations show."""
    variances = [variance(map(_accuracy, standing.results)) for standing in standings]
    freedom = [standing.seeds - 1 for standing in standings]
    deviation = sqrt(sum(v * f for v, f in zip(variances, freedom, strict=True)) / sum(freedom))
    pairs = len(standings) * (len(standings) - 1) // 2
    if not deviation or not pairs:
        return None
    alpha, fewest = ALPHA / pairs, min(standing.seeds for standing in standings)
    gap = resolvable_gap(deviation, fewest, alpha=alpha)
    return SeedResolution(deviation, fewest, gap, seeds_for(REFERENCE_GAP, deviation, alpha=alpha))


def _resolution_of_images(
    standings: Sequence[Standing], predictions: Mapping[str, Predictions]
) -> ImageResolution | None:
    """Return which gap the test images resolve, from how often trials disagree on who is right."""
    seen = [predictions[one.results[0].trial].correct for one in standings if one.results[0].trial in predictions]
    if len(seen) < 2 or len({one.shape for one in seen}) > 1:
        return None
    disagreement = median(float((seen[0] != other).mean()) for other in seen[1:])
    pairs = len(seen) * (len(seen) - 1) // 2
    if not disagreement:
        return None
    return ImageResolution(len(seen[0]), resolvable_gap_of_images(disagreement, len(seen[0]), alpha=ALPHA / pairs))


def beside(ranking: Ranking, baseline: Baseline) -> Ranking:
    """Return the ranking with a row for each curve of a baseline, at the epoch that the run's longest trial reached.

    They have no rank: one log is one seed, and its protocol is another. A curve that is shorter stands at its end.
    """
    results = [result for standing in ranking.standings for result in standing.results]
    finished = [result.epochs for result in results if result.status == "finished"]
    epoch = max(finished or [result.epochs for result in results], default=0)
    rows: list[BaselineRow] = []
    for curve in baseline.curves:
        tested, trained = curve.at(epoch), curve.at(epoch, "train_accuracy")
        if tested is None and trained is None:
            continue
        at = max(found[0] for found in (tested, trained) if found)
        name, train, test = f"{baseline.name}/{curve.name}", trained and trained[1], tested and tested[1]
        rows.append(BaselineRow(name, curve.arch, at, len(curve.epochs), train, test))
    others = {str(result.recipe["dataset"]) for result in results} - {baseline.dataset}
    elsewhere = (
        f" They are on {baseline.dataset}, the run is on {', '.join(sorted(others))}: accuracies on different images "
        "cannot be compared."
        if baseline.dataset and others
        else ""
    )
    note = (
        f"The rows of {baseline.name} show the test and training accuracies in its logs, at epoch {epoch} or, in a "
        "shorter log, the last. They have no rank, because they come from another protocol and from one seed each."
        f"{elsewhere}"
    )
    return replace(ranking, beside=rows, notes=[*ranking.notes, note])
