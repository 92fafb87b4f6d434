"""Tests of searches replayed on complete curves, in an order of arrival and on some slots."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from raytrain.analysis.arrivals import Search, asha_search
from raytrain.analysis.replay import Curve, Mode, replay
from raytrain.experiment.asha import Promotion, Rungs

FLAT = {
    name: Curve([level] * 9, [float(epoch) for epoch in range(1, 10)])
    for name, level in zip("abc", (0.5, 0.6, 0.7), strict=True)
}


def crossing(*, trials: int, epochs: int) -> dict[str, Curve]:
    """Return curves that cross one another and take unequal times."""
    draw = np.random.default_rng(3)
    return {
        f"t{number}": Curve(
            np.sort(draw.uniform(0.1, 0.9, epochs)).tolist(), np.cumsum(draw.uniform(0.5, 2.0, epochs)).tolist()
        )
        for number in range(trials)
    }


@pytest.mark.parametrize("mode", ["stop", "promote"])
@pytest.mark.parametrize("factor", [2, 3])
def test_with_a_slot_for_each_trial_it_ends_as_a_replay_in_which_all_start_at_once(mode: Mode, factor: int):
    curves = crossing(trials=14, epochs=9)
    rungs = (Promotion if mode == "promote" else Rungs)(1, 9, factor)
    found = asha_search(curves, rungs, order=list(curves), slots=14)
    expected = replay(curves, grace_period=1, reduction_factor=factor, mode=mode)
    assert {name: epochs for name, epochs in found.reached.items() if epochs < 9} == dict(expected.stopped)
    assert found.regret == pytest.approx(expected.regret)
    assert found.epochs == pytest.approx(1 - expected.epochs_saved)


def test_one_after_another_the_first_is_never_stopped_and_worse_ones_are_stopped_at_the_first_rung():
    found = asha_search(FLAT, Rungs(3, 9, 3), order=["b", "a", "c"], slots=1)
    assert found.reached == {"b": 9, "a": 3, "c": 9}


def test_the_order_decides_what_stopping_spends():
    rising = asha_search(FLAT, Rungs(3, 9, 3), order=["a", "b", "c"], slots=1)
    falling = asha_search(FLAT, Rungs(3, 9, 3), order=["c", "b", "a"], slots=1)
    assert (rising.epochs, falling.epochs) == (1.0, pytest.approx(15 / 27))


def test_the_order_does_not_decide_what_promotion_keeps():
    orders = (["a", "b", "c"], ["c", "b", "a"])
    found = [asha_search(FLAT, Promotion(3, 9, 3), order=order, slots=1).reached for order in orders]
    assert found == [{"a": 3, "b": 3, "c": 9}] * 2


def test_the_regret_is_what_the_best_would_have_reached_beyond_the_best_that_ran_to_its_end():
    found = Search.of(FLAT, {"a": 9, "b": 9, "c": 3})
    assert found.regret == pytest.approx(0.1)
    assert found.epochs == pytest.approx(21 / 27)


@pytest.mark.parametrize(("first", "counts"), [(3, {1: 120}), (6, {1: 72, 2: 42, 3: 6})])
def test_how_many_of_five_promoted_trials_reach_the_end_in_any_order(first: int, counts: dict[int, int]):
    """docs/search.md says so of the default first rung, and of one at half of the epochs."""
    epochs, seen = 12, Counter[int]()
    for ranks in permutations(range(5)):
        seconds = [float(epoch) for epoch in range(1, epochs + 1)]
        curves = {f"t{rank}": Curve([rank / 10 + epoch / 1000 for epoch in range(epochs)], seconds) for rank in ranks}
        ended = asha_search(curves, Promotion(first, epochs, 3), order=list(curves), slots=1)
        seen[sum(reached == epochs for reached in ended.reached.values())] += 1
    assert seen == counts
