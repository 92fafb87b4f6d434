"""Tests of raytrain.analysis.ranking: which ranks a row may have, what is averaged, and what is said about it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raytrain.analysis.assertion import broken
from raytrain.analysis.ranking import Ranking, arranged, rank
from raytrain.analysis.record import chosen_trial_of
from raytrain.analysis.standing import Standing
from raytrain.analysis.wording import explain, footer
from raytrain.errors import ExperimentError
from raytrain.metrics.predictions import ClassMetrics, Predictions, metrics_of
from raytrain.report.table import plain
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

IMAGES = 2000


def result(name: str, *, status: str = "finished", **fields: Any) -> TrialResult:
    recipe = Recipe(lr=fields.pop("lr", 0.1), seed=fields.pop("seed", 0), epochs=20)
    values = {"parameters": 10, "epochs": 20, "val_accuracy": 0.5, "val_loss": 1.0, **fields}
    if status == "finished":
        values |= {"test_loss": 1.0}
    return TrialResult(trial=name, status=status, recipe=recipe.model_dump(mode="json"), **values)  # type: ignore[arg-type]


def right_on(*spans: tuple[int, int]) -> Predictions:
    """Return predictions that are right on the images of some spans."""
    labels = np.zeros(IMAGES, dtype=np.int64)
    predicted = np.ones(IMAGES, dtype=np.int64)
    for first, last in spans:
        predicted[first:last] = 0
    return Predictions(labels, predicted, np.ones(IMAGES, dtype=np.float32))


def ranks(ranking: Ranking) -> list[tuple[str, str]]:
    return [(standing.rank, standing.results[0].trial) for standing in ranking.standings]


def test_single_seeds_that_the_images_cannot_tell_apart_may_both_be_first() -> None:
    predictions = {"a": right_on((0, 1800)), "b": right_on((5, 1800)), "c": right_on((0, 1500))}
    rates = {"c": 1.0, "b": 2.0, "a": 3.0}
    results = [result(name, lr=lr, test_accuracy=predictions[name].accuracy) for name, lr in rates.items()]
    ranking = rank(results, predictions)
    assert ranks(ranking) == [("1–2", "a"), ("1–2", "b"), ("3", "c")]
    first, second, third = ranking.standings
    assert first.p_value is None
    # 5 images against none: 2 / 2^5, times Holm's 1 of the last of three pairs
    assert second.p_value == pytest.approx(2 / 2**5)
    assert third.p_value is not None
    assert third.p_value < 1e-20
    assert first.interval is not None
    assert first.interval.low < 0.9 < first.interval.high
    assert any("Wilson" in sentence and "There is one seed of each" in sentence for sentence in explain(ranking))
    assert any("2 rows may be the best" in sentence for sentence in explain(ranking))
    assert footer(ranking)[-1].endswith(" Other seeds may give other ranks.")
    assert any("Ranks are of these trained networks" in sentence for sentence in explain(ranking))


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (["1–3", "1–4", "1–4", "2–4"], True),
        (["1–2", "1–3", "2–3"], True),
        (["1–2", "1–2", "3"], True),
        (["1–3", "1–3", "1–3"], False),  # no test has told any two apart
    ],
)
def test_where_a_test_puts_a_network_behind_another_seed_is_said_to_change_that(shown: list[str], said: bool) -> None:
    def ranking(seeds: int) -> Ranking:
        group = [result(f"s{seed}", seed=seed, test_accuracy=0.9) for seed in range(seeds)]
        return Ranking([Standing(one, group, test_accuracy=0.9, of_network=seeds == 1) for one in shown])

    assert footer(ranking(1))[-1].endswith(" Other seeds may give other ranks.") == said
    assert "Other seeds" not in footer(ranking(2))[-1]


def test_of_confirmed_networks_the_seeds_of_the_search_do_not_hide_that_they_have_one_each() -> None:
    searched = [result(f"s{lr}-{seed}", lr=lr, seed=seed, test_accuracy=0.8) for lr in (1, 2) for seed in (0, 1)]
    again = [result(f"again-{lr}", lr=lr, seed=9, test_accuracy=0.8, phase="confirm") for lr in (1, 2)]
    assert "Ranks are of these trained networks" in " ".join(explain(rank([*searched, *again], {})))


def test_several_seeds_are_one_configuration_with_their_mean_and_students_interval() -> None:
    results = [
        result(f"{lr}-{seed}", lr=lr, seed=seed, test_accuracy=acc)
        for lr, seed, acc in (
            (0.1, 0, 0.90),
            (0.1, 1, 0.91),
            (0.1, 2, 0.92),
            (0.2, 0, 0.70),
            (0.2, 1, 0.71),
            (0.2, 2, 0.72),
        )
    ]
    ranking = rank(results, {})
    assert [standing.rank for standing in ranking.standings] == ["1", "2"]
    first = ranking.standings[0]
    assert (first.seeds, first.test_accuracy) == (3, pytest.approx(0.91))
    assert first.interval is not None
    assert first.interval.high - 0.91 == pytest.approx(4.302652729911275 * 0.01 / np.sqrt(3))
    assert any("Student's t over 3 seeds" in sentence for sentence in explain(ranking))
    assert footer(ranking)[-1] == "The first row is ahead of all others."
    (spread,) = [sentence for sentence in explain(ranking) if "standard deviation over seeds" in sentence]
    assert "varies by 1.00 points" in spread
    assert "3 seeds show a difference of" in spread
    assert "a difference of 0.2 points needs" in spread


def test_seeds_that_are_too_few_to_show_any_difference_are_not_said_to_show_an_impossible_one() -> None:
    results = [one for lr in range(1, 11) for one in seeds(f"{lr}-", lr, 0.90, 0.93)]
    said = " ".join(explain(rank(results, {})))
    assert "2 seeds of each are too few to show any difference with a probability of 80%" in said
    assert "2 seeds show a difference" not in said


def test_of_very_many_configurations_only_the_best_are_ranked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.analysis.ranking.MOST_COMPARED", 3)
    spans = {lr: right_on((0, correct)) for lr, correct in enumerate((1800, 1400, 1000, 600, 200), start=1)}
    results = [result(f"t{lr}", lr=lr, test_accuracy=seen.accuracy) for lr, seen in spans.items()]
    ranking = rank(results, {f"t{lr}": seen for lr, seen in spans.items()})
    assert ranks(ranking) == [("1", "t1"), ("2", "t2"), ("3", "t3"), ("–", "t4"), ("–", "t5")]
    said = (
        "The first network is ahead of all others that have a rank; another seed may not be. Only the first 3 rows are "
        "compared and ranked."
    )
    assert footer(ranking)[-1] == said
    assert any(said in sentence for sentence in explain(ranking))
    assert footer(ranking, rearranged=True)[-1] == "Ranks are those among the 3 best rows, by test accuracy."
    # the gap that a test can show is that of the three pairs that are tested
    assert ranking.resolution == rank(results[:3], {f"t{lr}": spans[lr] for lr in (1, 2, 3)}).resolution
    assert not any("Only the first" in sentence for sentence in explain(rank(results[:3], {})))


def test_equal_seeds_share_a_rank() -> None:
    results = [
        result(f"{lr}-{seed}", lr=lr, seed=seed, test_accuracy=0.9 + (seed + shift) % 3 / 100)
        for lr, shift in ((0.1, 0), (0.2, 1))
        for seed in range(3)
    ]
    assert [standing.rank for standing in rank(results, {}).standings] == ["1–2", "1–2"]


def test_equal_configurations_stand_in_the_order_in_which_they_are_listed() -> None:
    listed = [result(name, lr=lr, test_accuracy=0.9) for name, lr in (("b", 0.2), ("a", 0.1), ("c", 0.3))]
    assert [trial for _, trial in ranks(rank(listed, {}))] == ["b", "a", "c"]


def test_without_predictions_single_seeds_are_not_told_apart() -> None:
    ranking = rank([result("a", lr=1, test_accuracy=0.9), result("b", lr=2, test_accuracy=0.1)], {})
    assert ranks(ranking) == [("1–2", "a"), ("1–2", "b")]
    assert ranking.standings[0].interval is None


def seeds(name: str, lr: float, *accuracies: float) -> list[TrialResult]:
    return [result(f"{name}{seed}", lr=lr, seed=seed, test_accuracy=one) for seed, one in enumerate(accuracies)]


def test_two_rows_that_no_test_separates_have_a_rank_in_common() -> None:
    """The middle one is measured badly: it differs from neither, though the other two differ."""
    results = [*seeds("a", 1, 0.92, 0.921, 0.922), *seeds("b", 2, 0.90, 0.95, 0.88), *seeds("c", 3, 0.89, 0.891, 0.892)]
    assert ranks(rank(results, {})) == [("1–2", "a0"), ("1–3", "b0"), ("2–3", "c0")]


def test_a_row_that_the_first_does_not_beat_may_still_be_beaten_by_another() -> None:
    """The first row is measured badly; the two below it are measured well, and differ."""
    results = [
        *seeds("a", 1, 0.99, 0.90, 0.97),
        *seeds("b", 2, 0.94, 0.9401, 0.9402),
        *seeds("c", 3, 0.93, 0.9301, 0.9302),
    ]
    assert ranks(rank(results, {})) == [("1–3", "a0"), ("1–2", "b0"), ("2–3", "c0")]


def varying(correct: int, *, images: int, seed: int, hard: int) -> Predictions:
    """Return predictions of which `correct` are right, the wrong ones a random part of the `hard` images."""
    draw = np.random.default_rng(seed)
    predicted = np.zeros(images, dtype=np.int64)
    predicted[draw.choice(hard, images - correct, replace=False)] = 1
    return Predictions(np.zeros(images, dtype=np.int64), predicted, np.ones(images, dtype=np.float32))


def test_seeds_that_agree_by_chance_are_not_certain() -> None:
    """Both seeds of each have the same accuracy, on different images: the variance is not 0."""
    predictions = {
        **{f"a{seed}": varying(354, images=360, seed=seed, hard=20) for seed in (0, 1)},
        **{f"b{seed}": varying(353, images=360, seed=9 + seed, hard=20) for seed in (0, 1)},
    }
    results = [*seeds("a", 1, 354 / 360, 354 / 360), *seeds("b", 2, 353 / 360, 353 / 360)]
    ranking = rank(results, predictions)
    first, second = ranking.standings
    assert (first.rank, second.rank) == ("1–2", "1–2")
    assert second.p_value is not None
    assert second.p_value > 0.3
    assert first.interval is not None
    assert first.interval.high - first.interval.low > 0.01


def test_one_seed_is_compared_with_all_seeds_of_another_configuration() -> None:
    """By its own distance from their mean, whichever of them is paired with it image by image."""
    several, one = seeds("a", 1, 0.90, 0.92, 0.91), seeds("b", 2, 0.915)
    ranking = rank([*several, *one], {"a0": right_on((0, 1800)), "b0": right_on((0, 1830))})
    assert ranks(ranking) == [("1–2", "b0"), ("1–2", "a0")]
    assert ranking.standings[1].p_value == pytest.approx(2 * stats.t.sf(0.005 / (0.01 * (4 / 3) ** 0.5), 2))


def test_networks_of_other_data_sets_are_not_compared() -> None:
    def on(name: str, dataset: str, accuracy: float) -> TrialResult:
        one = result(name, test_accuracy=accuracy)
        return replace(one, recipe=one.recipe | {"dataset": dataset})

    results = [on("a", "digits", 0.9), on("b", "cifar10", 0.1)]
    ranking = rank(results, {"a": right_on((0, 1800)), "b": right_on((0, 200))})
    assert ranks(ranking) == [("1–2", "a"), ("1–2", "b")]


def test_a_first_row_that_the_test_does_not_separate_from_all_is_not_ahead_of_all() -> None:
    """Only the second is beaten by the first; the third is measured too badly."""
    results = [
        *seeds("a", 1, 0.95, 0.9501, 0.9502),
        *seeds("b", 2, 0.94, 0.9401, 0.9402),
        *seeds("c", 3, 0.80, 0.99, 0.97),
    ]
    ranking = rank(results, {})
    assert ranks(ranking) == [("1–2", "a0"), ("2–3", "b0"), ("1–3", "c0")]
    (said,) = [sentence for sentence in explain(ranking) if sentence.startswith("A rank says")]
    assert "2 rows may be the best" in said
    # the third is not separated from the first place's row, nor from any other: nothing may say that it is
    assert "separates it from the rows outside" not in " ".join(explain(ranking))


def test_a_trial_of_the_search_that_did_not_finish_chooses_nothing_among_the_confirmed() -> None:
    again = result("c", lr=1, seed=9, phase="confirm", test_accuracy=0.8, val_accuracy=None, val_loss=None)
    again = replace(again, recipe=again.recipe | {"val_size": 0})
    results = [
        result("s0", lr=1, seed=0, test_accuracy=0.8, val_accuracy=0.9),
        result("s1", lr=1, seed=1, status="stopped", epochs=5, val_accuracy=0.1),
        again,
    ]
    assert chosen(*results) == "c"


def test_where_validation_images_are_trained_on_too_the_search_chooses_among_the_confirmed() -> None:
    def confirmed(name: str, lr: float, accuracy: float) -> TrialResult:
        one = result(name, lr=lr, seed=1, phase="confirm", test_accuracy=accuracy, val_accuracy=None, val_loss=None)
        return replace(one, recipe=one.recipe | {"val_size": 0})

    results = [
        result("s1", lr=1, test_accuracy=0.8, val_accuracy=0.9),
        result("s2", lr=2, test_accuracy=0.8, val_accuracy=0.7),
        confirmed("c2", 2, 0.99),
        confirmed("c1", 1, 0.85),
    ]
    assert chosen(*results) == "c1"


@pytest.mark.parametrize("how", ["diverged", "failed", "stopped", "unfinished"])
def test_confirmed_on_all_images_a_configuration_that_lost_a_seed_in_the_search_is_not_chosen(how: str) -> None:
    def confirmed(name: str, lr: float) -> TrialResult:
        one = result(name, lr=lr, seed=9, phase="confirm", test_accuracy=0.8, val_accuracy=None, val_loss=None)
        return replace(one, recipe=one.recipe | {"val_size": 0})

    searched = [
        *(result(f"a{seed}", lr=1, seed=seed, test_accuracy=0.8, val_accuracy=0.9) for seed in (0, 1)),
        result("b0", lr=2, seed=0, test_accuracy=0.8, val_accuracy=0.92),
        result("b1", lr=2, seed=1, status=how, epochs=5, val_accuracy=0.5),
    ]
    assert chosen(*searched) == "a0"
    ranking = rank([*searched, confirmed("cA", 1), confirmed("cB", 2)], {})
    assert ranking.chosen is not None
    assert ranking.chosen.results[0].trial == "cA"
    assert [standing.results[0].trial for standing in ranking.incomplete] == ["cB"]
    said = "Not chosen, because not all of their seeds, of the search and fresh ones, have finished: cB."
    assert said in explain(ranking)


def test_beside_another_run_the_choice_of_a_run_that_confirmed_on_all_images_counts() -> None:
    again = result("x/c1", lr=1, seed=1, phase="confirm", test_accuracy=0.8, val_accuracy=None, val_loss=None)
    again = replace(again, recipe=again.recipe | {"val_size": 0})
    searched = result("x/s1", lr=1, test_accuracy=0.8, val_accuracy=0.9)
    weaker = result("y/t", lr=3, test_accuracy=0.85, val_accuracy=0.7)
    assert chosen(again, searched, weaker) == "x/c1"
    assert chosen(again, searched, replace(weaker, val_accuracy=0.95)) == "y/t"


def test_of_confirmed_seeds_without_validation_the_first_one_is_exported_and_not_the_best_on_the_test_set() -> None:
    def confirmed(seed: int, accuracy: float) -> TrialResult:
        fields = {"test_accuracy": accuracy, "val_accuracy": None, "val_loss": None}
        one = result(f"c{seed}", lr=1, seed=seed, phase="confirm", **fields)
        return replace(one, recipe=one.recipe | {"val_size": 0})

    searched = result("s", lr=1, test_accuracy=0.8, val_accuracy=0.9)
    trial = chosen_trial_of(rank([searched, confirmed(1, 0.85), confirmed(2, 0.95), confirmed(3, 0.9)], {}))
    assert trial
    assert trial.trial == "c1"


def test_where_some_trials_track_the_test_set_the_text_says_which_read_it_once() -> None:
    tracked = result("a", lr=1, test_accuracy=0.9)
    tracked = replace(tracked, recipe=tracked.recipe | {"track_test": True})
    said = " ".join(explain(rank([tracked, result("b", lr=2, test_accuracy=0.8)], {})))
    assert "once, at the end of trials without track_test; the others read it after every epoch." in said


def test_a_tracked_test_set_is_not_said_to_be_read_once() -> None:
    tracked = result("a", test_accuracy=0.9)
    tracked = replace(tracked, recipe=tracked.recipe | {"track_test": True})
    assert "The test set is read after every epoch, because track_test is on" in explain(rank([tracked], {}))[0]
    assert "The test set is read once, at the end of a trial" in explain(rank([result("a", test_accuracy=0.9)], {}))[0]


def test_a_stopped_trial_is_below_all_finished_ones_and_averaged_with_none() -> None:
    results = [
        result("stopped", status="stopped", lr=1, seed=0, epochs=19, val_accuracy=0.99),
        result("finished", lr=1, seed=1, test_accuracy=0.4, val_accuracy=0.4),
        result("failed", status="failed", lr=2, val_accuracy=None, val_loss=None),
    ]
    ranking = rank(results, {})
    assert ranks(ranking) == [("1", "finished"), ("–", "stopped"), ("–", "failed")]
    assert ranking.standings[0].val_accuracy == 0.4


def test_validation_chooses_whatever_the_test_set_says() -> None:
    results = [
        result("a", lr=1, test_accuracy=0.9, val_accuracy=0.5),
        result("b", lr=2, test_accuracy=0.8, val_accuracy=0.6),
    ]
    ranking = rank(results, {})
    assert ranking.chosen is not None
    assert ranking.chosen.results[0].trial == "b"


def chosen(*results: TrialResult) -> str:
    found = rank(results, {}).chosen
    assert found is not None
    return found.results[0].trial


def test_of_equal_validation_accuracies_the_lower_loss_is_chosen_whatever_the_test_set_says() -> None:
    better = result("a", lr=1, val_accuracy=0.6, val_loss=0.9, test_accuracy=0.1)
    worse = result("b", lr=2, val_accuracy=0.6, val_loss=1.1, test_accuracy=0.9)
    assert chosen(better, worse) == chosen(worse, better) == "a"


def test_of_equal_validation_accuracies_and_losses_the_one_listed_first_is_chosen() -> None:
    low = result("low", lr=1, val_accuracy=0.6, val_loss=0.9, test_accuracy=0.1)
    high = result("high", lr=2, val_accuracy=0.6, val_loss=0.9, test_accuracy=0.9)
    assert chosen(low, high) == "low"
    assert chosen(high, low) == "high"


def test_seeds_with_equally_many_right_images_are_a_tie_however_they_are_spread() -> None:
    """The floats of 141/144 + 144/144 and of 142/144 + 143/144 differ in the last bit."""
    spread = [result(f"spread{right}", lr=1, seed=right, **reached(right, val_loss=0.2)) for right in (141, 144)]
    close = [result(f"close{right}", lr=2, seed=right, **reached(right, val_loss=0.9)) for right in (142, 143)]
    assert chosen(*spread, *close) == chosen(*close, *spread) == "spread144"
    assert ranks(rank([*spread, *close], {}))[0][1] == "spread144"
    assert ranks(rank([*close, *spread], {}))[0][1] == "close143"


def reached(right: int, *, val_loss: float) -> dict[str, float]:
    return {"val_accuracy": right / 144, "test_accuracy": right / 144, "val_loss": val_loss}


@pytest.mark.parametrize("how", ["diverged", "failed", "stopped", "unfinished"])
def test_a_configuration_that_lost_a_seed_is_named_and_not_chosen_before_a_complete_one(how: str) -> None:
    complete = [result(f"c{seed}", lr=1, seed=seed, val_accuracy=0.5, test_accuracy=0.5) for seed in (0, 1)]
    incomplete = [
        result("i0", lr=2, seed=0, val_accuracy=0.9, test_accuracy=0.9),
        result("i1", lr=2, seed=1, status=how, val_accuracy=0.3 if how == "stopped" else None, val_loss=None),
    ]
    ranking = rank([*incomplete, *complete], {})
    assert ranking.chosen is not None
    assert ranking.chosen.results[0].trial == "c0"
    assert [standing.results[0].trial for standing in ranking.incomplete] == ["i0"]
    assert "Not chosen, because not all of their seeds have finished: i0." in explain(ranking)
    assert chosen(*incomplete) == "i0", "there is no complete one"


def test_an_incomplete_configuration_that_validation_puts_behind_is_not_named() -> None:
    complete = result("c", lr=1, val_accuracy=0.9, test_accuracy=0.5)
    incomplete = result("i", lr=2, val_accuracy=0.5, test_accuracy=0.9)
    ranking = rank([complete, incomplete, result("x", lr=2, seed=1, status="failed")], {})
    assert (ranking.chosen, ranking.incomplete) == (next(s for s in ranking.standings if s.results == [complete]), [])


@pytest.mark.parametrize("how", ["diverged", "failed", "stopped", "unfinished"])
def test_without_validation_a_configuration_that_lost_seeds_is_not_taken_before_a_complete_one(how: str) -> None:
    unknown: dict[str, Any] = {"val_accuracy": None, "val_loss": None}
    complete = [result(f"c{seed}", lr=1, seed=seed, test_accuracy=0.9, **unknown) for seed in range(3)]
    survivor = result("i0", lr=2, seed=0, test_accuracy=0.92, **unknown)
    lost = [result(f"i{seed}", lr=2, seed=seed, status=how, **unknown) for seed in (1, 2)]
    ranking = rank([survivor, *lost, *complete], {})
    assert ranking.chosen is None
    assert ranking.standings[0].results == [survivor]
    trial = chosen_trial_of(ranking)
    assert trial is not None
    assert trial.trial == "c0"
    assert broken("test_accuracy >= 0.91", ranking) == "test_accuracy >= 0.91: test_accuracy is 0.9"
    assert any(sentence.startswith("c0 stands for the run") for sentence in explain(ranking))
    alone = chosen_trial_of(rank([survivor, *lost], {}))
    assert alone is not None
    assert alone.trial == "i0", "there is no complete one"


def test_once_confirmed_only_fresh_seeds_are_ranked() -> None:
    results = [
        result("lucky", lr=1, seed=0, test_accuracy=0.99),
        *(
            result(f"again-{seed}", lr=1, seed=seed, test_accuracy=0.9 + seed / 1000, phase="confirm")
            for seed in (1, 2)
        ),
    ]
    ranking = rank(results, {})
    assert ranks(ranking) == [("1", "again-1"), ("–", "lucky")]
    assert ranking.standings[0].seeds == 2
    assert any("fresh seeds" in sentence for sentence in explain(ranking))


def test_rows_of_a_search_below_its_confirmed_ones_are_in_the_order_of_their_test_accuracy_too() -> None:
    searched = [
        result("best on validation", lr=1, test_accuracy=0.7, val_accuracy=0.9),
        result("second", lr=2, test_accuracy=0.6, val_accuracy=0.8),
        *(result(f"lucky-{seed}", lr=3, seed=seed, test_accuracy=0.99, val_accuracy=0.5) for seed in (0, 1)),
        result("stopped", lr=4, status="stopped", epochs=5, val_accuracy=0.95),
    ]
    again = [result(f"again-{seed}", lr=1, seed=seed, test_accuracy=0.8, phase="confirm") for seed in (1, 2)]
    ranking = rank([*searched, *again], {})
    shown = [(one.rank, one.results[0].trial) for one in ranking.standings]
    assert shown == [("1", "again-1"), ("–", "lucky-0"), ("–", "best on validation"), ("–", "second"), ("–", "stopped")]
    order = "Rows with a rank, and those without one below them, are in the order of their test accuracy."
    assert order in explain(ranking)[0]
    assert " Rows are in the order of their test accuracy." in explain(rank(searched, {}))[0]


def test_a_run_that_confirmed_its_best_takes_no_rank_from_another_run() -> None:
    again = [result(f"x/a{seed}", seed=seed, test_accuracy=0.9 + seed / 1000, phase="confirm") for seed in (1, 2)]
    results = [*again, result("x/a", test_accuracy=0.95), result("y/b", lr=0.2, test_accuracy=0.8)]
    ranking = rank(results, {})
    assert ranks(ranking) == [("1", "x/a1"), ("2", "y/b"), ("–", "x/a")]
    said = " ".join(explain(ranking))
    assert (
        "Of a run that confirmed its best configurations, only those that were trained again with fresh seeds" in said
    )
    assert "Only the configurations that were trained again" not in said
    assert not any("The search has" in sentence for sentence in explain(ranking))


def test_of_a_search_the_configurations_are_counted_that_were_not_trained_again() -> None:
    searched = [result(f"s{at}", lr=at, test_accuracy=0.5 + at / 100) for at in range(1, 6)]
    lost = [result("s1-1", lr=1, seed=1, status="failed")]
    again = [
        result(f"a{at}-{seed}", lr=at, seed=seed, phase="confirm", test_accuracy=0.5)
        for at in (4, 5)
        for seed in (1, 2)
    ]
    assert "The search has 3 more." in " ".join(explain(rank([*searched, *lost, *again], {})))


def test_rows_without_a_rank_are_not_among_those_that_ranks_are_of() -> None:
    ranking = rank([*seeds("a", 0.1, 0.9, 0.8), *seeds("b", 0.2, 0.5, 0.6), result("c", status="failed", lr=0.3)], {})
    assert (
        footer(ranking, rearranged=True)[-1] == "Ranks are those among all 2 rows that have a rank, by test accuracy."
    )


def test_a_choice_between_rows_of_other_validation_images_is_said_to_be_less_sure() -> None:
    small, large = result("a", test_accuracy=0.8), result("b", test_accuracy=0.8)
    other = replace(large, recipe={**large.recipe, "val_size": 0.2})
    said = "The rows differ in val_size (0.1, 0.2), so their validation accuracies may be of different images"
    assert said in " ".join(explain(rank([small, other], {})))
    assert "differ in val_size" not in " ".join(explain(rank([small, result("b", lr=0.2, test_accuracy=0.8)], {})))


def test_several_data_sets_are_named_as_what_does_not_compare() -> None:
    def on(dataset: str) -> TrialResult:
        made = result(dataset, test_accuracy=0.9)
        return replace(made, recipe={**made.recipe, "dataset": dataset})

    assert any("on 2 different sets of images" in one for one in explain(rank([on("cifar10"), on("digits")], {})))
    assert not any("sets of images" in one for one in explain(rank([on("cifar10")], {})))


@pytest.mark.parametrize("field", [{"test_size": 0.3}, {"skip_bad": True}, {"follow_links": True}])
def test_what_else_decides_on_the_test_images_is_named_as_what_does_not_compare(field: dict[str, Any]) -> None:
    one, other = result("a", lr=1, test_accuracy=0.9), result("b", lr=2, test_accuracy=0.1)
    ranking = rank([one, replace(other, recipe=other.recipe | field)], {})
    assert ranks(ranking) == [("1–2", "a"), ("1–2", "b")]
    assert any("on 2 different sets of images" in sentence for sentence in explain(ranking))


def test_the_same_trial_of_two_runs_is_two_rows() -> None:
    both = [result("x/t", test_accuracy=0.9), result("y/t", test_accuracy=0.8)]
    assert [standing.seeds for standing in rank(both, {}).standings] == [1, 1]


def test_rows_can_be_ordered_and_cut_while_ranks_stay() -> None:
    results = [
        result(name, lr=lr, test_accuracy=acc, seconds=s)
        for name, lr, acc, s in (("a", 3.0, 0.9, 5.0), ("b", 1.0, 0.5, 1.0), ("c", 2.0, 0.7, 3.0))
    ]
    ranking = rank(results, {})
    assert [trial for _, trial in ranks(arranged(ranking, by="lr"))] == ["b", "c", "a"]
    assert [trial for _, trial in ranks(arranged(ranking, by="seconds", most=2))] == ["b", "c"]
    assert [trial for _, trial in ranks(arranged(ranking, by="-test_accuracy"))] == ["a", "c", "b"]
    assert [trial for _, trial in ranks(arranged(ranking, by="trial"))] == ["a", "b", "c"]
    assert [trial for _, trial in ranks(arranged(ranking, by="-trial"))] == ["c", "b", "a"]
    with pytest.raises(ExperimentError, match="unknown column for --sort 'acc'; did you mean 'test_accuracy'"):
        arranged(ranking, by="acc")


def test_rows_without_a_value_stand_last_in_either_order() -> None:
    results = [result("a", lr=1.0), result("b", lr=2.0, test_accuracy=0.5), result("c", lr=3.0, test_accuracy=0.7)]
    ranking = rank(results, {})
    assert [trial for _, trial in ranks(arranged(ranking, by="test_accuracy"))] == ["b", "c", "a"]
    assert [trial for _, trial in ranks(arranged(ranking, by="-test_accuracy"))] == ["c", "b", "a"]


def test_of_no_results_it_is_said_that_none_has_finished() -> None:
    nothing = rank([], {})
    assert (nothing.standings, nothing.chosen, nothing.resolution) == ([], None, None)
    assert explain(nothing) == ["No trial has finished."]
    assert arranged(rank([], {}), by="seconds").standings == []


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [((0.99, 0.9), (0.945 - 12.7062 * 0.045, 1.0)), ((0.01, 0.1), (0.0, 0.055 + 12.7062 * 0.045))],
)
def test_an_interval_ends_where_accuracies_do(accuracies: tuple[float, float], expected: tuple[float, float]) -> None:
    results = [result(f"a{seed}", seed=seed, test_accuracy=acc) for seed, acc in enumerate(accuracies)]
    (standing,) = rank(results, {}).standings
    assert standing.interval is not None
    assert (standing.interval.low, standing.interval.high) == pytest.approx(expected, abs=1e-4)
    assert 0 <= standing.interval.low <= standing.interval.high <= 1


def test_seeds_that_agree_by_chance_have_no_interval_where_predictions_are_missing() -> None:
    (standing,) = rank([result(f"a{seed}", seed=seed, test_accuracy=0.9) for seed in (0, 1, 2)], {}).standings
    assert (standing.test_accuracy, standing.interval) == (pytest.approx(0.9), None)


def test_intervals_without_predictions_are_said_to_be_for_other_seeds_only() -> None:
    results = [*seeds("a", 1, 0.95, 0.96), *seeds("b", 2, 0.94, 0.95)]
    without = " ".join(explain(rank(results, {})))
    assert "95 %, for other seeds only, because predictions are missing: Student's t over 2 seeds. Tests" in without
    seen = {f"a{seed}": right_on((0, 1900 + 20 * seed)) for seed in (0, 1)}
    some = " ".join(explain(rank(results, seen)))
    assert "and the variance of the images. Where predictions are missing, they are for other seeds only." in some
    whole = " ".join(explain(rank(results, seen | {f"b{seed}": right_on((0, 1880 + 20 * seed)) for seed in (0, 1)})))
    assert "for other seeds and other test images" in whole
    assert "predictions are missing" not in whole


def test_seeds_that_were_stopped_are_not_passed_over_in_silence() -> None:
    finished = [result("a0", test_accuracy=0.9), result("b0", lr=0.2, test_accuracy=0.8)]
    stopped = result("a1", seed=1, status="stopped", epochs=4)
    assert any(
        "In 1 ranked configuration, some seeds were stopped early" in s for s in explain(rank([*finished, stopped], {}))
    )
    for how in ("failed", "diverged"):
        lost = result("a1", seed=1, status=how, epochs=4)
        said = "In 1 ranked configuration, some seeds were stopped early, failed or diverged."
        assert any(said in s for s in explain(rank([*finished, lost], {})))
    other = result("c1", seed=1, lr=0.3, status="stopped", epochs=4)
    assert not any("were stopped early" in s for s in explain(rank([*finished, other], {})))


@pytest.mark.parametrize("status", ["stopped", "paused", "failed", "diverged"])
def test_the_advice_to_rescue_is_given_where_a_seed_of_a_ranked_row_was_stopped(status: str) -> None:
    rows = [result("a0", test_accuracy=0.9), result("a1", seed=1, status=status, epochs=4)]
    elsewhere = result("c1", seed=1, lr=0.3, status="stopped", epochs=4)
    said = " ".join(explain(rank([*rows, elsewhere], {})))
    assert ("; asha: {rescue: N} in the experiment trains the N best" in said) == (status in {"stopped", "paused"})
    assert "--no-asha" not in said


def test_of_configurations_that_lost_a_seed_those_that_have_a_rank_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.analysis.ranking.MOST_COMPARED", 2)
    finished = [result(f"t{lr}", lr=lr, test_accuracy=1 - lr / 10) for lr in (1, 2, 3, 4)]
    stopped = [result(f"s{lr}", lr=lr, seed=1, status="stopped", epochs=4) for lr in (1, 3, 4)]
    ranking = rank([*finished, *stopped], {})
    assert [standing.rank for standing in ranking.standings] == ["1–2", "1–2", *"–––––"]
    assert any("In 1 ranked configuration, some seeds were stopped early" in said for said in explain(ranking))


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("accuracy", "mean accuracy over the others is biased upwards"),
        ("nll", "mean negative log-likelihood over the others is too low"),
    ],
)
def test_the_mean_of_the_seeds_that_were_not_stopped_is_said_to_look_too_good(select: str, said: str) -> None:
    results = [result("a0", test_accuracy=0.9), result("a1", seed=1, status="stopped", epochs=4)]
    for one in results:
        one.recipe["select"] = select
    assert said in " ".join(explain(rank(results, {})))


def test_the_article_before_a_metric_is_the_one_that_english_has() -> None:
    seen = right_on((0, 1800))
    for select, text in [
        ("ece", "an expected calibration error of 10.00 %"),
        ("nll", "a negative log-likelihood of 1"),
    ]:
        one = result("a", test_accuracy=0.9)
        one.recipe["select"] = select
        ranking = rank([one], {"a": seen})
        assert ranking.score_text(ranking.standings[0]).startswith(text)


def test_one_seed_of_some_and_several_of_others_are_told_apart_by_their_own_tests() -> None:
    predictions = {"a": right_on((0, 1800)), "b": right_on((0, 1700)), "c": right_on((0, 1600))}
    rows = [("a", 0.1, 0), ("b", 0.2, 0), ("c", 0.2, 1)]
    results = [result(name, lr=lr, seed=seed, test_accuracy=predictions[name].accuracy) for name, lr, seed in rows]
    said = " ".join(explain(rank(results, predictions)))
    assert "Student's t over the seeds" in said
    assert "Where there is one seed, another seed may give another order" in said


def test_metrics_beside_accuracy_are_measured_once_and_only_where_they_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[Predictions] = []

    def measuring(seen: Predictions) -> ClassMetrics:
        measured.append(seen)
        return metrics_of(seen)

    monkeypatch.setattr("raytrain.analysis.ranking.metrics_of", measuring)
    predictions = {"a": right_on((0, 1800)), "b": right_on((0, 1500))}
    ranking = rank([result(name, test_accuracy=one.accuracy) for name, one in predictions.items()], predictions)
    assert "82.50" in plain(ranking)
    assert explain(ranking)
    assert measured == []
    (first,) = ranking.standings  # two trials of one recipe are seeds of one configuration
    for _ in range(2):
        assert first.mean("macro_f1") == pytest.approx(
            (metrics_of(predictions["a"]).macro_f1 + metrics_of(predictions["b"]).macro_f1) / 2
        )
    assert len(measured) == 2
