"""Tests of experiment.asha against a recomputation from the recorded curves; tests/cluster compares it with Ray's."""

import copy
import math
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.experiment.asha import Decision, Promotion, Rungs, quantile, rungs_between
from raytrain.experiment.duration.order import Listed, PromotedFirst
from raytrain.experiment.trial import Trial
from raytrain.training.recipe import Recipe


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


@pytest.mark.parametrize(("most", "rungs"), [(None, [1, 3, 9]), (1, [1]), (2, [1, 3]), (9, [1, 3, 9])])
@pytest.mark.parametrize("rule", [Rungs, Promotion])
def test_rungs_are_counted_from_the_first(rule, most, rungs):
    assert list(rule(1, 27, 3, most=most).recorded) == rungs


def test_a_trial_that_goes_on_from_the_only_rung_runs_to_its_end():
    rungs = Promotion(2, 18, 3, most=1)
    assert [rungs.until(epoch=epoch, epochs=18) for epoch in (0, 2)] == [2, 18]
    assert rungs.judge("a", epoch=6, quality=0.0) is None


def test_the_first_to_arrive_always_goes_on():
    decision = Rungs(2, 10, 3).judge("a", epoch=2, quality=0.0)
    assert decision == Decision(rung=2, accuracy=0.0, cut=None, stop=False)


def test_between_rungs_nothing_is_decided():
    rungs = Rungs(2, 10, 2)  # 2, 4, 8
    assert rungs.judge("a", epoch=1, quality=0.5) is None
    assert rungs.judge("a", epoch=2, quality=0.5) is not None
    assert rungs.judge("a", epoch=3, quality=0.5) is None
    assert rungs.judge("a", epoch=4, quality=0.5).rung == 4


def test_a_trial_is_judged_once_per_rung():
    rungs = Rungs(2, 10, 2)
    rungs.judge("a", epoch=2, quality=0.5)
    assert rungs.judge("a", epoch=2, quality=0.9) is None
    assert rungs.recorded[2] == {"a": 0.5}


def test_a_trial_below_the_cut_is_stopped_and_one_at_the_cut_goes_on():
    rungs = Rungs(1, 10, 2)
    for name, accuracy in (("a", 0.2), ("b", 0.6)):
        rungs.judge(name, epoch=1, quality=accuracy)
    assert rungs.judge("c", epoch=1, quality=0.39) == Decision(1, 0.39, pytest.approx(0.4), stop=True)
    rungs = Rungs(1, 10, 2)
    rungs.judge("a", epoch=1, quality=0.4)
    assert not rungs.judge("b", epoch=1, quality=0.4).stop


def test_a_stopped_trial_counts_for_those_who_come_later():
    rungs = Rungs(1, 10, 2)
    for name, accuracy in (("a", 0.8), ("b", 0.2)):
        rungs.judge(name, epoch=1, quality=accuracy)
    assert rungs.judge("c", epoch=1, quality=0.45).cut == pytest.approx(0.5)


def test_a_trial_that_comes_late_is_judged_at_the_highest_rung_it_has_reached():
    rungs = Rungs(1, 10, 3)  # 1, 3, 9
    assert rungs.judge("a", epoch=5, quality=0.5).rung == 3
    assert rungs.judge("a", epoch=6, quality=0.5) is None, "not at the lower one, over which it has jumped"


def test_decisions_on_record_are_gone_on_from():
    rungs = Rungs(2, 10, 2, {2: {"a": 0.9}})
    assert sorted(rungs.recorded) == [2, 4, 8]
    assert rungs.judge("a", epoch=2, quality=0.1) is None
    assert rungs.judge("b", epoch=2, quality=0.5).stop


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
        decision = rungs.judge(str(trial), epoch=epoch, quality=accuracy)
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
    rungs.judge("a", epoch=2, quality=0.5)
    assert rungs.due("a", epoch=5) is None
    assert rungs.due("a", epoch=6) == 6
    rungs.judge("a", epoch=7, quality=0.5)
    assert rungs.due("a", epoch=17) is None


def test_who_was_judged_at_a_higher_rung_is_not_due_at_a_lower_one():
    rungs = Rungs(2, 20, 3)
    rungs.judge("a", epoch=6, quality=0.5)
    assert rungs.due("a", epoch=9) is None


