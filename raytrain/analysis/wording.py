"""A ranking in plain sentences: what was chosen, what the rows are ranked by, and how sure the order is."""

from collections.abc import Iterator, Sequence
from typing import Any

from raytrain.analysis.ranking import DASH, Ranking, Standing
from raytrain.analysis.statistics.bootstrap import ADDED, BY_CLASS, DRAWINGS
from raytrain.analysis.statistics.power import MOST_SEEDS, POWER
from raytrain.analysis.statistics.resolution import REFERENCE_GAP, ImageResolution, SeedResolution
from raytrain.metrics.selection import Select

AMONG_NETWORKS = " Among rows of one seed, ranks are of these trained networks; other seeds may give others."


def footer(ranking: Ranking, *, rearranged: bool = False) -> list[str]:
    """Return what stands below a ranked table: two lines, three where seeds were lost. `explain` says it in full.

    Args:
        ranking: Ranking of all rows.
        rearranged: Whether the table has them in another order, or some of them only.
    """
    if not (finished := _finished(ranking)):
        return ["No trial has finished.", *ranking.warnings]
    lines: list[str] = []
    if chosen := ranking.chosen:
        lines.append(f"Validation chooses {chosen.name}: {ranking.reached_text(chosen)}.")
    if lost := ranking.lost_text:
        lines.append(lost)
    if rearranged:
        count = len(_ranked(finished))
        among = f"all {count} rows" if count > 1 else "the only row"
        if ranking.uncompared:
            among = f"the {count} best rows"
        elif count < len(ranking.standings):
            among += " that have a rank" if count > 1 else " that has a rank"
        lines.append(f"Ranks are those among {among}, by test {ranking.selection.words}.")
    if len(finished) > 1 and ranking.separated_text:
        lines += filter(None, [ranking.separated_text, "" if rearranged else ranking.uncompared_text])
    elif len(finished) > 1 and not rearranged:
        lines.append(_lead(ranking) + _other_seeds(_ranked(finished)))
    return [*lines, *ranking.warnings]


def explain(ranking: Ranking) -> list[str]:
    """Return in sentences what the accuracies are, what the rows are ranked by, and how sure the order is."""
    return list(_explanation(ranking))


def _explanation(ranking: Ranking) -> Iterator[str]:
    finished = _finished(ranking)
    yield from _accuracies(ranking)
    if not finished:
        yield "No trial has finished."
        yield from (*ranking.notes, *ranking.warnings)
        return
    if ranking.confirmed:
        others = any(one.results[0].phase == "search" for one in _ranked(finished))  # of runs that confirmed none
        which = "Of a run that confirmed its best configurations, only those" if others else "Only the configurations"
        more = f" The search has {ranking.searched} more." if ranking.searched else ""
        yield (
            f"{which} that were trained again with fresh seeds have a rank.{more} The accuracies of the best rows of "
            "the search are biased upwards, because the search chose them."
        )
    yield from _views(finished)
    if ranking.select == "accuracy":
        yield from _intervals(finished)
    else:
        yield from _bootstrap(finished, ranking)
    if ranking.resolution:
        yield _resolution(ranking.resolution)
    if ranking.test_sets > 1:
        yield (
            f"The rows were tested on {ranking.test_sets} different sets of images: accuracies on different images "
            "cannot be compared."
        )
    if len(finished) > 1:
        yield (
            f"A rank says which places a row may have: of four rows, 2{DASH}3 means that at least one is better by the "
            "test, and at least one is worse. "
            f"{_first_place(ranking)}"
        )
    if ranking.survivors:
        yield ranking.survivors_text
    yield from (*ranking.notes, *ranking.warnings)
    yield from _choice(ranking)


def _first_place(ranking: Ranking) -> str:
    """Return who may be first, and what the ranks are of; of a run that looked after each seed, where that is said."""
    if ranking.separated_text:
        looked = (
            "The run looked after each seed, which these tests do not allow for; what its pairs have shown is below."
        )
        return " ".join(filter(None, [looked, ranking.uncompared_text]))
    of_network = [standing.of_network for standing in _ranked(_finished(ranking))]
    if not any(of_network):
        return _lead(ranking)
    one_seed = " Ranks are of these trained networks; other seeds may give others."
    return _lead(ranking) + (one_seed if all(of_network) else AMONG_NETWORKS)


