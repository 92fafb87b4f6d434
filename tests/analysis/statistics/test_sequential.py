"""Tests of analysis.statistics.sequential: the evidence is that of the mixture, and looking often does not fool it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from raytrain.analysis.statistics.sequential import (
    SCALE,
    Differences,
    e_values,
    fewest_seeds,
    floors_of,
    mean_sequence,
    online_level,
    seeds_ahead,
    seeds_until_larger,
)


def differences(*values: float, floor: float = 0.0) -> Differences:
    return Differences(np.array(values), np.full(len(values), floor))


def of_t_distributions(values: NDArray[np.float64]) -> float:
    """Return the e-value as a ratio of densities of Student's t, integrated over effects of a half-normal prior."""
    count = len(values)
    t = values.mean() / values.std(ddof=1) * np.sqrt(count)

    def density(effect: float) -> float:
        likely = stats.nct.pdf(t, count - 1, effect * np.sqrt(count)) if effect else stats.t.pdf(t, count - 1)
        return float(likely * 2 * stats.norm.pdf(effect, 0, SCALE))

    return integrate.quad(density, 0, 10 * SCALE)[0] / float(stats.t.pdf(t, count - 1))


@pytest.mark.parametrize("values", [(0.4, 0.1, -0.2, 0.5), (0.03, 0.01), (-0.3, -0.1, 0.1), (0.5, 0.45, 0.6, 0.4, 0.5)])
def test_the_e_value_is_the_ratio_of_the_mixture_to_the_null(values: tuple[float, ...]) -> None:
    expected = of_t_distributions(np.array(values))
    assert e_values(differences(*values))[-1] == pytest.approx(expected, rel=1e-6)


def test_the_evidence_does_not_depend_on_the_unit() -> None:
    values = np.array([0.4, 0.1, -0.2, 0.5])
    assert e_values(differences(*values)) == pytest.approx(e_values(differences(*values / 100)))


def test_another_null_is_a_shift_of_the_values() -> None:
    assert e_values(differences(0.5, 0.7, 0.4), null=0.2) == pytest.approx(e_values(differences(0.3, 0.5, 0.2)))


def test_of_null_differences_few_are_ever_taken_for_larger_in_20_looks() -> None:
    draws = np.random.default_rng(0).normal(0, 0.003, (4000, 20))
    highest = e_values(Differences(draws, np.zeros_like(draws))).max(axis=-1)
    for level in (0.05, 0.01):
        assert (highest >= 1 / level).mean() <= level
    # a t-test at each look is fooled
    looks = [stats.ttest_1samp(draws[:, :n], 0.0, axis=1, alternative="greater").pvalue for n in range(2, 21)]
    assert (np.min(looks, axis=0) <= 0.05).mean() > 0.15


def test_the_e_value_of_the_first_seeds_does_not_change_with_later_ones() -> None:
    both = (0.01, 0.02, -0.01), (0.01, 0.02, -0.01, 0.04)
    assert e_values(differences(*both[0])) == pytest.approx(e_values(differences(*both[1]))[:3])


def test_a_floor_of_the_variance_lowers_the_evidence_of_equal_differences() -> None:
    equal = (0.01, 0.01, 0.01, 0.01)
    certain, floored = e_values(differences(*equal))[-1], e_values(differences(*equal, floor=0.01**2))[-1]
    assert certain == pytest.approx(2 * (1 + 4 * SCALE**2) ** 1.5, rel=0.001)
    assert 1 < floored < certain / 5


def test_differences_of_0_say_nothing() -> None:
    assert e_values(differences(0.0, 0.0, 0.0)).tolist() == [1.0, 1.0, 1.0]


def test_the_floor_is_the_variance_over_seeds_of_independent_images() -> None:
    draw = np.random.default_rng(1)
    one, other = (draw.random((6, 500)) < chance for chance in (0.9, 0.8))
    apart = one.astype(np.int8) - other
    for seeds in (2, 6):
        by_image = apart[:seeds].var(axis=0, ddof=1)
        assert floors_of(apart)[seeds - 1] == pytest.approx(by_image.sum() / 500**2 + 2 / 12 / 500**2)


def test_the_interval_ends_where_the_two_sided_mixture_reaches_1_over_alpha() -> None:
    values = differences(0.011, 0.006, 0.013, 0.009, 0.004)
    interval = mean_sequence(values)
    assert interval is not None
    for end in (interval.low, interval.high):
        # the two-sided mixture is the mean of the two one-sided ones
        sides = e_values(values, null=end)[-1], e_values(-values, null=-end)[-1]
        assert np.mean(sides) == pytest.approx(20.0)


def test_one_seed_has_no_interval() -> None:
    assert mean_sequence(differences(0.3)) is None


def test_the_seeds_after_which_a_gain_is_shown_are_the_first_that_reach_the_level() -> None:
    gains = differences(*[0.01, 0.012, 0.011, 0.009, 0.01, 0.011, 0.012])
    shown = seeds_until_larger(gains, null=0.0, level=0.01)
    evidence = e_values(gains)
    assert shown is not None
    assert evidence[shown - 1] >= 100 > evidence[: shown - 1].max()
    assert seeds_until_larger(-gains, null=0.0, level=0.01) is None


def test_the_seeds_ahead_are_those_that_decide_if_all_goes_on_as_it_is() -> None:
    now = differences(0.01, 0.02, 0.015)
    more = seeds_ahead(now, null=0.0, level=0.0001)
    assert more is not None
    ups_and_downs = np.tile([-1.0, 1.0], 50)[: 3 + more]
    likely = now.mean + 0.005 * (ups_and_downs - ups_and_downs.mean()) / ups_and_downs.std(ddof=1)
    assert seeds_until_larger(differences(*likely), null=0.0, level=0.0001) is not None
    assert seeds_ahead(now, null=0.1, level=0.05) is None


def test_with_one_seed_the_seeds_ahead_are_those_without_which_nothing_can_be_shown() -> None:
    fewest = fewest_seeds(0.001)
    assert seeds_ahead(differences(0.5), null=0.0, level=0.001) == fewest - 1
    equal = np.full(fewest, 0.5)
    assert seeds_until_larger(differences(*equal), null=0.0, level=0.001) == fewest


def test_the_levels_of_all_candidates_add_up_to_5_per_cent_and_grow_with_those_kept() -> None:
    levels = [online_level(position, 0) for position in range(1, 100_000)]
    assert 0.045 < sum(levels) < 0.05
    assert levels == sorted(levels, reverse=True)
    assert online_level(7, 2) == pytest.approx(3 * online_level(7, 0))
