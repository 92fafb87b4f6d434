"""Promotion against the same rule written down slowly: it looks through all trials of a rung for each decision."""

import math
from random import Random
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from raytrain.experiment.asha import Decision, Promotion


class Slow:
    """Who goes on, looked for among all trials of a rung each time."""

    def __init__(self, promotion: Promotion) -> None:
        self.recorded = promotion.recorded
        self.factor = promotion.reduction_factor
        self.promotion = promotion

    def best(self, rung: float) -> str | None:
        paused = [trial for trial in self.recorded[rung] if self.promotion.paused.get(trial) == rung]
        return max(paused, key=self.recorded[rung].__getitem__, default=None)

    def promotable(self) -> str | None:
        for rung in sorted(self.recorded, reverse=True):
            there = self.recorded[rung]
            ranked = sorted(there, key=lambda trial: -there[trial])  # stable: of equal ones, the first to come
            best = self.best(rung)
            if best is not None and best in ranked[: math.floor(len(there) / self.factor)]:
                return best
        return None

    def best_left(self) -> str | None:
        for rung in sorted(self.recorded, reverse=True):
            waits = [self.promotion.paused.get(trial) == rung for trial in self.recorded[rung]]
            gone = [trial for trial, paused in zip(self.recorded[rung], waits, strict=True) if not paused]
            if any(waits) and set(gone) <= self.promotion.lost:
                return self.best(rung)
        return None

    def cut(self, rung: float) -> float | None:
        places = math.floor(len(self.recorded[rung]) / self.factor)
        return sorted(self.recorded[rung].values(), reverse=True)[places - 1] if places else None


def go_on(promotion: Promotion, epochs: dict[str, int]) -> bool:
    chosen = promotion.promotable()
    if chosen is None:
        return False
    del promotion.paused[chosen]
    epochs[chosen] = promotion.until(epoch=epochs[chosen], epochs=16)
    return True


def change_otherwise(promotion: Promotion, chance: Random) -> None:
    """Do what a trial, a queue or the state of a run may do to the rungs, beside letting the next trial go on."""
    what, at_first = chance.randrange(6), promotion.recorded[1]
    if what == 0:
        promotion.ended(chance.choice([*promotion.paused, "x"]), lost=True)
    elif what == 1:
        promotion.ended(chance.choice([*sorted(promotion.lost), "x"]), lost=False)
    elif what == 2:
        promotion.paused = {one: rung for one, rung in promotion.paused.items() if chance.random() < 0.8}
    elif what == 3:
        promotion.paused.pop(chance.choice([*promotion.paused, "x"]), None)
    elif what == 4:
        at_first[f"on record {len(at_first)}"] = chance.random()
    else:
        promotion.recorded[1] = dict(at_first)


@given(
    accuracies=st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.30000001, 0.5, 0.9]) | st.floats(-5, 1), max_size=60),
    factor=st.sampled_from([1.5, 2, 3, 4]),
    chance=st.randoms(use_true_random=False),
)
def test_who_goes_on_is_who_a_search_through_all_trials_finds(
    accuracies: list[float], factor: float, chance: Random
) -> None:
    promotion = Promotion(1, 16, factor)
    slow, epochs = Slow(promotion), dict[str, int]()
    for number, accuracy in enumerate(accuracies):
        # a new trial, or one that a command which was killed has left at its rung, judged again
        trial = chance.choice([f"t{number}", *epochs])
        epochs.setdefault(trial, 1)
        decision = promotion.judge(trial, epoch=epochs[trial], quality=accuracy)
        if decision is not None:
            cut = slow.cut(decision.rung)
            assert decision == Decision(decision.rung, accuracy, cut, stop=False, pause=True)
        if chance.random() < 0.3:
            change_otherwise(promotion, chance)
        assert (promotion.promotable(), promotion.best_left()) == (slow.promotable(), slow.best_left())
        while chance.random() < 0.6 and go_on(promotion, epochs):
            assert (promotion.promotable(), promotion.best_left()) == (slow.promotable(), slow.best_left())


class Compared(float):
    """A number that counts how often it is compared."""

    times: ClassVar[int] = 0

    def __lt__(self, other: float) -> bool:
        Compared.times += 1
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        Compared.times += 1
        return float(self) > float(other)

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return float(self) == other

    def __neg__(self) -> "Compared":
        return Compared(-float(self))

    __hash__ = float.__hash__


def test_decisions_on_many_trials_take_hardly_more_than_their_number() -> None:
    trials, chance = 2000, Random(0)
    promotion, epochs = Promotion(1, 16, 2), dict[str, int]()
    Compared.times = 0
    for number in range(trials):
        epochs[f"t{number}"] = 1
        promotion.judge(f"t{number}", epoch=1, quality=Compared(chance.random()))
        while (chosen := promotion.promotable()) is not None:
            go_on(promotion, epochs)
            promotion.judge(chosen, epoch=epochs[chosen], quality=Compared(chance.random()))
    assert Compared.times < 60 * trials * math.log2(trials)