def test_a_rung_between_two_epochs_is_due_at_the_later_one():
    assert Rungs(3, 20, 2.5).due("a", epoch=7) == 3
    rungs = Rungs(3, 20, 2.5)
    rungs.judge("a", epoch=3, quality=0.5)
    assert rungs.due("a", epoch=8) == 8  # the rung at 7.5


def test_under_promotion_every_trial_pauses_at_its_rung_and_nobody_is_stopped():
    promotion = Promotion(2, 20, 3)  # 2, 6, 18
    assert promotion.judge("a", epoch=1, quality=0.9) is None
    assert promotion.judge("a", epoch=2, quality=0.9) == Decision(2, 0.9, None, stop=False, pause=True)
    assert (promotion.paused, promotion.promotable()) == ({"a": 2}, None)


def test_a_paused_trial_goes_on_once_it_is_among_the_best_of_its_rung_however_late():
    promotion = Promotion(1, 9, 3)
    for name, accuracy in (("early", 0.5), ("worse", 0.4)):
        promotion.judge(name, epoch=1, quality=accuracy)
        assert promotion.promotable() is None
    promotion.judge("late", epoch=1, quality=0.6)
    assert promotion.promotable() == "late"
    del promotion.paused["late"]
    for name in ("x", "y", "z"):
        assert promotion.promotable() is None
        promotion.judge(name, epoch=1, quality=0.1)
    assert promotion.promotable() == "early"  # of six, the best two


def test_the_highest_rung_is_served_first():
    promotion = Promotion(1, 9, 2, {1: {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}, 2: {"c": 0.5, "d": 0.6}})
    promotion.paused = {"a": 1, "b": 1, "c": 2, "d": 2}
    assert promotion.promotable() == "d"


def test_of_equal_trials_the_first_to_come_goes_on():
    promotion = Promotion(1, 9, 2)
    for name in ("first", "second"):
        promotion.judge(name, epoch=1, quality=0.5)
    assert promotion.promotable() == "first"
    del promotion.paused["first"]
    assert promotion.promotable() is None


def test_a_trial_runs_to_the_next_rung_or_to_its_end():
    promotion = Promotion(2, 12, 1.5)  # 2, 3, 4.5, 6.75, 10.125
    assert [promotion.until(epoch=epoch, epochs=12) for epoch in (0, 2, 3, 5, 7, 11)] == [2, 3, 5, 7, 11, 12]
    assert promotion.until(epoch=0, epochs=1) == 1


def test_where_the_trial_that_went_on_is_lost_the_next_best_goes_on_at_the_end():
    promotion = Promotion(1, 9, 3)
    for name, accuracy in (("a", 0.5), ("b", 0.6)):
        promotion.judge(name, epoch=1, quality=accuracy)
    assert (promotion.promotable(), promotion.best_left()) == (None, "b")
    del promotion.paused["b"]
    assert promotion.best_left() is None
    promotion.ended("b", lost=True)
    assert promotion.best_left() == "a"


