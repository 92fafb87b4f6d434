"""Simulation of a run, to know how long it will take: trials start on slots, in some order, and ASHA judges them.

Which trials are good is not known beforehand. Each is given a random quality, and ASHA's own rule stops it, has it
pause, or lets it go on; many simulated runs give the range.
"""

import copy
import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import scipy

from raytrain.experiment.asha import Rungs
from raytrain.experiment.duration.costs import Costs, Kind, kind_of
from raytrain.experiment.duration.order import Order, queue_of
from raytrain.experiment.trial import Trial

SIMULATED_TRIALS = 20_000
"""Trials to simulate, in all sweeps together, to find the faster of two orders: about a second."""


@dataclass(frozen=True)
class Lengths:
    """How long trials take.

    Attributes:
        epoch_s: Seconds of an epoch, by kind.
        end_s: Seconds after the last epoch, by kind.
    """

    epoch_s: Mapping[Kind, float]
    end_s: Mapping[Kind, float]

    def seconds(self, trial: Trial, *, after: int, to: int) -> float:
        """Return the seconds that a trial takes from the end of epoch `after` to the end of epoch `to`."""
        kind = kind_of(trial.recipe)
        return (to - after) * self.epoch_s[kind] + (self.end_s[kind] if to == trial.recipe.epochs else 0.0)


def lengths_of(trials: Iterable[Trial], costs: Costs) -> Lengths:
    """Return how long trials take by what their epochs are expected to cost; nothing follows the last one."""
    kinds = {kind_of(trial.recipe) for trial in trials}
    return Lengths({kind: costs.epoch_seconds(kind) for kind in kinds}, dict.fromkeys(kinds, 0.0))


@dataclass
class Sweep:
    """The result of one simulation.

    Attributes:
        seconds: Seconds from the first start to the last end.
        busy_s: Seconds of training, summed over the slots.
        finished: The trials that ran to their end.
        stopped: The trials that were stopped early or never promoted, each with its last epoch.
        rungs: ASHA's rungs at the end, with the quality of each trial; None where no trial is stopped early.
    """

    seconds: float = 0.0
    busy_s: float = 0.0
    finished: list[Trial] = field(default_factory=list[Trial])
    stopped: dict[Trial, int] = field(default_factory=dict[Trial, int])
    rungs: Rungs | None = None


def sweep(
    trials: Mapping[Trial, int],
    lengths: Lengths,
    *,
    slots: int,
    order: Order = "longest",
    rungs: Rungs | None = None,
    quality: Mapping[Trial, float] | None = None,
) -> Sweep:
    """Return the result of one simulated training of `trials`.

    Args:
        trials: The trials, each with the number of epochs that it has done.
        lengths: Seconds that the trials take.
        slots: Number of trials that run at a time.
        order: Which of the waiting trials starts next.
        rungs: ASHA's rungs, with the accuracies on record; None lets all trials finish.
        quality: Quality of each trial, in [0, 1]: the share of the others that it is better than.
    """
    judged = _by_rank(rungs)
    result = Sweep(rungs=judged)
    running: list[tuple[float, int, Trial, int]] = []  # when, where, and which trial will be after which epoch
    costs = Costs({})
    for kind, seconds in lengths.epoch_s.items():
        costs.took(kind, seconds)
    queue = queue_of(trials, costs, order, judged, running=lambda: [trial.id for _, _, trial, _ in running])
    done = dict(trials)
    idle = list(range(slots))

    def run_on(slot: int, trial: Trial, epoch: int) -> None:
        """Have a trial run to where it is judged next, or to its end."""
        to = min((epoch_of for epoch_of in _judged_after(rungs) if epoch_of > epoch), default=trial.recipe.epochs)
        to = min(to, trial.recipe.epochs)
        seconds = lengths.seconds(trial, after=epoch, to=to)
        result.busy_s += seconds
        heapq.heappush(running, (result.seconds + seconds, slot, trial, to))

    def start() -> None:
        while idle and (trial := queue.next()):
            result.stopped.pop(trial, None)
            run_on(idle.pop(0), trial, done[trial])

    start()
    while running:
        result.seconds, slot, trial, epoch = heapq.heappop(running)
        if epoch == trial.recipe.epochs:
            result.finished.append(trial)
        elif (
            judged
            and (decision := judged.judge(trial.id, epoch=epoch, quality=(quality or {})[trial]))
            and (decision.stop or decision.pause)
        ):
            result.stopped[trial] = done[trial] = epoch
        else:
            run_on(slot, trial, epoch)
            continue
        idle.append(slot)
        start()
    return result


