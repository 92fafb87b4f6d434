"""What early stopping saved and what it may have cost, from a run's own record or from curves that are complete.

A replay shows complete curves to the stopping rule of `experiment.asha`, in the order in which trials would have
reached each rung. One seed each is an illustration of that rule, not a law about it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from scipy import stats

from raytrain.experiment.asha import Decision, Rungs
from raytrain.metrics.selection import SELECTIONS, Select, select_of
from raytrain.runs.results import TrialResult

GRACE_PERIODS = (1, 2, 5, 10, 20, 25, 50, 100)
"""Epochs of the first rung to replay, in settings where they are below the number of epochs."""
REDUCTION_FACTORS = (2, 3, 4)


@dataclass(frozen=True)
class Curve:
    """The learning curve of one trial.

    Attributes:
        accuracies: Accuracy after each epoch, a fraction in [0, 1], or the `Selection.quality` of another metric.
        seconds: Wall-clock seconds from the trial's start to the end of each epoch; never falling.
        validated: Whether the accuracies are of a validation split.
    """

    accuracies: Sequence[float]
    seconds: Sequence[float]
    validated: bool = False

    def __post_init__(self) -> None:
        if not self.accuracies or len(self.accuracies) != len(self.seconds):
            raise ValueError(f"{len(self.accuracies)} accuracies and {len(self.seconds)} times make no curve")

    @property
    def reached(self) -> float:
        """The accuracy by which the table judges the trial: of the best validated epoch, or else of the last one."""
        return max(self.accuracies) if self.validated else self.accuracies[-1]


@dataclass(frozen=True)
class Replay:
    """What one setting of ASHA would have done.

    Attributes:
        grace_period: Epoch of the first rung.
        reduction_factor: ASHA's eta.
        kept: Trials that would have run to the end, best first.
        stopped: Epoch at which each of the other trials would have been stopped, in that order.
        regret: Accuracy reached by the best trial minus that of the best kept one, a fraction; 0 if the best was kept.
        epochs_saved: Share of all epochs that would not have been run.
        seconds_saved: Share of all training seconds that would not have been spent.
    """

    grace_period: int
    reduction_factor: float
    kept: Sequence[str]
    stopped: Mapping[str, int]
    regret: float
    epochs_saved: float
    seconds_saved: float


@dataclass(frozen=True)
class Stop:
    """A trial that was stopped in a run.

    Attributes:
        trial: Id of the trial.
        epoch: Epoch after which the trial was stopped.
        rung: Epoch of the rung at which ASHA judged the trial.
        accuracy: Validation accuracy of the trial at the rung, a fraction.
        cut: Validation accuracy that the trial needed to go on, a fraction.
        epochs_left: Epochs of the trial after the stop.
        seconds_left: Estimated seconds of these epochs, from the trial's own seconds per epoch.
        rescued: Whether `asha.rescue` ran the trial on afterwards, so that its epochs were not saved.
        final: Validation accuracy of the trial's best epoch, if it was rescued and finished; else None.
    """

    trial: str
    epoch: int
    rung: float
    accuracy: float
    cut: float
    epochs_left: int
    seconds_left: float
    rescued: bool
    final: float | None

    @property
    def margin(self) -> float:
        """The difference between the cut and the trial's accuracy, a fraction."""
        return self.cut - self.accuracy


@dataclass(frozen=True)
class Rung:
    """What happened at one rung.

    Attributes:
        epoch: Epoch of the rung.
        judged: Number of trials that ASHA judged at the rung.
        stopped: Number of trials that were stopped at the rung.
        tau: Kendall's tau between the order at the rung and the final order; None for fewer than three trials.
        compared: Number of trials that tau compares: those that were judged here and ran to the end.
    """

    epoch: float
    judged: int
    stopped: int
    tau: float | None
    compared: int


