"""Who is ahead, and how sure that is: configurations ranked by test accuracy, those that cannot be told apart together.

A configuration is a recipe whatever its seed. With several seeds of each, intervals and tests speak of seeds; with one,
of the test images only, and the sentences that come along say so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from statistics import fmean, median, variance
from typing import Any

from raytrain.analysis.baselines import Baseline, BaselineRow
from raytrain.analysis.statistics import (
    ALPHA,
    MOST_SEEDS,
    POWER,
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
    read_all_predictions,
    read_results,
    run_of,
)
from raytrain.storage.folder import Folder
from raytrain.training.predictions import Predictions

DASH = "–"
GAP = 0.002
"""The difference, 0.2 points, that the number of seeds needed is told for."""
MOST_TESTED = 200
"""Configurations that are compared in pairs; of more than that only the best."""


@dataclass(frozen=True)
class Standing:
    """A configuration among the others.

    Attributes:
        rank: Such as "1", "1=" or "3"; a dash for one that did not finish.
        results: Of its seeds, all of one status.
        test_accuracy: Mean over seeds, a fraction in [0, 1]; None unless finished.
        val_accuracy: As `test_accuracy`, on the validation split; None without one.
        interval: 95 % interval of `test_accuracy`.
        p_value: That it is as good as the leader, corrected for all comparisons; None for the leader.
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
        """How many seeds it was trained with."""
        return len(self.results)


@dataclass(frozen=True)
class Ranking:
    """All configurations of a run, best first, and what can be said of their order.

    Attributes:
        standings: Finished ones by test accuracy, then those that were stopped, then the rest.
        sentences: How the intervals and ranks came about, and what this design can resolve.
        chosen: The configuration that validation accuracy chooses; its test accuracy is not flattered by the choice.
        beside: Curves from elsewhere that are shown below, without a rank.
    """

    standings: list[Standing]
    sentences: list[str] = field(default_factory=list[str])
    chosen: Standing | None = None
    beside: Sequence[BaselineRow] = ()


def rank(results: Iterable[TrialResult], predictions: Mapping[str, Predictions]) -> Ranking:
    """Return the ranking of results.

    Trials that were stopped early are never averaged with finished ones of the same configuration. Once a run has
    confirmed its best configurations on fresh seeds, of that run those trials alone are ranked; its search comes below,
    unranked.

    Args:
        results: Of all trials.
        predictions: By trial, of as many finished trials as there are.
    """
    results = ranked(results)
    finished = [result for result in results if result.status == "finished"]
    confirmed = {run_of(result) for result in finished if result.phase == "confirm"}
    contest = [result for result in finished if result.phase == "confirm" or run_of(result) not in confirmed]
    groups = configurations(contest)
    groups.sort(key=lambda group: (-_mean(group, "test_accuracy"), -_mean(group, "val_accuracy")))
    tested = groups[:MOST_TESTED]
    p_values = pairwise(len(tested), lambda one, other: _p_value(tested[one], tested[other], predictions))
    ranks = shared_ranks(p_values, len(tested)) + [DASH] * (len(groups) - len(tested))
    standings = [
        _standing(group, rank=rank, predictions=predictions, p_value=p_values.get((0, place)))
        for place, (rank, group) in enumerate(zip(ranks, groups, strict=True))
    ]
    rest = configurations(result for result in results if result not in contest)
    unranked = [_standing(group, rank=DASH, predictions=predictions) for group in rest]
    searched = sum(run_of(group[0]) in confirmed and group[0].phase == "search" for group in rest)
    sentences = list(_sentences(standings, predictions, searched=searched))
    sentences += _survivors(groups, rest)
    return Ranking(standings + unranked, sentences, _chosen(standings))


def rank_runs(folders: Mapping[str, Folder]) -> Ranking:
    """Return the ranking of runs by their names, all in one contest; the ids of several runs' trials begin with them.

    Raises:
        RunFolderError: One cannot be read.
    """
    results: list[TrialResult] = []
    predictions: dict[str, Predictions] = {}
    for name, folder in folders.items():
        prefix = f"{name}/" if len(folders) > 1 else ""
        read = read_results(folder)
        results += [replace(result, trial=prefix + result.trial) for result in read]
        predictions |= {prefix + trial: seen for trial, seen in read_all_predictions(folder, read).items()}
    return rank(results, predictions)


def arranged(ranking: Ranking, *, by: str | None = None, most: int | None = None) -> Ranking:
    """Return the ranking with its rows in another order, or fewer of them; ranks stay what they are.

    Args:
        ranking: Of all.
        by: A recipe field or a measure, such as `lr` or `seconds`, smallest first; of accuracies the highest first.
        most: How many rows are kept.

    Raises:
        ExperimentError: There is no such field.
    """
    standings = ranking.standings
    if by is not None:
        known = sorted(
            {*vars(standings[0].results[0]), *standings[0].results[0].recipe} - {"recipe"} if standings else ()
        )
        if standings and by not in known:
            raise ExperimentError(f"--sort {by}: there is no such field; choose among {', '.join(known)}")
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


