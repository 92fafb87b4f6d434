"""Tests of analysis.statistics.significance: against independent formulas and simulations whose truth is known."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from raytrain.analysis.statistics.power import (
    mcnemar_power,
    resolvable_gap,
    resolvable_gap_of_images,
    seeds_for,
    welch_power,
)
from raytrain.analysis.statistics.significance import (
    COIN,
    accuracy_interval,
    holm,
    mcnemar,
    mcnemar_of_all,
    mean_interval,
    one_against_several,
    pairwise,
    rank_intervals,
    variance_floor,
    welch,
    wilson,
)

Z = 1.959963984540054


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (9647, 10_000), (3, 7)])
def test_wilson_is_wilsons_formula(correct: int, total: int) -> None:
    rate = correct / total
    middle = (rate + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * math.sqrt(rate * (1 - rate) / total + Z**2 / (4 * total**2))
    interval = wilson(correct, total)
    assert interval.low == pytest.approx(middle - half, abs=1e-12)
    assert interval.high == pytest.approx(middle + half, abs=1e-12)
    independent = stats.binomtest(correct, total).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((independent.low, independent.high), abs=1e-12)


def test_the_interval_over_seeds_is_that_of_the_textbook() -> None:
    # t(0.975, 2) = 4.302653; the standard error of 1, 2, 3 is 1 / sqrt(3)
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.high - 2 == pytest.approx(4.302652729911275 / math.sqrt(3))
    assert 2 - interval.low == pytest.approx(interval.high - 2)


def test_one_seed_says_nothing_about_seeds() -> None:
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([0.9])
    with pytest.raises(ValueError, match="at least two"):
        welch([0.9], [0.8, 0.9])


@pytest.mark.parametrize(("seeds", "deviation"), [(3, 0.002), (5, 0.002), (10, 0.01)])
def test_intervals_over_seeds_hold_the_truth_in_95_of_100_cases(seeds: int, deviation: float) -> None:
    draw = np.random.default_rng(0)
    intervals = [mean_interval(draw.normal(0.95, deviation, seeds).tolist()) for _ in range(4000)]
    assert 0.93 <= np.mean([one.low <= 0.95 <= one.high for one in intervals]) <= 0.97


@pytest.mark.parametrize("accuracy", [0.5, 0.85, 0.9647])
def test_intervals_over_images_hold_the_truth_in_95_of_100_cases(accuracy: float) -> None:
    draw = np.random.default_rng(0)
    intervals = [wilson(int(correct), 10_000) for correct in draw.binomial(10_000, accuracy, 4000)]
    assert 0.93 <= np.mean([one.low <= accuracy <= one.high for one in intervals]) <= 0.97


def separates(runs: Sequence[Any], test: Callable[[Any, Any], float]) -> bool:
    """Return whether any two of some configurations differ by the test."""
    return min(pairwise(len(runs), lambda a, b: test(runs[a], runs[b])).values()) < 0.05


def test_equal_configurations_are_separated_in_at_most_5_of_100_cases() -> None:
    draw = np.random.default_rng(0)
    separated = 0
    for _ in range(1500):
        runs = sorted((draw.normal(0.95, 0.002, 3).tolist() for _ in range(5)), key=lambda run: -np.mean(run))
        separated += separates(runs, welch)
    assert separated / 1500 <= 0.05


def test_equal_classifiers_are_separated_in_at_most_5_of_100_cases() -> None:
    draw = np.random.default_rng(0)
    separated = 0
    for _ in range(500):
        hard = draw.random(2000) < 0.15
        # right on the easy images, a coin on the hard ones
        runs = sorted((~hard | (draw.random(2000) < 0.5) for _ in range(4)), key=lambda run: -run.sum())
        separated += separates(runs, mcnemar)
    assert separated / 500 <= 0.05


def test_a_gap_of_the_resolvable_size_is_found_with_the_power_that_was_asked_for() -> None:
    draw = np.random.default_rng(0)
    for seeds in (2, 3, 5, 10):
        gap = resolvable_gap(1.0, seeds)
        found = [welch(draw.normal(0, 1, seeds), draw.normal(gap, 1, seeds)) < 0.05 for _ in range(2000)]
        assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_without_a_difference_the_power_is_the_significance_level() -> None:
    assert welch_power(0.0, 30) == pytest.approx(0.05, abs=0.001)


def test_a_gap_that_the_test_images_resolve_is_found_with_the_power_that_was_asked_for() -> None:
    draw = np.random.default_rng(0)
    gap = resolvable_gap_of_images(0.05, 10_000)
    assert gap is not None
    found = []
    for _ in range(1000):
        who = draw.random(10_000)  # which of the two is right where only one is
        first, second = who < 0.025 + gap, who > 0.975
        found.append(mcnemar(first, second) < 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_more_seeds_are_asked_for_a_smaller_gap() -> None:
    needed = seeds_for(0.002, 0.002)
    assert needed is not None
    assert resolvable_gap(0.002, needed) <= 0.002 < resolvable_gap(0.002, needed - 1)
    assert seeds_for(0.002, 0.001) < needed < seeds_for(0.001, 0.002)  # type: ignore[operator]
    assert seeds_for(1e-6, 0.1) is None


def test_mcnemar_counts_only_images_on_which_they_differ() -> None:
    first = np.array([True] * 9 + [False] * 3 + [True] * 5)
    second = np.array([False] * 9 + [True] * 3 + [True] * 5)
    # P(X <= 3) of 12 fair coins, both sides
    assert mcnemar(first, second) == pytest.approx(2 * sum(math.comb(12, k) for k in range(4)) / 2**12)
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(9, 12).pvalue)
    assert mcnemar(first, first) == 1.0
    with pytest.raises(ValueError, match="cannot be paired"):
        mcnemar(first, second[:-1])


def test_welch_is_the_t_test_with_welchs_degrees_of_freedom() -> None:
    a, b = [1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 9.0]
    va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
    freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    expected = 2 * stats.t.sf(abs(np.mean(a) - np.mean(b)) / math.sqrt(va + vb), freedom)
    assert welch(a, b) == pytest.approx(expected)
    assert welch([0.5, 0.5], [0.5, 0.5]) == 1.0
    assert welch([0.5, 0.5], [0.6, 0.6]) == 1.0, "without any variance nothing is known"
    assert welch([0.5, 0.5], [0.6, 0.6], floors=(1e-4, 1e-4)) == pytest.approx(2 * stats.t.sf(0.1 / 0.01, 2))


def test_seeds_that_agree_to_the_image_are_compared_without_a_warning() -> None:
    agreeing, spread = [0.98, 0.98, 0.98], [0.97, 0.975, 0.98]
    # Welch's with one variance of 0 is the test of the other's mean against a constant
    assert welch(agreeing, spread) == pytest.approx(stats.ttest_1samp(spread, 0.98).pvalue)


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_makes_a_p_value_smaller_nor_changes_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    assert [corrected[index] for index in order] == sorted(corrected)


def test_a_configuration_ranks_behind_those_that_beat_it_and_ahead_of_those_that_it_beats() -> None:
    apart = {(0, 1): 0.5, (0, 2): 0.01, (0, 3): 0.01, (1, 2): 0.2, (1, 3): 0.01, (2, 3): 0.3}
    assert rank_intervals(apart, 4) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert rank_intervals({}, 1) == [(1, 1)]
    assert rank_intervals({(0, 1): 0.04}, 2) == [(1, 1), (2, 2)]


@given(st.integers(2, 7), st.data())
def test_rank_intervals_overlap_where_two_do_not_differ(count: int, data: st.DataObject) -> None:
    pairs = list(itertools.combinations(range(count), 2))
    differ = data.draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    p_values = {pair: 0.0 if apart else 1.0 for pair, apart in zip(pairs, differ, strict=True)}
    intervals = rank_intervals(p_values, count)
    assert all(1 <= first <= last <= count for first, last in intervals)
    for (better, worse), p_value in p_values.items():
        if p_value == 1.0:
            assert intervals[worse][0] <= intervals[better][1]


def seed_runs(draw: np.random.Generator, *, seeds: int, images: int, hard: float) -> NDArray[np.bool_]:
    """Return which images some seeds of a configuration are right on; some images are hard, each by its own chance."""
    chance = np.where(draw.random(images) < hard, draw.random(images), 0.995)
    return draw.random((seeds, images)) < chance


@pytest.mark.parametrize(("seeds", "images"), [(2, 360), (3, 360), (5, 360), (3, 10_000)])
def test_equal_configurations_on_a_coarse_grid_are_separated_in_at_most_5_of_100_cases(seeds: int, images: int) -> None:
    draw, separated, cases = np.random.default_rng(0), 0, 400
    for _ in range(cases):
        chance = np.where(draw.random(images) < 0.04, draw.random(images), 0.998)
        runs = [draw.random((seeds, images)) < chance for _ in range(5)]
        separated += separates(
            runs,
            lambda a, b: welch(
                a.mean(axis=1).tolist(), b.mean(axis=1).tolist(), floors=(variance_floor(a), variance_floor(b))
            ),
        )
    assert separated / cases <= 0.05


@pytest.mark.parametrize(("seeds", "images"), [(2, 360), (3, 360), (10, 360), (3, 10_000)])
def test_intervals_hold_the_accuracy_of_other_seeds_on_other_images(seeds: int, images: int) -> None:
    """Each image has its own chance to be right, drawn anew for each test set."""
    draw, held, cases = np.random.default_rng(0), 0, 1000
    truth = 0.9 * 0.995 + 0.1 * 0.5
    for _ in range(cases):
        correct = seed_runs(draw, seeds=seeds, images=images, hard=0.1)
        accuracies = correct.mean(axis=1).tolist()
        interval = accuracy_interval(accuracies, correct)
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / cases <= 0.99


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.885), (3, 0.93), (5, 0.945), (10, 0.95)])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0, 2.7, 10.0, 100.0])
def test_few_seeds_that_agree_by_chance_do_not_count_as_sure(seeds: int, least: float, ratio: float) -> None:
    """The variance over seeds is `ratio` times that over images; what it is measured to be follows chi-squared."""
    held = 0.0
    measured = stats.chi2.ppf((np.arange(500) + 0.5) / 500, seeds - 1) / (seeds - 1)
    pattern = np.linspace(-1, 1, seeds) / np.std(np.linspace(-1, 1, seeds), ddof=1)
    for variance in ratio * measured:
        values = (pattern * math.sqrt(variance * seeds)).tolist()
        half = mean_interval(values, images=1.0).high
        held += 2 * stats.norm.cdf(half / math.sqrt(ratio + 1)) - 1
    assert least <= held / len(measured) <= 0.97


def test_the_variance_floor_is_that_of_independent_images() -> None:
    draw = np.random.default_rng(0)
    chance = np.where(np.arange(400) < 100, 0.5, 1.0)
    floors = [variance_floor(draw.random((3, 400)) < chance) for _ in range(500)]
    assert np.mean(floors) == pytest.approx((100 * 0.25 + COIN) / 400**2, rel=0.03)
    agreeing = np.ones((2, 400), dtype=bool)
    assert variance_floor(agreeing) == 0.25 / 400**2


def test_the_interval_of_an_accuracy_ends_where_the_mean_is_as_far_as_the_variance_there_allows() -> None:
    draw = np.random.default_rng(0)
    correct = draw.random((4, 5000)) < np.where(np.arange(5000) < 4000, 1.0, 0.5)
    accuracies, images, seeds = correct.mean(axis=1), correct.shape[1], len(correct)
    interval = accuracy_interval(accuracies.tolist(), correct)
    over_seeds = max(accuracies.var(ddof=1), variance_floor(correct)) / seeds
    apart = correct.var(axis=0, ddof=1).mean()
    middle = (accuracies.mean() * images + Z**2 / 2) / (images + Z**2)
    correlation = 1 - apart / (middle * (1 - middle))
    deviations = [
        (end - accuracies.mean()) / math.sqrt(over_seeds + correlation * end * (1 - end) / images)
        for end in (interval.low, interval.high)
    ]
    assert deviations[1] == pytest.approx(-deviations[0])
    freedom = (seeds - 1) * (1 + correlation * middle * (1 - middle) / images / over_seeds) ** 1.5
    assert deviations[1] == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)


def test_where_all_images_are_alike_ten_seeds_halve_the_interval_of_one_at_least() -> None:
    """Each image is right with the same probability, so further seeds are as good as further images."""
    draw, widths = np.random.default_rng(0), []
    for _ in range(200):
        correct = draw.random((10, 400)) < 0.9
        interval = accuracy_interval(correct.mean(axis=1).tolist(), correct)
        widths.append(interval.high - interval.low)
    one, whole = (wilson(9 * images // 10, images) for images in (400, 4000))
    assert whole.high - whole.low <= np.mean(widths) <= (one.high - one.low) / 2


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("wrong", [0, 1, 5, 360])
def test_seeds_that_are_right_on_the_same_images_have_about_the_interval_of_one(seeds: int, wrong: int) -> None:
    correct = np.tile(np.arange(360) >= wrong, (seeds, 1))
    interval, one = accuracy_interval(correct.mean(axis=1).tolist(), correct), wilson(360 - wrong, 360)
    assert (interval.low, interval.high) == pytest.approx((one.low, one.high), abs=0.002)
    assert interval.low <= one.low + 1e-12
    assert interval.high >= one.high - 1e-12


def test_one_seed_against_several_is_students_test_of_a_further_observation() -> None:
    draw = np.random.default_rng(0)
    found = [one_against_several(draw.normal(), draw.normal(size=3).tolist()) < 0.05 for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.01)
    assert one_against_several(0.9, [0.5, 0.5]) == 1.0
    assert one_against_several(0.9, [0.5, 0.5], floor=1e-4) < 0.05
    with pytest.raises(ValueError, match="at least two"):
        one_against_several(0.9, [0.5])


@pytest.mark.parametrize(("disagreement", "images"), [(0.0306, 360), (0.05, 360), (0.05, 10_000)])
def test_the_power_of_mcnemars_test_is_that_of_a_simulation(disagreement: float, images: int) -> None:
    draw, gap, alpha = np.random.default_rng(0), 0.03 if images == 360 else 0.006, 0.005
    found = []
    for _ in range(2000):
        who = draw.random(images)
        first, second = who < disagreement / 2 + gap, who > 1 - disagreement / 2
        found.append(mcnemar(first, second) < alpha)
    assert np.mean(found) == pytest.approx(mcnemar_power(gap, disagreement, images, alpha=alpha), abs=0.035)


@pytest.mark.parametrize(
    ("gap", "disagreement", "images"), [(0.0, 0.1, 30), (0.2, 0.1, 40), (0.1, 0.0, 25), (0.3, 0.7, 6)]
)
def test_the_power_of_mcnemars_test_is_the_sum_over_all_that_may_come_out(
    gap: float, disagreement: float, images: int
) -> None:
    shares = (disagreement / 2 + gap, disagreement / 2, max(0.0, 1 - disagreement - gap))
    power = 0.0
    for first in range(images + 1):
        for second in range(images + 1 - first):
            if stats.binomtest(first, first + second).pvalue < 0.05 if first + second else False:
                power += stats.multinomial.pmf([first, second, images - first - second], images, shares)
    assert mcnemar_power(gap, disagreement, images, alpha=0.05) == pytest.approx(power, abs=1e-9)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_an_accuracy_that_is_none_has_no_interval(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} of {total} images are no accuracy"):
        wilson(correct, total)


def test_a_resolvable_gap_is_one_that_can_exist() -> None:
    gap = resolvable_gap_of_images(0.0306, 360, alpha=0.005)
    assert gap is not None
    assert 0.036 <= gap <= 0.059
    assert resolvable_gap_of_images(0.1, 5) is None


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_all_pairs_counted_together_have_the_p_values_of_each_pair_to_the_last_digit(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.analysis.statistics.significance.AT_ONCE", at_once)
    draw = np.random.default_rng(0)
    correct = draw.random((12, 61)) < draw.uniform(0.2, 0.95, (12, 1))
    correct[3], correct[4], correct[5] = correct[2], True, False
    expected = [[mcnemar(one, other) for other in correct] for one in correct]
    assert mcnemar_of_all(correct).tolist() == expected