@dataclass(frozen=True)
class Audit:
    """What ASHA did to a run, or would have done.

    Attributes:
        stops: Stopped trials, in the order in which they were stopped.
        rungs: Rungs at which trials were judged, the earliest first.
        epochs: Epochs that the search would have run without ASHA.
        seconds: Estimated seconds of the search without ASHA on one slot.
        regret: Validation accuracy reached by the best rescued trial minus that of the best trial never stopped, a
            fraction, at least 0; None when no rescued trial ran to its end.
        complete: Number of trials that ran to the end, which are those that can be replayed.
        replays: Results of other ASHA settings on the complete trials.
        select: Metric that ASHA goes by. Where it is not accuracy, what is called accuracy above is its
            `Selection.quality`: a negative log-likelihood is negated.
    """

    stops: Sequence[Stop]
    rungs: Sequence[Rung]
    epochs: int
    seconds: float
    regret: float | None
    complete: int
    replays: Sequence[Replay]
    select: Select = "accuracy"

    @property
    def epochs_saved(self) -> int:
        """Epochs that stopping saved; those of rescued trials do not count."""
        return sum(stop.epochs_left for stop in self.stops if not stop.rescued)

    @property
    def seconds_saved(self) -> float:
        """Estimated training seconds that stopping saved; those of rescued trials do not count."""
        return sum(stop.seconds_left for stop in self.stops if not stop.rescued)


def audit(
    results: Iterable[TrialResult],
    epochs: Mapping[str, Sequence[Mapping[str, Any]]],
    events: Sequence[Mapping[str, Any]],
) -> Audit:
    """Return the audit of a run.

    Args:
        results: Results of the trials; those of the phase "confirm" are ignored.
        epochs: Rows of metrics.jsonl, by trial id.
        events: Rows of events.jsonl.
    """
    searched = {result.trial: result for result in results if result.phase == "search"}
    recipe = next((result.recipe for result in searched.values()), {})
    select = select_of(recipe)
    rescued = {event["trial"] for event in events if event["event"] == "rescued"}
    complete = {
        trial: curve
        for trial, result in searched.items()
        if result.status == "finished" and (curve := _curve(epochs.get(trial, ()), select)) is not None
    }
    judged = [event for event in events if event["event"] == "rung" and event["trial"] in searched]
    stops = [
        _stop(event, searched[event["trial"]], epochs.get(event["trial"], ()), rescued, complete)
        for event in judged
        if event["stop"]
    ]
    planned = [result.recipe["epochs"] for result in searched.values()]
    unspared = {stop.trial for stop in stops if not stop.rescued}
    seconds = sum(r.seconds for r in searched.values()) + sum(s.seconds_left for s in stops if s.trial in unspared)
    let_through = [curve.reached for trial, curve in complete.items() if trial not in rescued]
    ends = [stop.final for stop in stops if stop.final is not None]
    rungs = [
        _rung(epoch, [event for event in judged if event["rung"] == epoch], complete)
        for epoch in sorted({event["rung"] for event in judged})
    ]
    return Audit(
        stops,
        rungs,
        epochs=sum(planned),
        seconds=seconds,
        regret=max(0.0, max(ends) - max(let_through)) if ends and let_through else None,
        complete=len(complete),
        replays=replays(complete),
        select=select,
    )


def replays(curves: Mapping[str, Curve]) -> list[Replay]:
    """Return what every setting of `GRACE_PERIODS` and `REDUCTION_FACTORS` would have done; none for one curve."""
    if len(curves) < 2:
        return []
    longest = max(len(curve.accuracies) for curve in curves.values())
    return [
        replay(curves, grace_period=grace, reduction_factor=factor)
        for grace in GRACE_PERIODS
        for factor in REDUCTION_FACTORS
        if grace < longest
    ]


