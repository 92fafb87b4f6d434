"""Who is ahead, and how sure that is: configurations ranked by test accuracy, those that cannot be told apart together.

Where the recipes' `select` names another metric, that one takes the place of accuracy, and the bootstrap that of the
tests for accuracy.

A configuration is a recipe whatever its seed. With several seeds of each, intervals and tests speak of seeds; with one,
of the test images only, and the sentences that come along say so.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import zip_longest

from raytrain.analysis.columns import check_column, column_names, column_value
from raytrain.analysis.standing import DASH, Ranking, Standing
from raytrain.analysis.statistics.bootstrap import MetricSample, metric_samples
from raytrain.analysis.statistics.resolution import resolution_of
from raytrain.analysis.statistics.sample import Sample, comparing, count_test_sets
from raytrain.analysis.statistics.significance import pairwise, rank_intervals
from raytrain.baselines.baselines import Baseline, BaselineRow
from raytrain.data import DATASETS
from raytrain.metrics.means import mean_over_seeds
from raytrain.metrics.predictions import ClassMetrics, Predictions, metrics_of
from raytrain.metrics.selection import select_of, selection_of
from raytrain.runs.results import (
    TrialResult,
    configurations,
    mean_val_quality,
    ranked,
    run_of,
)

MOST_COMPARED = 200
"""Most configurations that are compared in pairs and ranked; of more, only the best are."""


def rank(
    results: Iterable[TrialResult],
    predictions: Mapping[str, Predictions],
    *,
    images: Mapping[str, object] | None = None,
) -> Ranking:
    """Return the ranking of results.

    Trials that were stopped early, or are paused, are never averaged with finished ones of the same configuration. Once
    a run has confirmed its best configurations on fresh seeds, of that run those trials alone are ranked; its search
    comes below, unranked.

    Args:
        results: Results of all trials.
        predictions: Test predictions by trial id, for finished trials; some may be missing.
        images: What decides on the test images of each trial, by its id; None for what the recipes say.
    """
    listed = list(results)
    order = {result.trial: index for index, result in enumerate(listed)}
    results = ranked(listed)
    finished = [result for result in results if result.status == "finished"]
    confirmed = {run_of(result) for result in finished if result.phase == "confirm"}
    competing = [result for result in finished if result.phase == "confirm" or run_of(result) not in confirmed]
    select = select_of(finished[0].recipe) if finished else "accuracy"
    metrics = _Measured(predictions)
    groups = _placed(competing, metrics, order)
    tested = groups[:MOST_COMPARED]
    competing_ids = {result.trial for result in competing}
    searched_only = [result for result in finished if result.trial not in competing_ids]
    rest = _placed(searched_only, metrics, order) + configurations(results[len(finished) :])
    rows = [*groups, *rest]
    samples = [Sample.of(group, predictions, dataset=(images or {}).get(group[0].trial)) for group in rows]
    scores = [_scores(group, metrics) for group in rows]
    best = slice(0 if select == "accuracy" else MOST_COMPARED)  # other metrics are drawn anew, which takes long
    others = metric_samples(scores[best], predictions, select, [one.dataset for one in samples[best]])
    by_images = comparing([] if others else samples[: len(tested)])
    p_values = pairwise(
        len(tested),
        lambda one, other: others[one].p_value(others[other]) if others else by_images(one, other),
    )
    ranks = [_text(*between) for between in rank_intervals(p_values, len(tested))] + [DASH] * len(rows[len(tested) :])
    single = {index for index, group in enumerate(tested) if len(group) == 1}
    networks = single if len(single) > 1 else set[int]()
    standings = [
        replace(
            _standing(group, sample, metrics, rank=rank, p_value=p_values.get((0, index)), other=other),
            of_network=index in networks,
        )
        for index, (rank, group, sample, other) in enumerate(zip_longest(ranks, rows, samples, others))
    ]
    again = {_setting(group[0]) for group in groups if group[0].phase == "confirm"}
    searched = {_setting(group[0]) for group in rest if group[0].phase == "search" and run_of(group[0]) in confirmed}
    chosen, incomplete = _chosen(standings[: len(groups)], rest, order)
    return Ranking(
        standings,
        chosen=chosen,
        incomplete=incomplete,
        confirmed=bool(confirmed),
        searched=len(searched - again),
        survivors=_survivors(tested, rest),
        resolution=None if others else resolution_of(samples[: len(tested)]),
        select=select,
        uncompared=len(groups) - len(tested),
        test_sets=count_test_sets(one for one in samples if one.accuracies),
        of_runs=any(run_of(result) for result in listed),
    )


class _Measured(Mapping[str, ClassMetrics]):
    """Metrics beside accuracy by trial, each measured when it is first asked for: most tables show none of them."""

    def __init__(self, predictions: Mapping[str, Predictions]) -> None:
        self._predictions = {trial: seen for trial, seen in predictions.items() if len(seen.labels)}
        self._known: dict[str, ClassMetrics] = {}

    def __getitem__(self, trial: str) -> ClassMetrics:
        if trial not in self._known:
            self._known[trial] = metrics_of(self._predictions[trial])
        return self._known[trial]

    def __contains__(self, trial: object) -> bool:
        return trial in self._predictions

    def __iter__(self) -> Iterator[str]:
        return iter(self._predictions)

    def __len__(self) -> int:
        return len(self._predictions)


def arranged(ranking: Ranking, *, by: str | None = None, most: int | None = None) -> Ranking:
    """Return the ranking with its rows in another order, or fewer of them; ranks stay what they are.

    Args:
        ranking: The ranking to rearrange.
        by: Column to sort by, such as `lr` or `seconds`, the lowest first; with "-" before it the highest first. Rows
            without a value stand last.
        most: Number of rows to keep; None for all.

    Raises:
        ExperimentError: There is no such column.
    """
    standings = ranking.standings
    if by is not None:
        name = check_column(by.strip().removeprefix("-"), column_names(ranking), what="column for --sort")
        values = [(column_value(ranking, standing, name), standing) for standing in standings]
        known = [(value, one) for value, one in values if value is not None]
        numbers = all(isinstance(value, int | float) for value, _ in known)
        known.sort(key=lambda pair: pair[0] if numbers else str(pair[0]), reverse=by.strip().startswith("-"))
        standings = [one for _, one in known] + [one for value, one in values if value is None]
    return replace(ranking, standings=standings[:most])


def _text(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}{DASH}{last}"


def _standing(
    group: Sequence[TrialResult],
    sample: Sample,
    metrics: Mapping[str, ClassMetrics],
    *,
    rank: str,
    p_value: float | None = None,
    other: MetricSample | None = None,
) -> Standing:
    test = sample.accuracies
    val = [result.val_accuracy for result in group if result.val_accuracy is not None]
    scores, interval = _scores(group, metrics), sample.interval()
    return Standing(
        rank,
        group,
        mean_over_seeds(test) if test else None,
        mean_over_seeds(val) if val else None,
        interval,
        p_value,
        metrics,
        mean_over_seeds(scores.values()) if scores else None,
        other.interval() if other else interval if select_of(group[0].recipe) == "accuracy" else None,
    )


def _scores(group: Sequence[TrialResult], metrics: Mapping[str, ClassMetrics]) -> dict[str, float]:
    """Return the test metric that ranks, by trial; of none where a seed lacks it."""
    scores: dict[str, float] = {}
    for result in group:
        select = select_of(result.recipe)
        of_trial = {"accuracy": result.test_accuracy, "nll": result.test_loss}
        value = of_trial[select] if select in of_trial else getattr(metrics.get(result.trial), select, None)
        if value is None:
            return {}
        scores[result.trial] = value
    return scores


def _placed(
    finished: Iterable[TrialResult], metrics: Mapping[str, ClassMetrics], order: Mapping[str, int]
) -> list[list[TrialResult]]:
    """Return the configurations of finished trials, in the order of the table."""
    groups = [_by_validation(group, order) for group in configurations(finished)]
    return sorted(groups, key=lambda group: _sort_key(group, metrics, order))


def _by_validation(group: Sequence[TrialResult], order: Mapping[str, int]) -> list[TrialResult]:
    """Return the seeds of a configuration, best first by validation; without a validation split, as they are listed."""
    return sorted(group, key=lambda one: (*(-value for value in one.val_quality), order[one.trial]))


def _sort_key(
    group: Sequence[TrialResult], metrics: Mapping[str, ClassMetrics], order: Mapping[str, int]
) -> tuple[float, float, int]:
    """Return what finished configurations are sorted by: test metric, then validation metric, then as listed."""
    selection, scores = selection_of(group[0].recipe), _scores(group, metrics)
    score = selection.quality(mean_over_seeds(scores.values()) if scores else None)
    return -score, -mean_val_quality(group)[0], _first(group, order)


def _chosen(
    standings: Sequence[Standing], rest: Sequence[Sequence[TrialResult]], order: Mapping[str, int]
) -> tuple[Standing | None, list[Standing]]:
    """Return the configuration that validation chooses, and the incomplete ones that it would have chosen before it.

    The highest mean validation accuracy, or what else `select` names, decides, then the lowest mean validation loss,
    then the order in which the experiment lists them. The test set decides nothing. A configuration of which a seed
    did not finish is not chosen before a complete one: its mean is over the seeds that early stopping let through. For
    one that is judged by its search, the seeds of the search count, too.
    """
    finished = (group for group in rest if (group[0].phase, group[0].status) == ("search", "finished"))
    searched = {_setting(group[0]): group for group in finished}
    judged: list[tuple[Standing, Sequence[TrialResult]]] = []
    for standing in standings:
        if standing.val_accuracy is not None:
            judged.append((standing, standing.results))
        elif standing.results[0].phase == "confirm" and (seen := searched.get(_setting(standing.results[0]))):
            judged.append((standing, seen))  # trained on the validation images too: what the search saw of it counts
    judged.sort(key=lambda one: (*(-value for value in mean_val_quality(one[1])), _first(one[1], order)))
    known = [standing for standing, _ in judged]
    broken = {group[0].configuration for group in rest if group[0].status != "finished"}
    complete = [
        standing
        for standing, seen in judged
        if broken.isdisjoint(group[0].configuration for group in (standing.results, seen))
    ]
    if not complete:
        return next(iter(known), None), []
    return complete[0], known[: known.index(complete[0])]


def _first(group: Sequence[TrialResult], order: Mapping[str, int]) -> int:
    return min(order[result.trial] for result in group)


def _setting(result: TrialResult) -> str:
    """Return what a configuration of the search and the same one confirmed have in common."""
    fields = {name: value for name, value in result.recipe.items() if name not in {"seed", "val_size"}}
    return json.dumps([run_of(result), fields], sort_keys=True)


def _survivors(compared: Sequence[Sequence[TrialResult]], rest: Sequence[Sequence[TrialResult]]) -> int:
    """Return how many configurations are ranked without some of their seeds: stopped, paused, failed or diverged."""
    lost = {group[0].configuration for group in rest if group[0].status not in {"finished", "unfinished"}}
    return sum(group[0].configuration in lost for group in compared)


def beside(ranking: Ranking, baseline: Baseline) -> Ranking:
    """Return the ranking with a row for each curve of a baseline, at the epoch that the run's longest trial reached.

    They have no rank: one log is one seed, and its protocol is another. Where a curve has no test accuracy at that
    epoch, it stands at the last one before that has one; a training accuracy of another epoch is not shown.
    """
    results = [result for standing in ranking.standings for result in standing.results]
    finished = [result.epochs for result in results if result.status == "finished"]
    epoch = max(finished or [result.epochs for result in results], default=0)
    rows: list[BaselineRow] = []
    for curve in baseline.curves:
        tested = curve.at(epoch)
        last = tested or curve.at(epoch, "train_accuracy")
        if last is None:
            continue
        trained = curve.at(last[0], "train_accuracy")
        train = trained[1] if trained and trained[0] == last[0] else None
        name, test = f"{baseline.name}/{curve.name}", tested and tested[1]
        rows.append(BaselineRow(name, curve.arch, last[0], curve.epochs[-1], train, test))
    note = (
        f"The rows of {baseline.name} show the test and training accuracies in its logs at epoch {epoch} or, without a "
        "test accuracy there, at the last that was logged before. They have no rank, because they come from another "
        "protocol and from one seed each."
    )
    warnings = list(_on_other_images(baseline, {str(result.recipe["dataset"]) for result in results}))
    return replace(ranking, beside=rows, notes=[*ranking.notes, note], warnings=[*ranking.warnings, *warnings])


def _on_other_images(baseline: Baseline, datasets: Set[str]) -> Iterator[str]:
    """Yield which data sets have other images than a baseline, and which may have: a path does not say."""
    if baseline.dataset is None:
        return
    others, here = datasets - {baseline.dataset}, f"{baseline.name} is on {baseline.dataset}, the run is on"
    if named := ", ".join(sorted(others & DATASETS.keys())):
        yield f"{here} {named}: accuracies on different images cannot be compared."
    if elsewhere := ", ".join(sorted(others - DATASETS.keys())):
        yield f"{here} {elsewhere}, which may be other images: accuracies on different images cannot be compared."
