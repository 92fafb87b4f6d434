"""The order in which trials start: the longest first, the shortest, or as listed; those that are promoted before."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, Protocol

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.costs import Costs, Kind, kind_of
from raytrain.experiment.trial import Trial

_Length = tuple[Kind, int]
"""A kind of trial, and the number of epochs that one has left."""


class Queue(Protocol):
    """The trials that wait."""

    def next(self) -> Trial | None:
        """Return the next trial to start, or None when there is none now."""
        ...


class Listed:
    """The trials that wait, handed out as listed."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._waiting = deque(trials)

    def next(self) -> Trial | None:
        """Return the next trial to start, or None when all have been."""
        return self._waiting.popleft() if self._waiting else None


class LongestFirst:
    """The trials that wait, handed out by falling expected time; trials of equal cost in listed order.

    A long trial that starts last runs alone while the other slots are empty (Graham 1969: longest processing time
    first).

    Args:
        trials: The trials, each with the number of epochs that it has left.
        costs: Expected seconds, asked again for each trial that is handed out, so that new measurements count.
    """

    def __init__(self, trials: Iterable[tuple[Trial, int]], costs: Costs) -> None:
        self._costs = costs
        # few kinds, many trials: choosing looks at one entry per kind and length
        self._waiting: dict[_Length, deque[Trial]] = {}
        for trial, epochs in trials:
            self._waiting.setdefault((kind_of(trial.recipe), epochs), deque()).append(trial)

    def next(self) -> Trial | None:
        """Return the next trial to start, or None when all have been."""
        if not self._waiting:
            return None
        chosen = self._choose(self._waiting, lambda key: self._costs.epoch_seconds(key[0]) * key[1])
        trials = self._waiting[chosen]
        trial = trials.popleft()
        if not trials:
            del self._waiting[chosen]
        return trial

    def _choose(self, waiting: Iterable[_Length], cost: Callable[[_Length], float]) -> _Length:
        return max(waiting, key=cost)


class ShortestFirst(LongestFirst):
    """The trials that wait, handed out by rising expected time; trials of equal cost in listed order.

    Under ASHA the first to arrive at a rung go on, since they have nothing to be compared with. So short trials should
    be there first, and long ones be compared with them.
    """

    def _choose(self, waiting: Iterable[_Length], cost: Callable[[_Length], float]) -> _Length:
        return min(waiting, key=cost)


class PromotedFirst:
    """The trials that wait under promoting ASHA, for each slot that is free.

    First come those that are on their way to a rung, since a command that ended has left them there; then the paused
    ones that are among the best of their rung; then new ones. When there is none of these and nothing runs, the best
    of a rung go on that has let none pass.
    """

    def __init__(
        self,
        trials: Mapping[Trial, int],
        promotion: Promotion,
        *,
        new: Callable[[Mapping[Trial, int]], Queue],
        running: Callable[[], Collection[str]],
    ) -> None:
        """Sort the trials by where they stand.

        Args:
            trials: The trials, each with the number of epochs that it has done.
            promotion: The rule, with what is on record; trials that are handed out are taken off its paused ones.
            new: Function that returns the queue of the trials that have done no epoch.
            running: Function that returns the ids of the trials that hold a slot.
        """
        self._trials = {trial.id: trial for trial in trials}
        self._promotion = promotion
        self._running = running
        promotion.paused = {one: rung for one, rung in promotion.paused.items() if one in self._trials}
        under_way = [trial for trial, epoch in trials.items() if epoch and trial.id not in promotion.paused]
        self._under_way = deque(under_way)
        self._new = new({trial: epoch for trial, epoch in trials.items() if not epoch})

    def next(self) -> Trial | None:
        """Return the next trial to run on, or None when there is none now: none at all, when nothing runs."""
        if self._under_way:
            return self._under_way.popleft()
        promotable = self._promotion.promotable()
        if promotable in self._running():
            return None  # its process has reported, and has not ended yet
        if trial := self._promoted(promotable) or self._new.next():
            return trial
        return None if self._running() else self._promoted(self._promotion.best_left())

    def _promoted(self, trial_id: str | None) -> Trial | None:
        if trial_id is None:
            return None
        del self._promotion.paused[trial_id]
        return self._trials[trial_id]


Order = Literal["longest", "shortest", "listed"]
"""Which of the waiting trials starts next."""
ORDERS: dict[Order, type[LongestFirst]] = {"longest": LongestFirst, "shortest": ShortestFirst}
"""Queues by the order that they hand trials out in."""


def queue_of(
    trials: Mapping[Trial, int],
    costs: Costs,
    order: Order,
    rungs: Rungs | None = None,
    *,
    running: Callable[[], Collection[str]] = lambda: (),
) -> Queue:
    """Return the trials that wait, in an order; under promoting ASHA, those that may go on come before new ones.

    Args:
        trials: The trials, each with the number of epochs that it has done.
        costs: Expected seconds of an epoch.
        order: Which of them starts next.
        rungs: ASHA's rungs; None lets all trials finish.
        running: Function that returns the ids of the trials that hold a slot.
    """

    def ordered(some: Mapping[Trial, int]) -> Queue:
        if order == "listed":
            return Listed(some)
        return ORDERS[order](((trial, trial.recipe.epochs - epoch) for trial, epoch in some.items()), costs)

    if isinstance(rungs, Promotion):
        return PromotedFirst(trials, rungs, new=ordered, running=running)
    return ordered(trials)


def arranged(trials: Iterable[Trial], order: Order, splits: Mapping[DataKey, Splits]) -> list[Trial]:
    """Return trials in an order by the operations of their epochs; equal ones stay as listed.

    It goes by the whole of each trial, whatever it has done: what is left of them keeps the order that all had.

    Args:
        trials: The trials, as listed.
        order: Which of them comes first.
        splits: The split images of each data set, by `Recipe.data_key`.
    """
    as_listed = list(trials)
    if order == "listed":
        return as_listed
    costs = Costs.of((trial.recipe for trial in as_listed), splits)

    def cost(trial: Trial) -> float:
        return costs.epoch_seconds(kind_of(trial.recipe)) * trial.recipe.epochs

    return sorted(as_listed, key=cost, reverse=order == "longest")