def _other_seeds(ranked: Sequence[Standing]) -> str:
    """Return that other seeds may give other ranks, where a test has separated networks of one seed each."""
    if all(standing.may_lead for standing in ranked) or not any(standing.of_network for standing in ranked):
        return ""
    if not all(standing.of_network for standing in ranked):
        return AMONG_NETWORKS
    return "" if ranked[0].rank == "1" else " Other seeds may give other ranks."  # a "1" has words of its own


def _lead(ranking: Ranking) -> str:
    """Return who may be first, and which rows that is said of, if not of all."""
    leader = _leader(_ranked(_finished(ranking)), others=ranking.all_others)
    return " ".join(filter(None, [leader, ranking.uncompared_text]))


def _leader(ranked: Sequence[Standing], *, others: str) -> str:
    candidates = sum(standing.may_lead for standing in ranked)
    if len(ranked) < 2:
        return "One row is ranked." if ranked else "No row is ranked."
    if ranked[0].rank == "1":
        if ranked[0].of_network:
            return f"The first network is ahead of {others}; another seed may not be."
        return f"The first row is ahead of {others}."
    if candidates == 1:
        return "No row is ahead of the first, and the test does not separate it from all others."
    return f"{candidates} rows may be the best: no test separates one of them from a better one."


def _ranked(finished: Sequence[Standing]) -> list[Standing]:
    return [standing for standing in finished if standing.rank != DASH]


def _finished(ranking: Ranking) -> list[Standing]:
    return [standing for standing in ranking.standings if standing.test_accuracy is not None]


def _accuracies(ranking: Ranking) -> Iterator[str]:
    """Yield what the accuracies are."""
    recipes = [standing.results[0].recipe for standing in ranking.standings]
    with_split = {recipe["val_size"] > 0 for recipe in recipes}
    if not with_split:
        return
    words = ranking.selection.words
    by = "" if ranking.select == "accuracy" else f" by {words}"
    rows = "Rows with a rank, and those without one below them," if ranking.confirmed else "Rows"
    if True in with_split:
        yield (
            f"Accuracies are those of each trial's best epoch on the validation split{by}, measured without "
            f"augmentation. {_test_reads(recipes)} {rows} are in the order of their test {words}."
        )
    elif len(_finished(ranking)) > 1:
        yield (
            "There is no validation split: accuracies are those of the last epoch, and rows are in the order of their "
            f"test {words}. The {words} of the first row is {ranking.bias}, because the test set chose it."
        )
    else:  # one row is the first by no choice
        yield "There is no validation split: accuracies are those of the last epoch."
    if len(with_split) > 1:
        yield "Rows without a validation accuracy trained on those images too; their accuracies are of the last epoch."


def _test_reads(recipes: Sequence[dict[str, Any]]) -> str:
    """Return how often the test set was read: with test-time augmentation once more, in several views."""
    again = " It is read once more for the accuracy with test-time augmentation." if _any_views(recipes) else ""
    tracked = {recipe["track_test"] for recipe in recipes}
    if tracked == {True}:
        return "The test set is read after every epoch, because track_test is on; it chooses nothing." + again
    some = " of trials without track_test; the others read it after every epoch" if True in tracked else " of a trial"
    return f"The test set is read once, at the end{some}.{again}"


def _any_views(recipes: Sequence[dict[str, Any]]) -> bool:
    return any(recipe.get("tta", "none") != "none" for recipe in recipes)