def _chosen(standings: Sequence[Standing]) -> Standing | None:
    known = [standing for standing in standings if standing.val_accuracy is not None]
    return max(known, key=lambda standing: standing.val_accuracy or 0.0, default=None)


def _sentences(
    standings: Sequence[Standing], predictions: Mapping[str, Predictions], *, searched: int
) -> Iterator[str]:
    if not standings:
        return
    seeds = {standing.seeds for standing in standings}
    several = [standing for standing in standings if standing.seeds > 1]
    if searched:
        yield (
            f"Ranked are the configurations that were trained again with fresh seeds; the {searched} of the search are "
            "listed without a rank, because being chosen flatters the best of them."
        )
    if len(several) == len(standings):
        counts = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
        yield f"Intervals: 95 %, Student's t over {counts} seeds. Tests: Welch's, corrected for all pairs by Holm."
        yield from _resolution_of_seeds(several)
    elif any(standing.interval for standing in standings):
        with_one = "Where there is one seed, another" if several else "One seed of each: another seed"
        over_seeds = ", of those with several seeds Student's t over the seeds" if several else ""
        tests = "between two of several seeds Welch's, else " if several else ""
        if len(standings) == 1:
            yield "Interval: 95 %, Wilson's on the test images. One seed: another may well leave it."
            return
        yield (
            f"Intervals: 95 %, Wilson's on the test images{over_seeds}. Tests: {tests}McNemar's on the same images, "
            f"corrected for all pairs by Holm. {with_one} may well reverse what these call certain."
        )
        yield from _resolution_of_images(standings, predictions)
    if len(data := {str(standing.results[0].recipe["dataset"]) for standing in standings}) > 1:
        yield f"The test images are of {len(data)} data sets: accuracies on different images do not compare."
    shared = sum(standing.rank == "1" or standing.rank == "1=" for standing in standings)
    if shared > 1:
        yield f"The first {shared} cannot be told apart: they share rank 1."


def _survivors(finished: Sequence[Sequence[TrialResult]], rest: Sequence[Sequence[TrialResult]]) -> Iterator[str]:
    """Yield how many configurations are ranked by those of their seeds that were not stopped."""

    def recipe(group: Sequence[TrialResult]) -> dict[str, Any]:
        return {name: value for name, value in group[0].recipe.items() if name != "seed"}

    stopped = [recipe(group) for group in rest if group[0].status == "stopped"]
    if flattered := sum(recipe(group) in stopped for group in finished):
        which = "configuration" if flattered == 1 else "configurations"
        yield (
            f"Of {flattered} ranked {which} some seeds were stopped early, and only those that were let through count, "
            "which flatters. --no-asha compares seeds fairly."
        )


def _resolution_of_seeds(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield which gap this number of seeds resolves, from the spread that the configurations show."""
    variances = [variance(map(_accuracy, standing.results)) for standing in standings]
    freedom = [standing.seeds - 1 for standing in standings]
    deviation = sqrt(sum(v * f for v, f in zip(variances, freedom, strict=True)) / sum(freedom))
    pairs = len(standings) * (len(standings) - 1) // 2
    if not deviation or not pairs:
        return
    alpha, fewest = ALPHA / pairs, min(standing.seeds for standing in standings)
    gap = resolvable_gap(deviation, fewest, alpha=alpha)
    needed = seeds_for(GAP, deviation, alpha=alpha)
    yield (
        f"The spread over seeds is {100 * deviation:.2f} points: {fewest} seeds find a gap of {100 * gap:.2f} points "
        f"with a probability of {POWER:.0%}; a gap of {100 * GAP:.1f} points would need "
        f"{needed or f'more than {MOST_SEEDS:,}'} seeds."
    )


def _resolution_of_images(standings: Sequence[Standing], predictions: Mapping[str, Predictions]) -> Iterator[str]:
    """Yield which gap the test images resolve, from how often trials disagree on who is right."""
    seen = [predictions[one.results[0].trial].correct for one in standings if one.results[0].trial in predictions]
    if len(seen) < 2 or len({one.shape for one in seen}) > 1:
        return
    disagreement = median(float((seen[0] != other).mean()) for other in seen[1:])
    pairs = len(seen) * (len(seen) - 1) // 2
    if disagreement:
        gap = resolvable_gap_of_images(disagreement, len(seen[0]), alpha=ALPHA / pairs)
        yield (
            f"{len(seen[0]):,} test images find a gap of {100 * gap:.2f} points between two trained networks with a "
            f"probability of {POWER:.0%}. How many seeds a gap of {100 * GAP:.1f} points needs, only runs with several "
            "can say: --seeds 0,1,2."
        )


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
        f" They are of {baseline.dataset}, the run's of {', '.join(sorted(others))}: accuracies on different images do "
        "not compare."
        if baseline.dataset and others
        else ""
    )
    said = (
        f"The rows of {baseline.name} are from its logs at epoch {epoch}, or at their end: the test accuracy of that "
        "epoch, and the training accuracy as it was logged. They are not ranked: it was another protocol, and there "
        f"are no seeds to judge by.{elsewhere}"
    )
    return replace(ranking, beside=rows, sentences=[*ranking.sentences, said])
