"""What early stopping, or pausing, saved and what it may have cost, from a run's own record."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import scipy

from raytrain.analysis.replay import Curve, Replay, replays
from raytrain.experiment.asha import Rungs
from raytrain.metrics.selection import SELECTIONS, Select, select_of
from raytrain.runs.results import TrialResult


@dataclass(frozen=True)
class Stop:
    """A trial that was stopped in a run, or left paused.

    Attributes:
        trial: Id of the trial.
        epoch: Epoch after which the trial was stopped or paused.
        rung: Epoch of the rung at which ASHA judged the trial.
        accuracy: Validation accuracy of the trial at the rung, a fraction.
        cut: Validation accuracy that the trial needed to go on, a fraction; for one that is paused, to be among as many
            of its rung as went on.
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
        stopped: Number of trials that were stopped at the rung, or left paused.
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
        stops: Stopped trials, in the order in which they were stopped; or trials that are paused.
        rungs: Rungs at which trials were judged, the earliest first.
        epochs: Epochs that the search would have run without ASHA.
        seconds: Estimated seconds of the search without ASHA on one slot.
        regret: Validation accuracy reached by the best rescued trial minus that of the best trial never stopped, a
            fraction, at least 0; None when no rescued trial ran to its end.
        complete: Number of trials that ran to the end, which are those that can be replayed.
        replays: Results of ASHA on the complete trials, with the run's setting and others.
        mode: Whether ASHA stops trials or has them pause.
        select: Metric that ASHA goes by. Where it is not accuracy, what is called accuracy above is its
            `Selection.quality`: a negative log-likelihood is negated.
        chosen: Sentence about the setting that `lose_at_most` chose; "" where it was given.
    """

    stops: Sequence[Stop]
    rungs: Sequence[Rung]
    epochs: int
    seconds: float
    regret: float | None
    complete: int
    replays: Sequence[Replay]
    select: Select = "accuracy"
    mode: Literal["stop", "promote"] = "stop"
    chosen: str = ""

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
    *,
    own: Rungs | None = None,
    replayed: bool = True,
) -> Audit:
    """Return the audit of a run.

    Args:
        results: Results of the trials; those of the phase "confirm" are ignored.
        epochs: Rows of metrics.jsonl, by trial id.
        events: Rows of events.jsonl.
        own: Rungs of the run, whose setting is replayed; None where it has none.
        replayed: Whether to replay settings of ASHA, which takes minutes where thousands of trials ran to the end.
    """
    searched = {result.trial: result for result in results if result.phase == "search"}
    recipe = next((result.recipe for result in searched.values()), {})
    select = select_of(recipe)
    rescued = {event["trial"] for event in events if event["event"] == "rescued"}
    complete = {
        trial: curve
        for trial, result in searched.items()
        if result.status == "finished" and (curve := curve_of(epochs.get(trial, ()), select)) is not None
    }
    by_rung = {(e["trial"], e["rung"]): e for e in events if e["event"] == "rung" and e["trial"] in searched}
    judged = list(by_rung.values())
    held = _held(judged, {trial for trial, result in searched.items() if result.status == "paused"} | rescued)
    stops = [
        _stop(event, searched[event["trial"]], epochs.get(event["trial"], ()), rescued, complete) for event in held
    ]
    planned = [result.recipe["epochs"] for result in searched.values()]
    unspared = {stop.trial for stop in stops if not stop.rescued}
    seconds = sum(r.seconds for r in searched.values()) + sum(s.seconds_left for s in stops if s.trial in unspared)
    let_through = [curve.reached for trial, curve in complete.items() if trial not in rescued]
    ends = [stop.final for stop in stops if stop.final is not None]
    rungs = [
        _rung(epoch, [event for event in judged if event["rung"] == epoch], held, complete)
        for epoch in sorted({event["rung"] for event in judged})
    ]
    return Audit(
        stops,
        rungs,
        epochs=sum(planned),
        seconds=seconds,
        regret=max(0.0, max(ends) - max(let_through)) if ends and let_through else None,
        complete=len(complete),
        replays=replays(complete, own) if replayed else (),
        select=select,
        mode="promote" if any(event.get("pause") for event in judged) else "stop",
        chosen=next((event["why"] for event in reversed(events) if event["event"] == "asha chosen"), ""),
    )


def _held(judged: Sequence[Mapping[str, Any]], paused: set[str]) -> list[Mapping[str, Any]]:
    """Return the decisions after which a trial did not go on, those of trials that are paused with the final cut."""
    last = {event["trial"]: event for event in judged if event.get("pause") and event["trial"] in paused}
    held: list[Mapping[str, Any]] = []
    for event in judged:
        if event["stop"]:
            held.append(event)
        elif last.get(event["trial"]) is event:
            there = sorted((one["accuracy"] for one in judged if one["rung"] == event["rung"]), reverse=True)
            stayed = sum(one["rung"] == event["rung"] for one in last.values())
            held.append({**event, "cut": there[max(1, len(there) - stayed) - 1]})
    return held


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two orders of the same trials: 1 the same, -1 reversed; None where all are equal."""
    found: Any = scipy.stats.kendalltau(first, second)
    tau = float(found.statistic)
    return None if math.isnan(tau) else tau


def curve_of(rows: Sequence[Mapping[str, Any]], select: Select) -> Curve | None:
    """Return the learning curve of rows of metrics.jsonl by the metric that decides; None where some have none."""
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


def _rung(
    epoch: float,
    judged: Sequence[Mapping[str, Any]],
    held: Sequence[Mapping[str, Any]],
    complete: Mapping[str, Curve],
) -> Rung:
    known = [event for event in judged if event["trial"] in complete]
    both = [(event["accuracy"], complete[event["trial"]].reached) for event in known]
    there, last = [pair[0] for pair in both], [pair[1] for pair in both]
    tau = rank_correlation(there, last) if len(both) > 2 else None
    return Rung(epoch, len(judged), sum(event["rung"] == epoch for event in held), tau, len(both))
