"""What the rules of ASHA would have done to complete learning curves.

A replay shows complete curves to the rules of `experiment.asha`, in the order in which trials would have reached each
rung. One seed each is an illustration of a rule, not a law about it.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from raytrain.errors import ExperimentError
from raytrain.experiment.asha import Decision, Promotion, Rungs, rungs_between

if TYPE_CHECKING:
    from raytrain.baselines.baselines import BaselineCurve

Mode = Literal["stop", "promote"]

GRACE_PERIODS = (1, 2, 5, 10, 20, 25, 50, 100)
"""Epochs of the first rung to replay, in settings where they are below the number of epochs."""
REDUCTION_FACTORS = (2, 3, 4)
RULES: dict[Mode, type[Rungs]] = {"stop": Rungs, "promote": Promotion}
"""The rule of each mode."""
_Setting = tuple[int, int | None, float]
"""First rung, largest number of rungs, reduction factor."""


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
class CurvesOfBaseline:
    """The curves of a baseline that are replayed as the trials of one experiment, and those that are left out.

    Attributes:
        replayed: Curves of equally many epochs, with the test accuracy of each, by name.
        epochs: Number of epochs of each of them.
        of_other_length: Names of curves with the test accuracy of every epoch, but with another number of epochs.
        with_gaps: Names of curves without the test accuracy of some epochs.
    """

    replayed: Mapping[str, Curve]
    epochs: int
    of_other_length: Sequence[str]
    with_gaps: Sequence[str]


def curves_of_baseline(curves: Iterable["BaselineCurve"], *, name: str) -> CurvesOfBaseline:
    """Return which curves of a baseline can be replayed together.

    Args:
        curves: The curves of the baseline.
        name: What the baseline is called in a message.

    Raises:
        ExperimentError: None has a test accuracy, or none has that of every epoch.
    """
    tested = {curve.name: curve for curve in curves if curve.tested}
    if not tested:
        raise ExperimentError(f"no curve of {name} has a test accuracy, which a replay needs; choose another")
    whole = {
        curve: one for curve, one in tested.items() if [at for at, _ in one.tested] == [*range(1, len(one.tested) + 1)]
    }
    if not whole:
        raise ExperimentError(
            f"no curve of {name} has the test accuracy of every epoch, which a replay needs; choose another"
        )
    # an experiment's trials have equal epochs: the commonest number of epochs is the experiment
    common = Counter(len(one.tested) for one in whole.values()).most_common(1)[0][0]
    replayed = {curve: _whole_curve(one) for curve, one in whole.items() if len(one.tested) == common}
    return CurvesOfBaseline(
        replayed,
        common,
        of_other_length=[curve for curve in whole if curve not in replayed],
        with_gaps=[curve for curve in tested if curve not in whole],
    )


def _whole_curve(curve: "BaselineCurve") -> Curve:
    seconds = dict(zip(curve.epochs, curve.seconds, strict=True))
    return Curve([accuracy for _, accuracy in curve.tested], [seconds[epoch] for epoch, _ in curve.tested])


@dataclass(frozen=True)
class Replay:
    """What one setting of ASHA would have done.

    Attributes:
        mode: Whether ASHA stops trials or has them pause and promotes the best.
        grace_period: Epoch of the first rung.
        reduction_factor: ASHA's eta.
        rungs: Largest number of rungs; None for all below the last epoch.
        kept: Trials that would have run to the end, best first.
        stopped: Epoch at which each of the other trials would have been stopped, in that order, or left paused.
        regret: Accuracy reached by the best trial minus that of the best kept one, a fraction; 0 if the best was kept.
        epochs_saved: Share of all epochs that would not have been run.
        seconds_saved: Share of all training seconds that would not have been spent.
        this_run: Whether it is the setting of the run whose trials are replayed, in its mode or the other one.
    """

    mode: Mode
    grace_period: int
    reduction_factor: float
    rungs: int | None
    kept: Sequence[str]
    stopped: Mapping[str, int]
    regret: float
    epochs_saved: float
    seconds_saved: float
    this_run: bool = False


def replays(curves: Mapping[str, Curve], own: Rungs | None = None) -> list[Replay]:
    """Return what each mode with every setting of `GRACE_PERIODS` and `REDUCTION_FACTORS` would have done.

    Where these make several rungs, they are replayed with the first one alone, too. There is none for one curve.

    Args:
        curves: Complete learning curves, by trial.
        own: Rungs of the run that the trials are of, whose setting is replayed as well; None where it has none.
    """
    if len(curves) < 2:
        return []
    longest = max(len(curve.accuracies) for curve in curves.values())
    settings: set[_Setting] = {
        (grace, rungs, factor)
        for grace in GRACE_PERIODS
        for rungs in (None, 1)
        for factor in REDUCTION_FACTORS
        if grace < longest and (rungs is None or grace * factor < longest)
    }
    of_this_run = _setting_of(own, longest) if own and own.first < longest else None
    if of_this_run:
        settings.add(of_this_run)
    return [
        replace(
            replay(curves, grace_period=grace, reduction_factor=factor, rungs=rungs, mode=mode),
            this_run=(grace, rungs, factor) == of_this_run,
        )
        for mode in MODES
        for grace, rungs, factor in sorted(settings, key=lambda one: (one[0], one[1] or 0, one[2]))
    ]


def _setting_of(own: Rungs, epochs: int) -> _Setting:
    """Return the setting of a run, without a limit to its rungs where there would not be more of them."""
    every = rungs_between(own.first, epochs=epochs, reduction_factor=own.reduction_factor)
    most = own.most if own.most is not None and own.most < len(every) else None
    return own.first, most, own.reduction_factor


def replay(
    curves: Mapping[str, Curve],
    *,
    grace_period: int,
    reduction_factor: float,
    rungs: int | None = None,
    mode: Mode = "stop",
) -> Replay:
    """Return what ASHA would have done, had all trials started at once.

    Args:
        curves: Complete learning curves, by trial.
        grace_period: Epoch of the first rung, at least 1.
        reduction_factor: ASHA's eta, above 1: at each rung about one trial in eta goes on.
        rungs: Largest number of rungs; None for all below the last epoch.
        mode: Whether ASHA stops trials or has them pause and promotes the best.
    """
    longest = max(len(curve.accuracies) for curve in curves.values())
    stopped = REPLAYED[mode](curves, RULES[mode](grace_period, longest, reduction_factor, most=rungs))
    final = {name: curve.reached for name, curve in curves.items()}
    kept = sorted((name for name in curves if name not in stopped), key=lambda name: -final[name])
    epochs, seconds = _totals((curve, len(curve.accuracies)) for curve in curves.values())
    ran_epochs, ran_seconds = _totals((c, stopped.get(name, len(c.accuracies))) for name, c in curves.items())
    return Replay(
        mode,
        grace_period,
        reduction_factor,
        rungs,
        kept,
        stopped,
        regret=max(final.values()) - final[kept[0]],  # each rule lets one trial of a rung go on at least
        epochs_saved=1 - ran_epochs / epochs,
        seconds_saved=1 - ran_seconds / seconds if seconds else 0.0,
    )


def _stopped(curves: Mapping[str, Curve], rungs: Rungs) -> dict[str, int]:
    """Return the epoch at which each trial would have been stopped."""
    stopped: dict[str, int] = {}
    for _, epoch, name in sorted(_arrivals(curves)):
        if name in stopped or epoch == len(curves[name].accuracies):
            continue
        decision: Decision | None = rungs.judge(name, epoch=epoch, quality=curves[name].accuracies[epoch - 1])
        if decision and decision.stop:
            stopped[name] = epoch
    return stopped


def _paused(curves: Mapping[str, Curve], promotion: Rungs) -> dict[str, int]:
    """Return the epoch at which each trial would have been left paused."""
    assert isinstance(promotion, Promotion), "the rule of the mode"
    done = dict.fromkeys(curves, 0)
    running: list[tuple[float, int, str]] = []  # when which trial is after which epoch

    def run_on(name: str, now: float) -> None:
        seconds, before = curves[name].seconds, done[name]
        to = promotion.until(epoch=before, epochs=len(seconds))
        heapq.heappush(running, (now + seconds[to - 1] - (seconds[before - 1] if before else 0.0), to, name))

    for name in curves:
        run_on(name, 0.0)
    while running:
        now, epoch, name = heapq.heappop(running)
        done[name] = epoch
        if epoch < len(curves[name].accuracies):
            promotion.judge(name, epoch=epoch, quality=curves[name].accuracies[epoch - 1])
        while chosen := promotion.promotable() or (None if running else promotion.best_left()):
            del promotion.paused[chosen]
            run_on(chosen, now)
    return {name: done[name] for name in promotion.paused}


REPLAYED: dict[Mode, Callable[[Mapping[str, Curve], Rungs], dict[str, int]]] = {"stop": _stopped, "promote": _paused}
"""Functions that return the trials that would not have gone on, each with its last epoch, by mode."""
MODES = tuple(REPLAYED)


def _arrivals(curves: Mapping[str, Curve]) -> Iterable[tuple[float, int, str]]:
    """Yield the second, epoch and name for every epoch of every trial."""
    for name, curve in curves.items():
        for epoch, seconds in enumerate(curve.seconds, start=1):
            yield seconds, epoch, name


def _totals(curves: Iterable[tuple[Curve, int]]) -> tuple[int, float]:
    parts = [(epochs, curve.seconds[epochs - 1]) for curve, epochs in curves]
    return sum(epochs for epochs, _ in parts), sum(seconds for _, seconds in parts)
