"""Simulated sweeps of a run, with what follows its search: stopped trials that run on, the best trained again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from raytrain.execution.stages.confirm import confirming
from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.order import Order
from raytrain.experiment.duration.simulation import Lengths, Sweep, best, sweep
from raytrain.experiment.trial import Trial
from raytrain.runs.state import FINAL, RunState
from raytrain.training.recipe import Recipe

SWEEPS = 200
"""Largest number of simulated sweeps, when chance decides which trials are stopped or chosen."""
MAX_SIMULATED_TRIALS = 40_000
"""Largest number of simulated trials in all sweeps together; with many trials, fewer sweeps are simulated."""

SPEED_SPREAD = 0.07
"""Standard deviation of the logarithm of a run's speed over the speed that was measured before it.

It is that of a machine with nothing else to do, as benchmarks/plan.py sees it.
"""
SPEEDS = 101
"""Number of speeds at which the time of each sweep is taken; odd, so that the median is the measured one."""


@dataclass(frozen=True)
class Layout:
    """How trials are assigned to slots."""

    lengths: Lengths
    slots: int
    order: Order

    def sweep(self, trials: Mapping[Trial, int], **judging: Any) -> Sweep:
        """Return a simulated training of trials, each with the number of epochs that it has done."""
        return sweep(trials, self.lengths, slots=self.slots, order=self.order, **judging)


def at_all_speeds(times: Sequence[float]) -> list[float]:
    """Return times as they would be were the run faster or slower than measured, by `SPEED_SPREAD`: `SPEEDS` of each.

    The factors are evenly spaced quantiles of a log-normal distribution whose median is 1.
    """
    spread = NormalDist(sigma=SPEED_SPREAD)
    factors = [math.exp(spread.inv_cdf((number + 0.5) / SPEEDS)) for number in range(SPEEDS)]
    return [time * factor for time in times for factor in factors]


def may_train(run: RunState, pending: Mapping[Trial, int], later_rounds: Sequence[Sequence[Trial]] = ()) -> list[Trial]:
    """Return the trials that are pending, those of later rounds, and those that later stages may choose."""
    asha, confirm = run.experiment.asha, run.experiment.confirm
    searched = [progress.trial for progress in run.progress.values() if progress.stage != "confirm"]
    following = [trial for trials in later_rounds for trial in trials]
    searched += following
    later = [*pending, *following, *_rescued(run)]
    if asha and asha.rescue and run.stage == "search":
        later += searched
    if confirm and run.stage != "confirm":
        later += [confirming(trial.recipe, confirm)[0] for trial in searched]  # its seed does not matter
    return later


def simulated(
    run: RunState,
    pending: Mapping[Trial, int],
    layout: Layout,
    rungs: Rungs | None,
    *,
    later: Sequence[Sequence[Trial]] = (),
    most_trials: int = MAX_SIMULATED_TRIALS,
) -> list[Sweep]:
    """Return simulated sweeps; one where nothing is left to chance.

    Args:
        run: State of the run.
        pending: The trials to train, each with the number of epochs that it has done.
        layout: How they are assigned to slots.
        rungs: ASHA's rungs, with the accuracies on record; None lets all trials finish.
        later: Stand-ins for the trials of later rounds.
        most_trials: Largest number of simulated trials in all sweeps together, but for the first sweep.
    """
    chance = rungs or (run.experiment.confirm and run.stage != "confirm")
    draws = max(1, min(SWEEPS, most_trials // (len(run.progress) + sum(map(len, later))))) if chance else 1
    draw = np.random.default_rng(0)
    everything = [progress.trial for progress in run.progress.values()]
    everything += [trial for one in later for trial in one]
    ended = [one.result for one in run.progress.values() if one.result and one.stage != "confirm"]
    ended = sorted((one for one in ended if one.status == "finished"), key=lambda one: one.val_quality)
    finished = [run.progress[one.trial].trial for one in ended]  # how they compare is no matter of chance any more
    return [
        _all_stages(
            run,
            pending,
            layout,
            rungs,
            later,
            _in_order(dict(zip(everything, draw.random(len(everything)).tolist(), strict=True)), finished),
        )
        for _ in range(draws)
    ]


def _all_stages(
    run: RunState,
    pending: Mapping[Trial, int],
    layout: Layout,
    rungs: Rungs | None,
    later: Sequence[Sequence[Trial]],
    quality: Mapping[Trial, float],
) -> Sweep:
    """Return a sweep with what follows it: rounds of tpe, rescued trials, the best that are trained again."""
    asha, confirm = run.experiment.asha, run.experiment.confirm
    total = layout.sweep(pending, rungs=rungs, quality=quality)
    for trials in later:
        paused = total.stopped if isinstance(rungs, Promotion) else {}
        following = layout.sweep({**paused, **dict.fromkeys(trials, 0)}, rungs=total.rungs, quality=quality)
        _add(total, following)
        going_on = set(following.finished)
        total.stopped = {one: at for one, at in total.stopped.items() if one not in going_on} | following.stopped
        total.rungs = following.rungs
    before = {progress.trial: progress for progress in run.progress.values() if progress.stage != "confirm"}
    stopped = {trial: progress.epoch for trial, progress in before.items() if progress.status in {"stopped", "paused"}}
    finished = [trial for trial, progress in before.items() if progress.status == "finished"]
    if asha and run.stage == "search":
        ended = {*total.finished}  # one that is paused now may go on to its end
        stopped = {trial: epoch for trial, epoch in (stopped | total.stopped).items() if trial not in ended}
        left = asha.rescue - sum(progress.stage == "rescue" for progress in before.values())
        rescued = best(list(stopped), quality, count=max(left, 0))
        _add(total, layout.sweep(_rescued(run) | {trial: stopped[trial] for trial in rescued}))
    if confirm and run.stage != "confirm":
        chosen = _best_configurations([*finished, *total.finished], quality, count=confirm.top)
        again = (one for trial in chosen for one in confirming(trial.recipe, confirm))
        _add(total, layout.sweep({one: epoch for one in again if (epoch := _epochs_done(run, one)) is not None}))
    return total


def _rescued(run: RunState) -> dict[Trial, int]:
    """Return the trials whose rescue an earlier command has begun and not ended, each with its last epoch."""
    if run.stage != "search":
        return {}
    rescued = (one for one in run.progress.values() if one.stage == "rescue" and one.status not in FINAL)
    return {one.trial: one.epoch for one in rescued}


def _epochs_done(run: RunState, trial: Trial) -> int | None:
    """Return how many epochs of a trial are on record; None if it has ended, and is not trained again."""
    known = run.progress.get(trial.id)
    if known is None:
        return 0
    return None if known.status in FINAL else known.epoch


def _add(total: Sweep, stage: Sweep) -> None:
    total.seconds += stage.seconds
    total.busy_s += stage.busy_s
    total.finished += stage.finished


def _best_configurations(trials: Sequence[Trial], quality: Mapping[Trial, float], *, count: int) -> list[Trial]:
    """Return a trial of each of the configurations whose mean quality over the seeds is highest."""
    groups: dict[Recipe, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.recipe.replace(seed=0), []).append(trial)
    ordered = sorted(groups.values(), key=lambda group: fmean(quality[one] for one in group), reverse=True)
    return [group[0] for group in ordered[:count]]


def _in_order(quality: Mapping[Trial, float], finished: Sequence[Trial]) -> dict[Trial, float]:
    """Return qualities of which those of the finished trials, the worst first, are exchanged so that they rise."""
    return {**quality, **dict(zip(finished, sorted(quality[trial] for trial in finished), strict=True))}
