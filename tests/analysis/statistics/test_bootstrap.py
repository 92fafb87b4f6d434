"""Tests of raytrain.analysis.statistics.bootstrap: against slow loops, closed forms and the statistics of accuracy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from raytrain.analysis.assertion import broken
from raytrain.analysis.ranking import rank
from raytrain.analysis.statistics.bootstrap import BY_CLASS, MetricSample, drawn_counts, drawn_of, replicates
from raytrain.analysis.statistics.significance import variance_floor
from raytrain.analysis.wording import explain, footer
from raytrain.metrics.predictions import Predictions
from raytrain.report import records, table
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

COUNTS = (400, 60, 30, 10)


def network(seed: int, *, accuracy: float = 0.8, counts: tuple[int, ...] = COUNTS) -> Predictions:
    """Return what a network says that is right on each image with one probability, and else names any class."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    right = draw.random(len(labels)) < accuracy
    predicted = np.where(right, labels, draw.integers(0, len(counts), len(labels)))
    return Predictions(
        labels,
        predicted,
        draw.uniform(0.2, 1.0, len(labels)).astype(np.float32),
        ranks=np.where(predicted == labels, 0, draw.integers(1, 9, len(labels))),
        losses=draw.exponential(size=len(labels)),
    )


def slow_ece(confidences: list[float], correct: list[bool]) -> float:
    """Return the expected calibration error by a loop over 15 bins, as Guo et al. 2017 write it."""
    total = 0.0
    for number in range(15):
        rows = [row for row, one in enumerate(confidences) if number / 15 < one <= (number + 1) / 15]
        if rows:
            confidence, accuracy = (sum(values[row] for row in rows) / len(rows) for values in (confidences, correct))
            total += len(rows) / len(correct) * abs(confidence - accuracy)
    return total


def slow_metric(select: str, one: Predictions, rows: np.ndarray) -> float:
    if select == "nll":
        assert one.losses is not None
        return float(one.losses[rows].mean())
    if select == "top5_accuracy":
        assert one.ranks is not None
        return float(np.mean([rank in {0, 1, 2, 3, 4} for rank in one.ranks[rows]]))
    if select == "ece":
        return slow_ece(one.probabilities[rows].tolist(), one.correct[rows].tolist())
    if select == "balanced_accuracy":
        return float(metrics.balanced_accuracy_score(one.labels[rows], one.predicted[rows]))
    return float(metrics.f1_score(one.labels[rows], one.predicted[rows], average="macro"))