def _views(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield what the accuracy with test-time augmentation is, where one was measured."""
    results = [result for standing in standings for result in standing.results]
    if any(result.test_tta_accuracy is not None for result in results):
        unsure = any(result.recipe.get("tta_below", 1) < 1 for result in results)
        which = "unsure test image, as tta_below says" if unsure else "test image"
        yield (
            f"with TTA: accuracy of the mean logits of several views of each {which}. It ranks and chooses nothing; "
            "the plain test accuracy, intervals and tests are of one view."
        )


def _intervals(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield how the intervals and the tests are made."""
    seeds = {standing.seeds for standing in standings}
    several = any(standing.seeds > 1 for standing in standings)
    if all(standing.seeds > 1 for standing in standings):
        counts = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
        missing = [standing.lacks_predictions for standing in standings]
        over = f"Student's t over {counts} seeds"
        how = (
            f"for other seeds only, because predictions are missing: {over}"
            if all(missing)
            else f"for other seeds and other test images: {over}, and the variance of the images"
        )
        some = " Where predictions are missing, they are for other seeds only." if any(missing) > all(missing) else ""
        yield (
            f"Intervals: 95 %, {how}.{some} Tests: Welch's, for other seeds on these images, corrected for all pairs "
            "by Holm."
        )
    elif any(standing.interval for standing in standings):
        if len(standings) == 1:
            yield (
                "The 95 % interval is Wilson's, for the test images alone. There is one seed: another seed may give an "
                "accuracy outside it."
            )
            return
        over_seeds = ", with Student's t over the seeds where there are several" if several else ""
        tests = (
            "Welch's between two configurations of several seeds, Student's t of one against several, else "
            if several
            else ""
        )
        one_seed = "Where there is one seed, another seed" if several else "There is one seed of each: another seed"
        yield (
            f"Intervals: 95 %, Wilson's for the test images{over_seeds}. Tests: {tests}McNemar's on the same images, "
            f"corrected for all pairs by Holm. {one_seed} may give another order."
        )


def _resolution(resolution: SeedResolution | ImageResolution) -> str:
    """Return which differences this run can show."""
    if isinstance(resolution, SeedResolution):
        needed = resolution.needed or f"more than {MOST_SEEDS:,}"
        shown = (
            f"show a difference of {100 * resolution.gap:.2f} points"
            if resolution.gap < 1
            else "of each are too few to show any difference"
        )
        return (
            f"Test accuracy varies by {100 * resolution.deviation:.2f} points (standard deviation over seeds). "
            f"{resolution.seeds} seeds {shown} with a probability of {POWER:.0%}; "
            f"a difference of {100 * REFERENCE_GAP:.1f} points needs {needed} seeds."
        )
    return (
        f"{resolution.images:,} test images show a difference of {100 * resolution.gap:.2f} points between two trained "
        f"networks with a probability of {POWER:.0%}. To measure the variation over seeds, add --seeds 0,1,2."
    )


def _bootstrap(standings: Sequence[Standing], ranking: Ranking) -> Iterator[str]:
    """Yield how the intervals and the tests of a metric other than accuracy are made."""
    words = ranking.selection.words
    drawn = f"the bootstrap ({DRAWINGS:,} drawings of the test images{_drawn_anew(ranking.select)})"
    several = any(standing.seeds > 1 for standing in standings)
    over = "Student's t over the seeds, and the variance of the images by " if several else ""
    missing = any(standing.lacks_predictions and standing.score is not None for standing in standings)
    only = " Where predictions are missing, they are for other seeds only." if missing and several else ""
    yield f"Intervals: 95 %, of the {words}: {over}{drawn}.{only}"
    if len(standings) > 1:
        pairs = "Welch's or Student's over seeds where a configuration has several, else " if several else ""
        yield (
            f"Tests: {pairs}of the difference of two networks on the same drawings, corrected for all pairs by Holm. "
            "Wilson's intervals and McNemar's test are for accuracy only, and are not used here."
        )
    if not all(standing.seeds > 1 for standing in standings):
        yield "Where there is one seed, another seed may give another order."


def _drawn_anew(select: Select) -> str:
    if select in BY_CLASS:
        return f", class by class, with {ADDED} more in each class that are right or wrong by chance"
    return f", with {ADDED} more that are right or wrong by chance" if select == "top5_accuracy" else ""


def _choice(ranking: Ranking) -> Iterator[str]:
    """Yield what validation chooses, and what it does not choose although it looks better."""
    chosen = ranking.chosen
    if chosen is None:
        first = ranking.first_complete
        if first and first is not _finished(ranking)[0]:
            yield (
                f"{first.results[0].trial} stands for the run, such as in export: not all seeds of the rows above have "
                "finished."
            )
        return
    first = chosen.results[0]
    sizes = {one.results[0].recipe["val_size"] for one in _finished(ranking) if one.val_accuracy is not None}
    if len(sizes) > 1:
        listed = ", ".join(f"{size:g}" for size in sorted(sizes))
        yield (
            f"The rows differ in val_size ({listed}), so their validation accuracies may be of different images: the "
            "choice between them is less sure."
        )
    yield (
        f"Validation chooses {first.trial}: {ranking.reached_text(chosen)}. The test set plays no part in the choice."
    )
    if ranking.incomplete:
        names = ", ".join(standing.results[0].trial for standing in ranking.incomplete)
        seeds = "seeds, of the search and fresh ones," if ranking.confirmed else "seeds"
        yield f"Not chosen, because not all of their {seeds} have finished: {names}."
