"""Tests of raytrain.experiment.duration.simulation: trials laid on slots, and ASHA that judges qualities."""

from itertools import count, permutations

import pytest

from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.costs import Costs, kind_of
from raytrain.experiment.duration.order import Order
from raytrain.experiment.duration.simulation import Lengths, best, faster_order, order_from_the_start, sweep
from raytrain.experiment.trial import Trial
from raytrain.training.recipe import Recipe


def trial(arch: str = "resnet18", *, lr: float = 0.1, epochs: int = 9) -> Trial:
    return Trial.of(Recipe(arch=arch, lr=lr, epochs=epochs))


SHORT, MIDDLE, LONG = trial("resnet18"), trial("resnet34"), trial("resnet50")
EPOCH_S = {kind_of(one.recipe): seconds for one, seconds in ((SHORT, 1.0), (MIDDLE, 2.0), (LONG, 4.0))}
LENGTHS = Lengths(EPOCH_S, dict.fromkeys(EPOCH_S, 1.0))


def test_one_slot_takes_the_sum_and_many_take_the_longest() -> None:
    trials = dict.fromkeys([SHORT, MIDDLE, LONG], 0)
    alone = sweep(trials, LENGTHS, slots=1)
    assert (alone.seconds, alone.busy_s) == (9 + 1 + 18 + 1 + 36 + 1, 66)
    assert alone.finished == [LONG, MIDDLE, SHORT]
    many = sweep(trials, LENGTHS, slots=3)
    assert (many.seconds, many.busy_s) == (37, 66)


def test_two_slots_take_the_longest_first() -> None:
    result = sweep(dict.fromkeys([SHORT, MIDDLE, LONG], 0), LENGTHS, slots=2)
    assert result.finished == [MIDDLE, SHORT, LONG]
    assert result.seconds == 37  # 19 + 10 beside it


def test_epochs_that_are_behind_a_trial_are_not_counted() -> None:
    assert sweep({LONG: 7}, LENGTHS, slots=2).seconds == 2 * 4 + 1
    assert sweep({LONG: 9}, LENGTHS, slots=2).seconds == 1  # killed between its last epoch and its end