@pytest.mark.parametrize("select", ["balanced_accuracy", "macro_f1", "top5_accuracy", "nll", "ece"])
def test_replicates_are_the_metric_of_the_images_that_were_drawn(select: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.analysis.statistics.bootstrap.ADDED", 0)
    networks = [network(0), network(1)]
    found = replicates(networks, select, drawings=6)
    assert found is not None
    labels = networks[0].labels
    ((counts, _),) = drawn_counts(labels if select in BY_CLASS else np.zeros_like(labels), 6)
    for column, drawn in enumerate(counts):
        rows = np.repeat(np.arange(len(drawn)), drawn.astype(int))
        per_class = np.bincount(labels[rows])
        assert select in BY_CLASS or len(rows) == len(labels) - 1
        assert select not in BY_CLASS or per_class.tolist() == [count - 1 for count in COUNTS]
        weights = np.array(COUNTS) / per_class  # each class counts as many images as it has
        expected = [
            metrics.f1_score(
                one.labels[rows], one.predicted[rows], average="macro", sample_weight=weights[labels[rows]]
            )
            if select == "macro_f1"
            else slow_metric(select, one, rows)
            for one in networks
        ]
        assert found[:, column] == pytest.approx(expected, rel=1e-5)


def test_one_image_fewer_than_a_class_has_is_drawn_and_at_least_one() -> None:
    assert drawn_of(np.array([1, 2, 3, 10])).tolist() == [1, 1, 2, 9]


def test_added_images_take_the_place_of_drawn_ones_and_are_right_half_of_the_time() -> None:
    labels = network(0).labels
    ((counts, more),) = drawn_counts(labels, 200, added=2)
    for index, count in enumerate(COUNTS):
        assert (counts[:, labels == index].sum(axis=1) + more[:, index] == count - 1).all()
        assert more[:, index].mean() == pytest.approx(2 * count / (count + 2), abs=0.5)
    perfect = Predictions(labels, labels, np.ones(len(labels), dtype=np.float32))
    balanced, f1 = (replicates([perfect], select) for select in ("balanced_accuracy", "macro_f1"))
    assert balanced is not None
    assert f1 is not None
    wrong = np.mean([1 / (count + 2) for count in COUNTS])  # one of two added images of each class
    assert balanced.mean() == pytest.approx(1 - wrong, abs=0.003)
    assert f1.mean() < 1


def equal_networks(rarest: int, draw: np.random.Generator, *, seeds: int, perfect: bool = False) -> list[MetricSample]:
    """Return two configurations that are right on each image with probability 0.9, half of the images by themselves."""
    labels = np.repeat([0, 1, 2], [60, 60, rarest])
    sure, right_where_sure = draw.random(len(labels)) < 0.5, draw.random(len(labels)) < 0.9
    samples: list[MetricSample] = []
    for _ in range(2):
        trained: list[Predictions] = []
        for _ in range(seeds):
            right = perfect | np.where(sure, right_where_sure, draw.random(len(labels)) < 0.9)
            predicted = np.where(right, labels, (labels + draw.integers(1, 3, len(labels))) % 3)
            trained.append(Predictions(labels, predicted, np.ones(len(labels), dtype=np.float32)))
        samples.append(sample(*trained, drawings=200))
    return samples


@pytest.mark.parametrize(("rarest", "seeds"), [(1, 1), (3, 1), (10, 1), (1, 3), (3, 3)])
def test_equal_networks_are_seldom_told_apart_however_few_images_a_class_has(rarest: int, seeds: int) -> None:
    draw = np.random.default_rng(rarest)
    p_values = [one.p_value(other) for one, other in (equal_networks(rarest, draw, seeds=seeds) for _ in range(80))]
    assert sum(p_value < 0.05 for p_value in p_values) <= 8  # of 80, 4 are promised: two standard errors more
    assert min(p_values) > 0


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_perfect_networks_has_a_width_and_ends_at_1(seeds: int) -> None:
    one, other = equal_networks(10, np.random.default_rng(0), seeds=seeds, perfect=True)
    found = one.interval()
    assert found is not None
    assert 0.7 < found.low < 0.99
    assert found.high == 1.0
    assert one.p_value(other) == 1.0


def test_without_predictions_equal_seeds_have_no_interval() -> None:
    assert MetricSample([0.9, 0.9], None, "digits").interval() is None


def test_networks_whose_losses_differ_by_the_same_number_are_not_told_apart_with_certainty() -> None:
    def of_loss(loss: float) -> MetricSample:
        labels = network(0).labels
        same = Predictions(labels, labels, np.ones(len(labels)), losses=np.full(len(labels), loss, dtype=np.float32))
        return MetricSample([loss], replicates([same], "nll"), "digits", most=float("inf"))

    assert of_loss(0.5).p_value(of_loss(0.75)) == 1.0
    assert of_loss(0.5).interval() is None


def test_drawings_in_several_parts_are_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.analysis.statistics.bootstrap.AT_ONCE", 3 * sum(COUNTS))
    found = replicates([network(0)], "macro_f1", drawings=10)
    assert found is not None
    assert found.shape == (1, 10)


def test_the_deviation_of_balanced_accuracy_is_that_of_its_closed_form() -> None:
    one = network(0)
    found = replicates([one], "balanced_accuracy", drawings=4000)
    assert found is not None
    shares = [one.correct[one.labels == label].mean() for label in range(4)]
    # one of the two added images is right, one is wrong
    smooth = [(p * n + 1) / (n + 2) for p, n in zip(shares, COUNTS, strict=True)]
    variance = sum(p * (1 - p) / (n - 1) for p, n in zip(smooth, COUNTS, strict=True)) / 16
    assert found.std() == pytest.approx(variance**0.5, rel=0.06)  # of 4,000 drawings: 5 standard errors


def sample(*networks: Predictions, data: str = "digits", drawings: int = 1000) -> MetricSample:
    values = [slow_metric("balanced_accuracy", one, np.arange(len(one.labels))) for one in networks]
    return MetricSample(values, replicates(networks, "balanced_accuracy", drawings=drawings), data)


def test_with_classes_of_equal_size_the_floor_is_that_of_accuracy() -> None:
    """Balanced accuracy is then accuracy."""
    networks = [network(seed, counts=(250, 250)) for seed in range(3)]
    expected = variance_floor(np.stack([one.correct for one in networks]))
    assert sample(*networks).floor == pytest.approx(expected, rel=0.15)


def test_an_interval_of_one_seed_is_that_of_the_normal_distribution_and_stays_below_1() -> None:
    one = sample(network(0))
    found = one.interval()
    assert found is not None
    assert one.replicates is not None
    assert found.high - one.values[0] == pytest.approx(1.96 * one.replicates.std(ddof=1), rel=1e-3)
    nearly = network(0, accuracy=0.999).labels.copy()
    predicted = nearly.copy()
    predicted[-1] = 0
    high = sample(Predictions(nearly, predicted, np.ones(len(nearly), dtype=np.float32))).interval()
    assert high is not None
    assert high.high == 1.0


def test_an_interval_over_seeds_stays_between_0_and_the_largest_value_of_the_metric() -> None:
    low = MetricSample([0.01, 0.1], None, "digits").interval()
    assert low is not None
    assert (low.low, low.high) == (0.0, pytest.approx(0.055 + 12.7062 * 0.045, abs=1e-4))
    high = MetricSample([1.9, 1.99], None, "digits", most=2.0).interval()
    assert high is not None
    assert (high.low, high.high) == (pytest.approx(1.945 - 12.7062 * 0.045, abs=1e-4), 2.0)


def test_networks_are_told_apart_by_their_difference_on_the_same_images() -> None:
    good, bad = network(0, accuracy=0.95), network(1, accuracy=0.4)
    assert sample(good).p_value(sample(bad)) < 1e-6
    assert sample(good).p_value(sample(good)) == 1.0
    # one that is right where the other is, and on 3 more images of the rarest class
    predicted = bad.predicted.copy()
    wrong = np.flatnonzero(~bad.correct & (bad.labels == 3))[:3]
    predicted[wrong] = 3
    better = Predictions(bad.labels, predicted, bad.probabilities)
    # the difference is 3/40; its variance that of 3 of the 10 images of one of four classes, with two added images
    # in each class, on which one of the two is right by chance in half of the cases
    share, difference = (3 + 1) / 12, 3 / 12
    variance = (share - difference**2) / 9 + sum(1 / (count + 2) / (count - 1) for count in COUNTS[:3])
    distance = 0.075 / (variance**0.5 / 4)
    assert sample(better).p_value(sample(bad)) == pytest.approx(2 * stats.norm.sf(distance), rel=0.5)


def test_networks_on_other_images_are_not_told_apart() -> None:
    assert sample(network(0, accuracy=0.95)).p_value(sample(network(1, accuracy=0.1), data="cifar10")) == 1.0
    assert replicates([network(0), network(0, counts=(10, 10))], "macro_f1") is None


def test_predictions_without_losses_have_no_replicates_of_their_loss() -> None:
    one = network(0)
    old = Predictions(one.labels, one.predicted, one.probabilities)
    assert replicates([old], "nll") is None
    assert replicates([old], "macro_f1") is not None


def result(name: str, select: str, *, lr: float, seed: int = 0, **fields: Any) -> TrialResult:
    recipe = Recipe(lr=lr, seed=seed, select=select).model_dump(mode="json")  # type: ignore[arg-type]
    return TrialResult(name, "finished", recipe, 1, 10, **fields)


ALWAYS_FIRST = Predictions(np.repeat([0, 1], [90, 10]), np.zeros(100, dtype=np.int64), np.ones(100, dtype=np.float32))
BOTH = Predictions(np.repeat([0, 1], [90, 10]), np.repeat([0, 1, 1], [80, 10, 10]), np.full(100, 0.9, dtype=np.float32))
"""The first is accurate on 90 of 100 images, the second too, and knows both classes."""


def ranked_by(select: str) -> Any:
    results = [
        result("plain", select, lr=0.1, test_accuracy=0.9, test_loss=0.5, val_accuracy=0.95, val_loss=0.4,
               val_balanced_accuracy=0.5, val_macro_f1=0.45),
        result("both", select, lr=0.2, test_accuracy=0.9, test_loss=0.6, val_accuracy=0.85, val_loss=0.5,
               val_balanced_accuracy=0.9, val_macro_f1=0.8),
    ]  # fmt: skip
    return rank(results, {"plain": ALWAYS_FIRST, "both": BOTH})


@pytest.mark.parametrize(
    ("select", "first", "chosen", "score"),
    [
        ("accuracy", "plain", "plain", 0.9),
        ("balanced_accuracy", "both", "both", (80 / 90 + 1) / 2),
        ("macro_f1", "both", "both", (160 / 170 + 20 / 30) / 2),
        ("nll", "plain", "plain", 0.5),
    ],
)
def test_select_orders_the_rows_and_chooses(select: str, first: str, chosen: str, score: float) -> None:
    ranking = ranked_by(select)
    assert ranking.standings[0].results[0].trial == first
    assert ranking.standings[0].score == pytest.approx(score)
    assert ranking.chosen.results[0].trial == chosen


def test_a_metric_has_its_own_columns_intervals_and_ranks_in_place_of_those_of_accuracy() -> None:
    ranking = ranked_by("balanced_accuracy")
    cells = table.cells_by_heading(ranking)
    assert cells["rank of trained network"] == ["1", "2"]
    assert cells["val balanced accuracy %"] == ["90.00", "50.00"]
    assert cells["test balanced accuracy %"] == ["94.44", "50.00"]
    # of the second class all 10 are right, of the first 80 of 90; two images are added to each
    half = 1.96 * (81 * 11 / 92**2 / 89 + 11 * 1 / 12**2 / 9) ** 0.5 / 2
    low, high = (float(text) / 100 for text in cells["95 % interval"][0].split(" to "))
    assert (low, high) == (pytest.approx(17 / 18 - half, abs=0.005), 1.0)
    row = records.flat_rows(ranking)[0]
    assert row["balanced_accuracy_low"] == pytest.approx(low, abs=1e-4)
    assert row["balanced_accuracy_high"] == pytest.approx(high, abs=1e-4)
    assert row["test_accuracy_low"] is not None


def test_the_interval_of_a_row_of_the_search_is_of_the_metric_too_and_not_of_accuracy() -> None:
    searched = result("plain", "balanced_accuracy", lr=0.1, test_accuracy=0.9, val_accuracy=0.9)
    again = result("both", "balanced_accuracy", lr=0.1, seed=1, phase="confirm", test_accuracy=0.9, val_accuracy=0.9)
    ranking = rank([searched, again], {"plain": ALWAYS_FIRST, "both": BOTH})
    row = records.flat_rows(ranking)[1]
    assert (row["rank"], row["balanced_accuracy"]) == ("–", 0.5)
    # all of the first class are right and none of the second: the added images alone make the width
    half = 1.96 * (91 * 1 / 92**2 / 89 + 1 * 11 / 12**2 / 9) ** 0.5 / 2
    assert row["balanced_accuracy_low"] == pytest.approx(0.5 - half, abs=0.005)
    assert row["balanced_accuracy_high"] == pytest.approx(0.5 + half, abs=0.005)


def test_beyond_the_rows_that_are_compared_no_interval_of_another_metric_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raytrain.analysis.ranking.MOST_COMPARED", 1)
    first, second = records.flat_rows(ranked_by("balanced_accuracy"))
    assert first["balanced_accuracy_low"] is not None
    assert (second["balanced_accuracy_low"], second["balanced_accuracy"] is None) == (None, False)
    assert second["test_accuracy_low"] is not None


def test_the_text_says_by_what_the_rows_are_ranked_and_that_tests_for_accuracy_are_not_used() -> None:
    ranking = ranked_by("balanced_accuracy")
    chosen, order = footer(ranking)
    assert chosen.startswith("Validation chooses both: a balanced accuracy of 94.44 % on the test set.")
    assert order == "The first network is ahead of all others; another seed may not be."
    assert footer(ranking, rearranged=True)[1] == "Ranks are those among all 2 rows, by test balanced accuracy."
    text = " ".join(explain(ranking))
    assert "best epoch on the validation split by balanced accuracy" in text
    assert "the bootstrap (1,000 drawings of the test images" in text
    assert "McNemar's test are for accuracy only, and are not used here" in text
    assert "bootstrap" not in " ".join(explain(ranked_by("accuracy")))


def test_seeds_of_a_configuration_are_averaged_and_tested_as_those_of_accuracy_are() -> None:
    seen = {f"{lr}-{seed}": network(int(10 * lr) + seed, accuracy=0.9 - lr) for lr in (0.1, 0.5) for seed in range(3)}
    results = [
        result(name, "macro_f1", lr=float(name.split("-")[0]), seed=int(name[-1]), test_accuracy=one.accuracy)
        for name, one in seen.items()
    ]
    ranking = rank(results, seen)
    first = ranking.standings[0]
    scores = [slow_metric("macro_f1", seen[f"0.1-{seed}"], np.arange(500)) for seed in range(3)]
    assert first.score == pytest.approx(np.mean(scores))
    assert [standing.rank for standing in ranking.standings] == ["1", "2"]
    assert "Student's t over the seeds" in " ".join(explain(ranking))


def seeds_of(name: str, lr: float, select: str, *seen: Predictions) -> tuple[list[TrialResult], dict[str, Predictions]]:
    found = {f"{name}{seed}": one for seed, one in enumerate(seen)}
    results = [
        result(trial, select, lr=lr, seed=seed, test_accuracy=one.accuracy, test_loss=1 + lr + seed / 1000)
        for seed, (trial, one) in enumerate(found.items())
    ]
    return results, found


def test_where_the_predictions_of_one_seed_are_missing_the_other_seeds_do_not_speak_for_the_configuration() -> None:
    uneven, seen = seeds_of("a", 0.1, "macro_f1", *(network(at, accuracy=0.95 - 0.2 * (at == 2)) for at in range(3)))
    even, others = seeds_of("b", 0.2, "macro_f1", *(network(at, accuracy=0.9) for at in range(3, 6)))
    whole = rank([*uneven, *even], seen | others)
    del seen["a2"]
    lost = rank([*uneven, *even], seen | others)
    first, last = lost.standings
    assert first.results[0].trial == "b0" == whole.standings[0].results[0].trial
    assert (first.rank, last.rank) == ("1–2", "1–2")
    assert (last.score, last.score_interval, last.p_value, last.mean("macro_f1")) == (None, None, 1.0, None)
    assert footer(lost)[-1] == (
        "2 rows may be the best: no test separates one of them from a better one. The macro F1 score of 1 row is not "
        "known, because predictions are missing: no test compares such a row, and it stands below the others."
    )
    assert "for other seeds only" not in " ".join(explain(lost))
    assert "is not known" not in " ".join([*footer(whole), *explain(whole)])


def test_a_chosen_configuration_whose_metric_is_not_known_is_not_said_to_have_a_mean() -> None:
    results, seen = seeds_of("a", 0.1, "macro_f1", network(0), network(1))
    results = [replace(one, val_accuracy=0.9, val_macro_f1=0.9) for one in results]
    del seen["a1"]
    ranking = rank(results, seen)
    assert footer(ranking) == ["Validation chooses a0: an unknown macro F1 score on the test set."]
    assert broken("macro_f1 >= 0.1", ranking) is not None


def test_a_loss_is_compared_where_the_predictions_of_a_seed_are_missing_because_the_results_have_it() -> None:
    low, seen = seeds_of("a", 0.1, "nll", *(network(at) for at in range(3)))
    high, others = seeds_of("b", 1.0, "nll", *(network(at) for at in range(3)))
    for lost in ((), ("b1",), tuple(others)):
        kept = {name: one for name, one in (seen | others).items() if name not in lost}
        assert [one.rank for one in rank([*low, *high], kept).standings] == ["1", "2"]
        assert [one.score for one in rank([*low, *high], kept).standings] == [
            pytest.approx(1.101),
            pytest.approx(2.001),
        ]