def by_the_paper(curves, *, first, factor, slots, choose):
    """Return which trial runs to which epoch, job by job: algorithm 2 written down again, for finitely many trials.

    `choose` picks which of the running jobs reports next.
    """
    levels = [first * factor**k for k in range(12) if first * factor**k < len(curves[0])]
    results = [{} for _ in levels]  # the paper's rungs
    promoted = [set() for _ in levels]
    new = list(range(len(curves)))
    running, jobs = [], []

    def best(k, many):
        arrived = list(results[k])
        return sorted(arrived, key=lambda trial: (-results[k][trial], arrived.index(trial)))[:many]

    def get_job():
        for k in reversed(range(len(levels))):
            for trial in best(k, len(results[k]) // factor):
                if trial not in promoted[k]:
                    return k, trial
        if new:
            return -1, new.pop(0)
        if not running:
            for k in reversed(range(len(levels))):
                if results[k] and not promoted[k]:
                    return k, best(k, 1)[0]
        return None

    while True:
        while len(running) < slots and (job := get_job()):
            k, trial = job
            if k >= 0:
                promoted[k].add(trial)
            running.append((k + 1, trial))
            jobs.append((trial, levels[k + 1] if k + 1 < len(levels) else len(curves[0])))
        if not running:
            return jobs
        k, trial = running.pop(choose(len(running)))
        if k < len(levels):
            results[k][trial] = curves[trial][levels[k] - 1]


@cache
def fifteen_trials():
    return [Trial.of(Recipe(epochs=20, seed=number)) for number in range(15)]


@given(
    curves=st.lists(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8]), min_size=20, max_size=20), max_size=15).filter(
        bool
    ),
    factor=st.sampled_from([2, 3, 4]),
    first=st.integers(1, 6),
    slots=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_trials_are_handed_out_as_the_paper_says(curves, factor, first, slots, seed):
    chance = Random(seed)
    jobs = by_the_paper(curves, first=first, factor=factor, slots=slots, choose=chance.randrange)
    chance = Random(seed)

    trials = fifteen_trials()[: len(curves)]
    promotion = Promotion(first, 20, factor)
    running, found = [], []
    done = dict.fromkeys(trials, 0)
    queue = PromotedFirst(done, promotion, new=Listed, running=lambda: [trial.id for trial in running])
    while True:
        while len(running) < slots and (trial := queue.next()):
            running.append(trial)
            found.append((trials.index(trial), promotion.until(epoch=done[trial], epochs=20)))
        if not running:
            break
        trial = running.pop(chance.randrange(len(running)))
        done[trial] = promotion.until(epoch=done[trial], epochs=20)
        accuracy = curves[trials.index(trial)][done[trial] - 1]
        decision = promotion.judge(trial.id, epoch=done[trial], quality=accuracy)
        assert (decision is None) == (done[trial] == 20)
    assert found == jobs
    assert 20 in done.values()
    assert min(done.values()) >= first


def test_what_a_command_has_left_on_its_way_comes_before_what_is_paused_or_new():
    on_its_way, paused, fresh = (Trial.of(Recipe(epochs=9, seed=seed)) for seed in range(3))
    promotion = Promotion(1, 9, 2, {1: {on_its_way.id: 0.5, paused.id: 0.9}}, paused={paused.id: 1})
    queue = PromotedFirst({fresh: 0, paused: 1, on_its_way: 2}, promotion, new=Listed, running=tuple)
    assert [queue.next(), queue.next(), queue.next()] == [on_its_way, paused, fresh]


def test_a_trial_that_has_just_paused_is_not_started_before_its_process_has_ended():
    first, second = (Trial.of(Recipe(epochs=9, seed=seed)) for seed in range(2))
    running = {first.id}
    promotion = Promotion(1, 9, 2, {1: {first.id: 0.9, "other": 0.1}}, paused={first.id: 1})
    queue = PromotedFirst({first: 1, second: 0}, promotion, new=Listed, running=lambda: running)
    assert queue.next() is None
    running.clear()
    assert [queue.next(), queue.next()] == [first, second]


def test_a_trial_is_not_judged_at_a_rung_over_which_it_has_jumped() -> None:
    rungs = Rungs(1, 16, 1.2)
    judged = [
        (epoch, decision.rung) for epoch in range(1, 17) if (decision := rungs.judge("a", epoch=epoch, quality=0.5))
    ]
    assert [rung for _, rung in judged] == sorted(rung for _, rung in judged)
    assert all(epoch - 1 < rung <= epoch for epoch, rung in judged)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(1.01, 20))
def test_the_cut_is_numpys_quantile_to_the_last_bit(accuracies: list[float], factor: float) -> None:
    share = 1 - 1 / factor
    assert quantile(sorted(accuracies), share) == float(np.quantile(accuracies, share))


def test_accuracies_that_others_put_at_a_rung_count_too() -> None:
    rungs = Rungs(1, 9, 2)
    for number in range(4):
        rungs.judge(f"t{number}", epoch=1, quality=number / 10)
    copied = copy.deepcopy(rungs)
    copied.recorded = {rung: {trial: 1 - value for trial, value in at.items()} for rung, at in rungs.recorded.items()}
    cut = float(np.quantile([1, 0.9, 0.8, 0.7], 0.5))
    assert copied.judge("new", epoch=1, quality=0.5) == Decision(1.0, 0.5, cut, stop=True)
    rungs.recorded[1.0]["elsewhere"] = 0.9
    judged = rungs.judge("new", epoch=1, quality=0.5)
    assert judged is not None
    assert judged.cut == float(np.quantile([0, 0.1, 0.2, 0.3, 0.9], 0.5))
