"""The rules of asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), with one bracket: `asha.mode`.

`Rungs` stops trials, as Ray Tune's AsyncHyperBandScheduler does: a trial is judged by what has been recorded at its
rung *so far*, so the first to arrive always goes on, and who was stopped stays so. `Promotion` is the paper's
algorithm 2: every trial pauses at its rung, and the best of a rung go on, whoever came first.
"""

import bisect
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Decision:
    """What happened to a trial at a rung.

    Attributes:
        rung: Epoch of the rung.
        accuracy: Validation accuracy of the trial, in [0, 1], or another metric by its `Selection.quality`.
        cut: Least accuracy to go on: the (1 - 1/eta) quantile of those recorded before; None for the first to arrive.
        stop: Whether the trial was stopped.
        pause: Whether the trial paused there, until it is promoted.
    """

    rung: float
    accuracy: float
    cut: float | None
    stop: bool
    pause: bool = False


def rungs_between(first: int, *, epochs: int, reduction_factor: float, most: int | None = None) -> list[float]:
    """Return the epochs at which trials are judged, ascending: first, first * eta, ... below `epochs`, or `most`."""
    rungs: list[float] = []
    rung = float(first)
    while rung < epochs and len(rungs) != most:
        rungs.append(rung)
        rung *= reduction_factor
    return rungs


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return a quantile of values in ascending order, interpolated linearly, bit for bit as `numpy.quantile` does.

    NumPy sorts its values each time. A sweep of n trials asks for n quantiles.

    Args:
        ascending: The values, at least one.
        share: Share of the values that are below it, in [0, 1].
    """
    at = (len(ascending) - 1) * share
    below = math.floor(at)
    low, high = ascending[below], ascending[min(below + 1, len(ascending) - 1)]
    part = at - below
    return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part


@dataclass
class Rungs:
    """The validation accuracies of trials at each rung; or, by `Selection.quality`, what else the recipes select by.

    Attributes:
        first: Epoch of the first rung, the paper's r.
        epochs: Epochs of the longest trial, the paper's R.
        reduction_factor: The paper's eta.
        most: Largest number of rungs; None for all below `epochs`, as in the paper.
        recorded: For each rung, the accuracy of each trial that was judged there.
    """

    first: int
    epochs: int
    reduction_factor: float
    most: int | None = field(default=None, kw_only=True)
    recorded: dict[float, dict[str, float]] = field(default_factory=dict[float, dict[str, float]])
    _sorted: dict[float, tuple[dict[str, float], list[float]]] = field(
        default_factory=dict[float, tuple[dict[str, float], list[float]]], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for rung in rungs_between(
            self.first, epochs=self.epochs, reduction_factor=self.reduction_factor, most=self.most
        ):
            self.recorded.setdefault(rung, {})

    def judge(self, trial: str, *, epoch: int, quality: float) -> Decision | None:
        """Return the decision on `trial` after `epoch`, or None when it is at no rung.

        A trial is judged at the highest rung that it has reached, once, and its quality is recorded there. It is not
        judged at a lower one afterwards, over which it has jumped where rungs are less than an epoch apart.
        """
        rung = max((rung for rung in self.recorded if rung <= epoch), default=None)
        if rung is not None and trial not in (others := self.recorded[rung]):
            ascending = self._ascending(rung)
            cut = quantile(ascending, 1 - 1 / self.reduction_factor) if ascending else None
            others[trial] = quality
            bisect.insort(ascending, quality)
            return Decision(rung, quality, cut, stop=cut is not None and quality < cut)
        return None

    def emptied(self) -> Self:
        """Return the same rungs with nothing on record."""
        return type(self)(self.first, self.epochs, self.reduction_factor, most=self.most)

    def _ascending(self, rung: float) -> list[float]:
        """Return the accuracies at a rung in ascending order; they are sorted anew where others were recorded there."""
        recorded = self.recorded[rung]
        known, ascending = self._sorted.get(rung, (None, []))
        if known is not recorded or len(ascending) != len(recorded):
            ascending = sorted(recorded.values())
            self._sorted[rung] = recorded, ascending
        return ascending

    def due(self, trial: str, *, epoch: int) -> int | None:
        """Return the first epoch up to `epoch` at which `trial` should have been judged and was not, or None."""
        judged = [rung for rung, accuracies in self.recorded.items() if trial in accuracies]
        # who was judged at a higher rung is not judged at a lower one any more
        missed = [rung for rung in self.recorded if max(judged, default=0) < rung <= epoch]
        return math.ceil(min(missed)) if missed else None


@dataclass
class Promotion(Rungs):
    """The rungs of trials that pause there, and which of them goes on: algorithm 2 of the paper.

    A paused trial may go on while it is among the best floor(n / eta) of the n trials that have been recorded at its
    rung. Of several rungs, the highest comes first. The paper draws a new trial where none may go on, without end; an
    experiment has a last trial. When all have started and none runs, `best_left` says who goes on still: where all
    trials of a rung are paused, because they are fewer than eta, its best one does. So each rung lets at least one
    trial pass, and at least one reaches its end.

    Attributes:
        paused: The rung at which each paused trial waits.
        lost: Trials that diverged or failed after a rung, and that do not count as passed there.
    """

    paused: dict[str, float] = field(default_factory=dict[str, float])
    lost: set[str] = field(default_factory=set[str])
    _orders: dict[float, "_RungOrder"] = field(
        default_factory=lambda: dict[float, "_RungOrder"](), init=False, repr=False, compare=False
    )

    def judge(self, trial: str, *, epoch: int, quality: float) -> Decision | None:
        """Record `trial` at the rung of `epoch` and have it pause; return None when there is no rung at that epoch.

        The cut is that of the trials recorded so far, with this one; it moves as others come.
        """
        rung = max((rung for rung in self.recorded if math.ceil(rung) == epoch), default=None)
        if rung is None:
            return None
        order = self._order(rung)
        order.insert(trial, quality)
        self.paused[trial] = rung
        return Decision(rung, quality, order.quality_of_rank(self._most_promoted(rung)), stop=False, pause=True)

    def until(self, *, epoch: int, epochs: int) -> int:
        """Return the epoch to which a trial of `epochs` epochs runs after `epoch`: the next rung, or its last."""
        return min([at for rung in self.recorded if (at := math.ceil(rung)) > epoch] + [epochs])

    def ended(self, trial: str, *, lost: bool) -> None:
        """Take note that a trial has ended: lost, if it diverged or failed."""
        if lost:
            self.lost.add(trial)
        else:
            self.lost.discard(trial)

    def promotable(self) -> str | None:
        """Return the paused trial that goes on next, or None where none is among the best of its rung."""
        for rung in sorted(self.recorded, reverse=True):
            order = self._order(rung)
            best = order.best(self.paused)
            if best is not None and order.before(best) < self._most_promoted(rung):
                return best
        return None

    def best_left(self) -> str | None:
        """Return the paused trial that goes on when none runs, none is new and none is promotable; None at the end."""
        for rung in sorted(self.recorded, reverse=True):
            best = self._order(rung).best(self.paused)
            passed = (one for one in self.recorded[rung] if self.paused.get(one) != rung and one not in self.lost)
            if best is not None and next(passed, None) is None:
                return best
        return None

    def _most_promoted(self, rung: float) -> int:
        return math.floor(len(self.recorded[rung]) / self.reduction_factor)

    def _order(self, rung: float) -> "_RungOrder":
        """Return the order of the trials at a rung; it is made anew where others have changed what is on record."""
        known = self._orders.get(rung)
        if known is None or not known.is_of(self.recorded[rung], self.paused):
            known = self._orders[rung] = _RungOrder(rung, self.recorded[rung], self.paused)
        return known


class _RungOrder:
    """The trials at a rung, the best first; of equal ones, the one that came first.

    To look through all of them for each decision would take the square of their number.
    """

    def __init__(self, rung: float, recorded: dict[str, float], paused: dict[str, float]) -> None:
        """Sort the trials of a rung.

        Args:
            rung: Epoch of the rung.
            recorded: Quality of each trial that has come to the rung, in the order in which they came.
            paused: The rung at which each paused trial waits.
        """
        self._rung, self._recorded, self._paused = rung, recorded, paused
        self._arrived = {trial: number for number, trial in enumerate(recorded)}
        self._ordered = sorted(self._key(trial) for trial in recorded)
        # the best of those that pause; one that goes on stays here until it would be the next
        self._waiting = [(*self._key(trial), trial) for trial in recorded if paused.get(trial) == rung]
        heapq.heapify(self._waiting)

    def _key(self, trial: str) -> tuple[float, int]:
        return -self._recorded[trial], self._arrived[trial]

    def is_of(self, recorded: dict[str, float], paused: dict[str, float]) -> bool:
        """Return whether these are what the order was made from, and nobody else has added to it."""
        return self._recorded is recorded and self._paused is paused and len(recorded) == len(self._ordered)

    def insert(self, trial: str, quality: float) -> None:
        """Record a trial, which pauses; where it was recorded before, with another quality perhaps."""
        if trial in self._recorded:
            del self._ordered[bisect.bisect_left(self._ordered, self._key(trial))]
        self._recorded[trial] = quality
        self._arrived.setdefault(trial, len(self._arrived))
        bisect.insort(self._ordered, self._key(trial))
        heapq.heappush(self._waiting, (*self._key(trial), trial))

    def quality_of_rank(self, rank: int) -> float | None:
        """Return the quality of the trial of a rank, counted from 1; None for rank 0."""
        return -self._ordered[rank - 1][0] if rank else None

    def best(self, paused: dict[str, float]) -> str | None:
        """Return the best trial that is paused here."""
        while self._waiting:
            *key, trial = self._waiting[0]
            if paused.get(trial) == self._rung and tuple(key) == self._key(trial):
                return trial
            heapq.heappop(self._waiting)
        return None

    def before(self, trial: str) -> int:
        """Return how many trials stand before one: those that are better, and equal ones that came before."""
        return bisect.bisect_left(self._ordered, self._key(trial))