def replay(curves: Mapping[str, Curve], *, grace_period: int, reduction_factor: float) -> Replay:
    """Return what ASHA would have done, had all trials started at once.

    Args:
        curves: Complete learning curves, by trial.
        grace_period: Epoch of the first rung, at least 1.
        reduction_factor: ASHA's eta, above 1: at each rung about one trial in eta goes on.
    """
    rungs = Rungs(grace_period, max(len(curve.accuracies) for curve in curves.values()), reduction_factor)
    stopped: dict[str, int] = {}
    for _, epoch, name in sorted(_arrivals(curves)):
        if name in stopped or epoch == len(curves[name].accuracies):
            continue
        decision: Decision | None = rungs.judge(name, epoch=epoch, accuracy=curves[name].accuracies[epoch - 1])
        if decision and decision.stop:
            stopped[name] = epoch
    final = {name: curve.reached for name, curve in curves.items()}
    kept = sorted((name for name in curves if name not in stopped), key=lambda name: -final[name])
    epochs, seconds = _totals((curve, len(curve.accuracies)) for curve in curves.values())
    ran_epochs, ran_seconds = _totals((c, stopped.get(name, len(c.accuracies))) for name, c in curves.items())
    return Replay(
        grace_period,
        reduction_factor,
        kept,
        stopped,
        regret=max(final.values()) - final[kept[0]],  # the first to reach a rung always goes on, so one is kept
        epochs_saved=1 - ran_epochs / epochs,
        seconds_saved=1 - ran_seconds / seconds if seconds else 0.0,
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two orders of the same trials: 1 the same, -1 reversed; None where all are equal."""
    found: Any = stats.kendalltau(first, second)
    tau = float(found.statistic)
    return None if math.isnan(tau) else tau


def _curve(rows: Sequence[Mapping[str, Any]], select: Select) -> Curve | None:
    accuracies: list[Any] = [
        row["val_accuracy"] if row["val_accuracy"] is not None else row["test_accuracy"] for row in rows
    ]
    if select != "accuracy":
        selection = SELECTIONS[select]
        known = [row.get(selection.val_field) for row in rows]
        accuracies = [None if value is None else selection.quality(value) for value in known]
    if not rows or None in accuracies:
        return None
    validated = all(row["val_accuracy"] is not None for row in rows)
    return Curve(accuracies, list(accumulate(row["seconds"] for row in rows)), validated)


def _stop(
    event: Mapping[str, Any],
    result: TrialResult,
    rows: Sequence[Mapping[str, Any]],
    rescued: set[str],
    complete: Mapping[str, Curve],
) -> Stop:
    trial, epoch = event["trial"], event["epoch"]
    took = [row["seconds"] for row in rows[:epoch]]
    left = result.recipe["epochs"] - epoch
    final = complete[trial].reached if trial in rescued and trial in complete else None
    seconds = left * sum(took) / len(took) if took else 0.0
    return Stop(trial, epoch, event["rung"], event["accuracy"], event["cut"], left, seconds, trial in rescued, final)


def _rung(epoch: float, judged: Sequence[Mapping[str, Any]], complete: Mapping[str, Curve]) -> Rung:
    known = [event for event in judged if event["trial"] in complete]
    both = [(event["accuracy"], complete[event["trial"]].reached) for event in known]
    there, last = [pair[0] for pair in both], [pair[1] for pair in both]
    tau = rank_correlation(there, last) if len(both) > 2 else None
    return Rung(epoch, len(judged), sum(event["stop"] for event in judged), tau, len(both))


def _arrivals(curves: Mapping[str, Curve]) -> Iterable[tuple[float, int, str]]:
    """Yield the second, epoch and name for every epoch of every trial."""
    for name, curve in curves.items():
        for epoch, seconds in enumerate(curve.seconds, start=1):
            yield seconds, epoch, name


def _totals(curves: Iterable[tuple[Curve, int]]) -> tuple[int, float]:
    parts = [(epochs, curve.seconds[epochs - 1]) for curve, epochs in curves]
    return sum(epochs for epochs, _ in parts), sum(seconds for _, seconds in parts)
