"""Tests of experiment.asha against a recomputation from the recorded curves; tests/cluster compares it with Ray's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.experiment.asha import Decision, Rungs, rungs_between


@pytest.mark.parametrize(
    ("first", "epochs", "factor", "rungs"),
    [
        (1, 27, 3, [1, 3, 9]),
        (1, 28, 3, [1, 3, 9, 27]),
        (25, 100, 3, [25, 75]),
        (50, 200, 4, [50]),
        (5, 5, 2, []),
        (2, 12, 1.5, [2, 3, 4.5, 6.75, 10.125]),
    ],
)
def test_rungs_are_eta_times_further_apart_each_and_below_the_end(first, epochs, factor, rungs):
    assert rungs_between(first, epochs=epochs, reduction_factor=factor) == rungs


def test_the_first_to_arrive_always_goes_on():
    decision = Rungs(2, 10, 3).judge("a", epoch=2, accuracy=0.0)
    assert decision == Decision(rung=2, accuracy=0.0, cut=None, stop=False)


def test_between_rungs_nothing_is_decided():
    rungs = Rungs(2, 10, 2)  # 2, 4, 8
    assert rungs.judge("a", epoch=1, accuracy=0.5) is None
    assert rungs.judge("a", epoch=2, accuracy=0.5) is not None
    assert rungs.judge("a", epoch=3, accuracy=0.5) is None
    assert rungs.judge("a", epoch=4, accuracy=0.5).rung == 4


def test_a_trial_is_judged_once_per_rung():
    rungs = Rungs(2, 10, 2)
    rungs.judge("a", epoch=2, accuracy=0.5)
    assert rungs.judge("a", epoch=2, accuracy=0.9) is None
    assert rungs.recorded[2] == {"a": 0.5}


def test_a_trial_below_the_cut_is_stopped_and_one_at_the_cut_goes_on():
    rungs = Rungs(1, 10, 2)
    for name, accuracy in (("a", 0.2), ("b", 0.6)):
        rungs.judge(name, epoch=1, accuracy=accuracy)
    assert rungs.judge("c", epoch=1, accuracy=0.39) == Decision(1, 0.39, pytest.approx(0.4), stop=True)
    rungs = Rungs(1, 10, 2)
    rungs.judge("a", epoch=1, accuracy=0.4)
    assert not rungs.judge("b", epoch=1, accuracy=0.4).stop


def test_a_stopped_trial_counts_for_those_who_come_later():
    rungs = Rungs(1, 10, 2)
    for name, accuracy in (("a", 0.8), ("b", 0.2)):
        rungs.judge(name, epoch=1, accuracy=accuracy)
    assert rungs.judge("c", epoch=1, accuracy=0.45).cut == pytest.approx(0.5)


def test_a_trial_that_comes_late_is_judged_at_the_highest_rung_it_has_reached():
    rungs = Rungs(1, 10, 3)  # 1, 3, 9
    assert rungs.judge("a", epoch=5, accuracy=0.5).rung == 3
    assert rungs.judge("a", epoch=6, accuracy=0.5).rung == 1  # as Ray does: the lower rung is still open


def test_decisions_on_record_are_gone_on_from():
    rungs = Rungs(2, 10, 2, {2: {"a": 0.9}})
    assert sorted(rungs.recorded) == [2, 4, 8]
    assert rungs.judge("a", epoch=2, accuracy=0.1) is None
    assert rungs.judge("b", epoch=2, accuracy=0.5).stop


def slow_quantile(values, q):
    """Interpolate linearly between the neighbours in the sorted values."""
    values = sorted(values)
    position = q * (len(values) - 1)
    low = math.floor(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (position - low) * (values[high] - values[low])


@given(
    curves=st.lists(st.lists(st.floats(0, 1), min_size=12, max_size=12), min_size=1, max_size=8),
    factor=st.sampled_from([2, 3, 4, 1.5]),
    first=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_decisions_equal_a_recomputation_from_the_curves_in_any_order(curves, factor, first, order):
    rungs = Rungs(first, 12, factor)
    reached = dict.fromkeys(range(len(curves)), 0)
    seen = {}
    while reached:
        trial = order.choice(list(reached))
        reached[trial] += 1
        epoch, accuracy = reached[trial], curves[trial][reached[trial] - 1]
        decision = rungs.judge(str(trial), epoch=epoch, accuracy=accuracy)
        due = [rung for rung in rungs.recorded if math.ceil(rung) == epoch]
        assert (decision is not None) == bool(due)
        if decision is not None:
            before = seen.setdefault(decision.rung, [])
            stop = bool(before) and accuracy < slow_quantile(before, 1 - 1 / factor)
            if not before or not np.isclose(accuracy, slow_quantile(before, 1 - 1 / factor), rtol=1e-12, atol=1e-15):
                assert decision.stop == stop
            before.append(accuracy)
        if epoch == len(curves[trial]) or (decision and decision.stop):
            del reached[trial]


def test_an_epoch_is_due_until_its_trial_has_been_judged_there():
    rungs = Rungs(2, 20, 3)
    assert rungs.due("a", epoch=1) is None
    assert rungs.due("a", epoch=2) == 2
    assert rungs.due("a", epoch=7) == 2
    rungs.judge("a", epoch=2, accuracy=0.5)
    assert rungs.due("a", epoch=5) is None
    assert rungs.due("a", epoch=6) == 6
    rungs.judge("a", epoch=7, accuracy=0.5)
    assert rungs.due("a", epoch=17) is None


def test_who_was_judged_at_a_higher_rung_is_not_due_at_a_lower_one():
    rungs = Rungs(2, 20, 3)
    rungs.judge("a", epoch=6, accuracy=0.5)
    assert rungs.due("a", epoch=9) is None


def test_a_rung_between_two_epochs_is_due_at_the_later_one():
    assert Rungs(3, 20, 2.5).due("a", epoch=7) == 3
    rungs = Rungs(3, 20, 2.5)
    rungs.judge("a", epoch=3, accuracy=0.5)
    assert rungs.due("a", epoch=8) == 8  # the rung at 7.5