def test_trials_are_stopped_as_asha_stops_them_one_by_one() -> None:
    trials = [trial(lr=lr) for lr in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    quality = dict(zip(trials, (0.5, 0.2, 0.9, 0.6, 0.1, 0.95), strict=True))
    rungs = Rungs(first=1, epochs=9, reduction_factor=3)
    result = sweep(dict.fromkeys(trials, 0), LENGTHS, slots=1, rungs=rungs, quality=quality)

    expected: dict[Trial, int] = {}
    one_by_one = Rungs(first=1, epochs=9, reduction_factor=3)
    for one in trials:
        for epoch in range(1, 9):
            decision = one_by_one.judge(one.id, epoch=epoch, quality=quality[one])
            if decision and decision.stop:
                expected[one] = epoch
                break
    assert result.stopped == expected
    assert len(expected) == 3
    assert result.busy_s == sum(expected.values()) + 3 * (9 + 1)
    assert rungs.recorded == {1.0: {}, 3.0: {}}  # what was given is not changed


def test_trials_may_start_as_listed() -> None:
    result = sweep(dict.fromkeys([SHORT, MIDDLE, LONG], 0), LENGTHS, slots=1, order="listed")
    assert result.finished == [SHORT, MIDDLE, LONG]


HOURS = {"resnet18": 3.1, "resnet34": 8.9, "resnet50": 18.7, "resnet101": 28.1, "resnet152": 38.9}
"""What 200 epochs took on a GTX 1080 Ti, by the student's table."""
FIVE = {trial(arch, epochs=200): hours for arch, hours in HOURS.items()}
STUDENT = Lengths(
    {kind_of(one.recipe): hours / 200 for one, hours in FIVE.items()},
    dict.fromkeys(map(kind_of, (one.recipe for one in FIVE)), 0.0),
)


def mean_hours(order: Order, *, slots: int, rungs: Rungs | None) -> float:
    """Return the mean over all orders of quality of the hours that the five architectures take together."""
    hours = [
        sweep(
            dict.fromkeys(FIVE, 0),
            STUDENT,
            slots=slots,
            order=order,
            rungs=rungs,
            quality=dict(zip(FIVE, qualities, strict=True)),
        ).seconds
        for qualities in permutations((0.1, 0.3, 0.5, 0.7, 0.9))
    ]
    return sum(hours) / len(hours)


def test_under_asha_the_cheap_trials_start_first_where_that_ends_sooner() -> None:
    rungs = Rungs(first=50, epochs=200, reduction_factor=3)
    shortest, longest = (mean_hours(order, slots=1, rungs=rungs) for order in ("shortest", "longest"))
    assert shortest < 0.8 * longest
    assert faster_order(dict.fromkeys(FIVE, 0), STUDENT, slots=1, rungs=rungs) == "shortest"


def test_where_nothing_is_stopped_early_the_longest_starts_first() -> None:
    assert mean_hours("longest", slots=2, rungs=None) < mean_hours("shortest", slots=2, rungs=None)
    assert faster_order(dict.fromkeys(FIVE, 0), STUDENT, slots=2, rungs=None) == "longest"


def test_under_asha_the_longest_starts_first_where_that_ends_sooner() -> None:
    late = Rungs(first=199, epochs=200, reduction_factor=3)  # it stops trials when they are nearly done
    assert faster_order(dict.fromkeys(FIVE, 0), STUDENT, slots=2, rungs=late) == "longest"


@pytest.mark.parametrize("rule", [Rungs, Promotion])
def test_the_order_from_the_start_is_the_same_whatever_is_on_record(rule: type[Rungs]) -> None:
    costs = Costs(STUDENT.epoch_s)
    new, begun = (rule(first=50, epochs=200, reduction_factor=3) for _ in range(2))
    begun.judge("another", epoch=50, quality=0.9)
    expected = faster_order(dict.fromkeys(FIVE, 0), STUDENT, slots=1, rungs=new)
    assert order_from_the_start(FIVE, costs, slots=1, rungs=begun) == expected
    assert begun.recorded[50] == {"another": 0.9}


def test_trials_of_equal_length_need_no_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("raytrain.experiment.duration.simulation.sweep")
    alike = dict.fromkeys((trial(lr=lr) for lr in (0.1, 0.2, 0.3)), 0)
    assert faster_order(alike, LENGTHS, slots=1, rungs=Rungs(1, 9, 3)) == "shortest"


def test_trials_of_equal_operations_start_as_listed() -> None:
    alike = [trial(lr=lr) for lr in (0.1, 0.2, 0.3)]
    order = order_from_the_start(alike, Costs(LENGTHS.epoch_s), slots=1, rungs=Rungs(1, 9, 3))
    assert order == "listed"


def test_one_accuracy_on_record_judges_the_rest_as_none_would() -> None:
    rungs = Rungs(first=3, epochs=9, reduction_factor=3)
    rungs.recorded[3.0] = {"a": 0.7}
    trials = [trial(lr=0.01 * n) for n in range(1, 31)]
    quality = {one: (n * 7 % 30) / 30 for n, one in enumerate(trials)}
    result = sweep(dict.fromkeys(trials, 0), LENGTHS, slots=1, rungs=rungs, quality=quality)
    assert 15 <= len(result.stopped) < 30


@pytest.mark.parametrize(("quality", "stopped"), [(0.0, True), (1.0, False)])
def test_accuracies_that_are_on_record_judge_the_rest(*, quality: float, stopped: bool) -> None:
    rungs = Rungs(first=3, epochs=9, reduction_factor=3)
    rungs.recorded[3.0] = {"a": 0.70, "b": 0.75, "c": 0.80}
    result = sweep({SHORT: 0}, LENGTHS, slots=1, rungs=rungs, quality={SHORT: quality})
    assert bool(result.stopped) is stopped


def test_a_rung_that_is_behind_a_trial_does_not_judge_it_again() -> None:
    rungs = Rungs(first=3, epochs=9, reduction_factor=3)
    rungs.recorded[3.0] = {SHORT.id: 0.5, "a": 0.9, "b": 0.95}
    result = sweep({SHORT: 4}, LENGTHS, slots=1, rungs=rungs, quality={SHORT: 0.0})
    assert (result.finished, result.busy_s) == ([SHORT], 5 + 1)


def test_no_sweep_is_shorter_than_its_bound() -> None:
    lrs = count(1)
    trials = dict.fromkeys((trial(arch, lr=next(lrs)) for arch in ("resnet18", "resnet34", "resnet50") * 5), 0)
    for slots in (1, 2, 3, 4):
        result = sweep(trials, LENGTHS, slots=slots)
        bound = max(37, result.busy_s / slots)
        assert bound <= result.seconds <= 4 / 3 * bound  # Graham's bound on longest first


def test_the_best_are_those_of_the_highest_quality() -> None:
    assert best([SHORT, MIDDLE, LONG], {SHORT: 0.2, MIDDLE: 0.9, LONG: 0.5}, count=2) == [MIDDLE, LONG]


def test_under_promotion_the_best_third_of_a_rung_goes_on_whoever_came_first() -> None:
    trials = [trial(lr=0.01 * n) for n in range(1, 10)]
    quality = {one: (n * 5 % 9) / 9 for n, one in enumerate(trials)}
    promotion = Promotion(first=1, epochs=9, reduction_factor=3)
    result = sweep(dict.fromkeys(trials, 0), LENGTHS, slots=1, order="listed", rungs=promotion, quality=quality)
    # qualities 0, 5 and 1 come first, so 5 goes on; 6 and 7 follow it, then 8, which is the best of all
    by_place = {round(9 * value): one for one, value in quality.items()}
    assert result.finished == [by_place[7], by_place[8]]
    assert {one: epoch for one, epoch in result.stopped.items() if epoch > 1} == {by_place[5]: 3, by_place[6]: 3}
    assert {*result.finished, *result.stopped} == {*trials}
    assert result.busy_s == sum(result.stopped.values()) + 2 * (9 + 1)
    assert (promotion.paused, promotion.recorded) == ({}, {1.0: {}, 3.0: {}})  # what was given is not changed


def test_a_slot_that_waits_takes_the_trial_that_is_promoted_later() -> None:
    promotion = Promotion(first=3, epochs=9, reduction_factor=2)
    trials = {trial(lr=0.1): 0, trial(lr=0.2): 0, trial(arch="resnet50"): 0, trial(arch="resnet50", lr=0.2): 0}
    quality = dict(zip(trials, (0.1, 0.2, 0.8, 0.9), strict=True))
    result = sweep(trials, LENGTHS, slots=4, rungs=promotion, quality=quality)
    # the better of the short ones goes on at 3 s, those of the long ones at 12 s, when one of them may
    assert len(result.finished) >= 1
    assert list(trials)[3] in result.finished
    assert result.seconds == 9 * 4 + 1
