"""Tests of the setting of ASHA that is chosen from learning curves for what one accepts to lose."""

import math
from itertools import pairwise

import numpy as np
import pytest

from raytrain.analysis import early_stopping
from raytrain.analysis.arrivals import asha_search
from raytrain.analysis.early_stopping import brought_to, choose, searches_needed, settings
from raytrain.analysis.replay import Curve, Mode
from raytrain.experiment.asha import Rungs, rungs_between

EPOCHS = 9
SECONDS = [float(epoch) for epoch in range(1, EPOCHS + 1)]


def parallel(count: int) -> list[Curve]:
    """Return curves that never cross: who is best is known after an epoch."""
    draw = np.random.default_rng(0)
    return [
        Curve([float(level) + epoch / 100 for epoch in range(EPOCHS)], SECONDS) for level in draw.uniform(size=count)
    ]


def late(count: int) -> list[Curve]:
    """Return curves whose last epoch has nothing to do with those before."""
    draw = np.random.default_rng(0)
    return [Curve(draw.uniform(size=EPOCHS).tolist(), SECONDS) for _ in range(count)]


@pytest.mark.parametrize(("confidence", "searches"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_one_search_more_than_those_on_record_may_be_the_only_one_that_is_lost(confidence: float, searches: int):
    assert searches_needed(confidence) == searches
    assert 1 / (searches + 1) <= 1 - confidence + 1e-9 < 1 / searches


def test_each_setting_is_cheaper_than_the_one_before():
    def epochs(first: int, factor: int, rungs: int | None) -> float:
        """Return the epochs of a trial, on average, if 1 in `factor` goes on at each rung."""
        at = rungs_between(first, epochs=27, reduction_factor=factor, most=rungs)
        return first + sum((end - rung) / factor**passed for passed, (rung, end) in enumerate(pairwise([*at, 27]), 1))

    costs = [epochs(*one) for one in settings(27)]
    assert costs == sorted(costs, reverse=True)
    assert len(costs) > 5


@pytest.mark.parametrize("mode", ["stop", "promote"])
def test_where_the_best_is_known_at_once_the_cheapest_setting_is_chosen(mode: Mode):
    choice = choose(parallel(40), trials=8, lose_at_most=0.0, confidence=0.8, mode=mode)
    assert choice.setting
    assert (choice.setting.first, choice.setting.factor, choice.setting.rungs) == settings(EPOCHS)[-1]
    assert choice.setting.lost == 0.0
    assert choice.searches == 5
    assert 0 < choice.setting.epochs < 0.8


def test_where_the_end_cannot_be_foreseen_no_setting_is_chosen():
    assert choose(late(40), trials=8, lose_at_most=0.0, confidence=0.8).setting is None


def test_who_accepts_to_lose_everything_gets_the_cheapest_setting():
    choice = choose(late(40), trials=8, lose_at_most=1.0, confidence=0.8)
    assert choice.setting
    assert (choice.setting.first, choice.setting.factor, choice.setting.rungs) == settings(EPOCHS)[-1]


def test_too_few_curves_choose_nothing_and_the_choice_says_how_many_searches_are_needed():
    choice = choose(parallel(40), trials=8, lose_at_most=0.002, confidence=0.95)
    assert (choice.setting, choice.curves, choice.searches, choice.needed) == (None, 40, 5, 19)
    assert choose([], trials=8, lose_at_most=0.002, confidence=0.95).searches == 0


def test_one_search_that_is_lost_too_often_ends_the_way_before_the_setting_that_loses_it():
    draw = np.random.default_rng(4)
    rising = [
        Curve([float(level) * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)], SECONDS)
        for level in draw.uniform(size=32)
    ]
    # one of four searches has its best trial asleep for three epochs: it is lost at every rung up to there
    sleeper = Curve([0.0] * 3 + [2.0] * 6, SECONDS)
    whole = choose([*rising, *parallel(7), sleeper], trials=8, lose_at_most=0.1, confidence=0.8)
    assert whole.setting
    assert whole.setting.first > 3


def test_a_curve_of_another_length_has_at_each_share_of_training_what_it_had_there():
    curve = Curve([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], validated=True)
    shorter, longer = brought_to(curve, 2), brought_to(Curve([0.1, 0.2], [1, 2]), 4)
    assert (list(shorter.accuracies), list(shorter.seconds), shorter.validated) == ([0.2, 0.4], [2, 4], True)
    assert list(longer.accuracies) == [0.1, 0.1, 0.1, 0.2]


def test_a_search_of_many_trials_is_given_as_many_curves_as_it_needs() -> None:
    needed = 19 * 60
    choice = choose(parallel(needed), trials=60, lose_at_most=0.0, confidence=0.95)
    assert choice.searches == 19
    assert choice.setting


def noisy(draw: np.random.Generator, count: int) -> list[Curve]:
    """Return curves drawn alike: who is best shows the later the better."""
    noise = 0.5 * (1 - np.arange(1, EPOCHS + 1) / EPOCHS)
    return [Curve((level + noise * draw.normal(size=EPOCHS)).tolist(), SECONDS) for level in draw.uniform(size=count)]


@pytest.mark.slow
def test_over_many_records_a_setting_is_chosen_and_loses_more_in_no_larger_share_than_the_confidence_leaves(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(early_stopping, "ORDERS", 1)  # more of them make the choice steadier, not the promise
    draw, records, confidence, trials = np.random.default_rng(0), 200, 0.9, 4
    chosen = lost = 0
    for seed in range(records):
        record = noisy(draw, trials * searches_needed(confidence))
        choice = choose(record, trials=trials, lose_at_most=0.0, confidence=confidence, seed=seed)
        if choice.setting:
            search = {f"{number}": curve for number, curve in enumerate(noisy(draw, trials))}
            setting = choice.setting
            ends = [
                asha_search(
                    search,
                    Rungs(setting.first, EPOCHS, setting.factor, most=setting.rungs),
                    order=list(search),
                    slots=slots,
                )
                for slots in (1, trials)
            ]
            chosen += 1
            lost += any(end.regret > 0 for end in ends)
    allowed = 1 - confidence
    assert lost / records <= allowed + 2.5 * math.sqrt(allowed * confidence / records)
    assert chosen > records / 4
    assert lost > 0  # of records that lose nothing, no promise could be told from a better one