def best(trials: Sequence[Trial], quality: Mapping[Trial, float], *, count: int) -> list[Trial]:
    """Return the trials of the highest quality."""
    return sorted(trials, key=lambda trial: quality[trial], reverse=True)[:count]


def faster_order(trials: Mapping[Trial, int], lengths: Lengths, *, slots: int, rungs: Rungs | None) -> Order:
    """Return the order in which a sweep is expected to end first: the longest trials first, or the shortest.

    Without ASHA it is the longest first. With it, that order lets the most expensive trials reach their rungs before
    there is anything to compare them with, so it is taken only where simulated sweeps of random quality end sooner.

    Args:
        trials: The trials, each with the number of epochs that it has done.
        lengths: Seconds that the trials take; only their ratios matter.
        slots: Number of trials that run at a time.
        rungs: ASHA's rungs, with the accuracies on record; None where no trial is stopped early.
    """
    if rungs is None or not trials:
        return "longest"
    if len({lengths.seconds(trial, after=epoch, to=trial.recipe.epochs) for trial, epoch in trials.items()}) == 1:
        return "shortest"  # as listed in either order
    draws = max(4, min(100, SIMULATED_TRIALS // len(trials)))
    draw = np.random.default_rng(0)
    qualities = [dict(zip(trials, draw.random(len(trials)).tolist(), strict=True)) for _ in range(draws)]
    longest, shortest = (
        fmean(sweep(trials, lengths, slots=slots, order=order, rungs=rungs, quality=one).seconds for one in qualities)
        for order in ("longest", "shortest")
    )
    return "longest" if longest < shortest else "shortest"


def order_from_the_start(trials: Collection[Trial], costs: Costs, *, slots: int, rungs: Rungs) -> Order:
    """Return the order in which a search under ASHA is expected to end first, whatever it has done so far.

    So a search that was interrupted continues in the order in which it began.

    Args:
        trials: All trials of the search, also those that have ended.
        costs: Expected seconds of an epoch, by its operations alone.
        slots: Number of trials that run at a time.
        rungs: ASHA's rungs; what is on record there does not count.
    """
    lengths = lengths_of(trials, costs)
    if len({lengths.seconds(trial, after=0, to=trial.recipe.epochs) for trial in trials}) == 1:
        return "listed"  # neither is shorter by its operations, whatever it takes
    return faster_order(dict.fromkeys(trials, 0), lengths, slots=slots, rungs=rungs.emptied())


def _judged_after(rungs: Rungs | None) -> list[int]:
    return [math.ceil(rung) for rung in rungs.recorded] if rungs else []


def _by_rank(rungs: Rungs | None) -> Rungs | None:
    """Return rungs with the rank of each accuracy among those on record, in [0, 1], instead of the accuracy."""
    if rungs is None:
        return None
    shares: dict[float, dict[str, float]] = {}
    for rung, accuracies in rungs.recorded.items():
        ranks = scipy.stats.rankdata(list(accuracies.values())).tolist()  # from 1; equal ones share the mean
        shares[rung] = {trial: (rank - 0.5) / len(ranks) for trial, rank in zip(accuracies, ranks, strict=True)}
    placed = copy.deepcopy(rungs)
    placed.recorded = shares
    return placed
