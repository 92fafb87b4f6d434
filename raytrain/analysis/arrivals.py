"""A search replayed on complete learning curves: trials start in some order on some slots, and a rule judges them.

Where a trial stands among the first to come depends on chance, so a rule is replayed in many orders.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from raytrain.analysis.replay import Curve
from raytrain.experiment.asha import Decision, Promotion, Rungs


class Rule(Protocol):
    """A rule that judges running trials, as `experiment.asha.Rungs` does."""

    def judge(self, trial: str, *, epoch: int, quality: float) -> Decision | None:
        """Return the decision on a trial after an epoch, or None where it goes on unjudged."""
        ...


@dataclass(frozen=True)
class Search:
    """What a replayed search came to.

    Attributes:
        reached: Epochs that each trial has run.
        regret: Accuracy reached by the best of all trials minus that of the best one that ran to its end, a fraction.
        epochs: Share of all epochs that were run, above 0 and at most 1.
    """

    reached: Mapping[str, int]
    regret: float
    epochs: float

    @classmethod
    def of(cls, curves: Mapping[str, Curve], reached: Mapping[str, int]) -> "Search":
        """Return what it comes to when each trial has run so many epochs; at least one has run to its end."""
        complete = [name for name, epochs in reached.items() if epochs == len(curves[name].accuracies)]
        best = max(curve.reached for curve in curves.values())
        ran = sum(reached.values()) / sum(len(curve.accuracies) for curve in curves.values())
        return cls(dict(reached), best - max(curves[name].reached for name in complete), ran)


def asha_search(curves: Mapping[str, Curve], rungs: Rungs, *, order: Sequence[str], slots: int) -> Search:
    """Return a search under ASHA: trials stop, or pause and are promoted.

    Args:
        curves: Complete learning curves, by trial.
        rungs: Rungs with nothing recorded; what is judged is recorded there.
        order: Trials in the order in which they start.
        slots: Number of trials that run at a time.
    """
    return search(curves, rungs, at=[math.ceil(rung) for rung in rungs.recorded], order=order, slots=slots)


def search(curves: Mapping[str, Curve], rule: Rule, *, at: Sequence[int], order: Sequence[str], slots: int) -> Search:
    """Return a search under a rule.

    Args:
        curves: Complete learning curves, by trial.
        rule: Rule that stops trials, or `Promotion`, which has them pause.
        at: Epochs after which the rule is asked.
        order: Trials in the order in which they start.
        slots: Number of trials that run at a time.
    """
    asked = sorted(at)
    waiting = deque(order)
    reached = dict.fromkeys(order, 0)
    running: list[tuple[float, int, str, int]] = []  # when, a number that parts ties, which trial is after which epoch
    number = count()

    def run_on(name: str, now: float) -> None:
        seconds, before = curves[name].seconds, reached[name]
        to = min(next((epoch for epoch in asked if epoch > before), len(seconds)), len(seconds))
        end = now + seconds[to - 1] - (seconds[before - 1] if before else 0.0)
        heapq.heappush(running, (end, next(number), name, to))

    def start(now: float) -> None:
        while len(running) < slots and (name := _next(rule, waiting, nothing_runs=not running)):
            run_on(name, now)

    start(0.0)
    while running:
        now, _, name, epoch = heapq.heappop(running)
        reached[name] = epoch
        if epoch < len(curves[name].accuracies):
            decision = rule.judge(name, epoch=epoch, quality=curves[name].accuracies[epoch - 1])
            if decision is None or not (decision.stop or decision.pause):
                run_on(name, now)
                continue
        start(now)
    return Search.of(curves, reached)


def _next(rule: Rule, waiting: deque[str], *, nothing_runs: bool) -> str | None:
    """Return the trial that a free slot takes, or None where it stays free."""
    if isinstance(rule, Promotion):
        asks: list[Callable[[], str | None]] = [rule.promotable]
        if not waiting and nothing_runs:
            asks.append(rule.best_left)
        for ask in asks:
            if chosen := ask():
                del rule.paused[chosen]
                return chosen
    return waiting.popleft() if waiting else None
