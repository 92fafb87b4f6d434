"""How long a run still takes: simulated as `raytrain plan` does it, from what its epochs have taken so far."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from raytrain.execution.forecast.sweeps import Layout, may_train, simulated
from raytrain.execution.stages.stages import stand_ins
from raytrain.experiment.duration.costs import Costs, Kind, epoch_flops, kind_of
from raytrain.experiment.duration.order import Order
from raytrain.experiment.duration.simulation import Lengths
from raytrain.experiment.trial import Trial
from raytrain.runs.progress import Setting
from raytrain.runs.state import RunState
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)

RENEWED_EVERY_S = 5.0
"""Least seconds between two simulations; in between, the clock is subtracted."""
SHARE = 0.01
"""Share of the time that simulations may take, because trials train beside them."""
SIMULATED_TRIALS = 1000
"""Trials to simulate in all sweeps of a forecast together: some hundredths of a second."""

_SIGN: dict[Order, int] = {"longest": -1, "listed": 0, "shortest": 1}
"""Factors of the time that a trial has left by which those that wait are sorted, in each order."""


@dataclass(frozen=True)
class _Begun(Lengths):
    """How long trials take of which some are within an epoch.

    Attributes:
        within: Number of finished epochs of each running trial, and the finished share of the next one, in [0, 1].
    """

    within: Mapping[Trial, tuple[int, float]]

    def seconds(self, trial: Trial, *, after: int, to: int) -> float:
        """Return the seconds that a trial takes from where it is, or from the end of epoch `after`, on."""
        epoch, share = self.within.get(trial, (-1, 0.0))
        done = share * self.epoch_s[kind_of(trial.recipe)] if epoch == after else 0.0
        return super().seconds(trial, after=after, to=to) - done


class Forecast:
    """When a run will end, and its running trials."""

    def __init__(self, state: RunState, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to watch a run.

        Args:
            state: State of the run, which another thread changes.
            clock: Function that returns a time in seconds.
        """
        self._state = state
        self._clock = clock
        self._started = clock()
        self._renewed = -float("inf")
        self._every = RENEWED_EVERY_S
        self._ends: float | None = None

    def seconds_left(self) -> float | None:
        """Return the seconds until the run ends, 0 or more; None as long as there is nothing to judge by.

        Before the first epoch has ended, they are those of `raytrain plan`, if it was asked.
        """
        now = self._clock()
        if now - self._renewed >= self._every:
            try:
                left = self._simulated()
            except Exception:
                log.debug("the time left cannot be told", exc_info=True)
                left = None
            self._ends = None if left is None else now + left
            self._renewed = self._clock()
            self._every = max(RENEWED_EVERY_S, (self._renewed - now) / SHARE)
        return None if self._ends is None else max(0.0, self._ends - now)

    def _simulated(self) -> float | None:
        state, setting = self._state, self._state.setting
        if setting is None:
            return None
        later = stand_ins(state)
        left = [one for one in (state.progress[trial.id] for trial in state.pending()) if one.status != "failed"]
        trained = may_train(state, {one.trial: 0 for one in left}, later)
        recipes = {kind_of(trial.recipe): trial.recipe for trial in trained}
        costs = known_costs(state, setting, recipes)
        if costs is None:
            planned = setting.planned
            return max(0.0, planned.median - (self._clock() - self._started)) if planned else None
        epoch_s = {kind: costs.epoch_seconds(kind) for kind in recipes}
        running = {one.trial: (one.epoch, one.within_epoch) for one in left if one.status == "running"}

        def rank(one: Trial) -> tuple[bool, float]:
            rest = (one.recipe.epochs - state.progress[one.id].epoch) * epoch_s[kind_of(one.recipe)]
            return one not in running, _SIGN[setting.order] * rest

        pending = {trial: state.progress[trial.id].epoch for trial in sorted((one.trial for one in left), key=rank)}
        lengths = _Begun(epoch_s, dict.fromkeys(epoch_s, 0.0), running)
        layout = Layout(lengths, setting.slots, "listed")
        sweeps = simulated(state, pending, layout, state.rungs(), later=later, most_trials=SIMULATED_TRIALS)
        return median(one.seconds for one in sweeps)


def known_costs(state: RunState, setting: Setting, recipes: Mapping[Kind, Recipe]) -> Costs | None:
    """Return what epochs cost, by those that have ended; None while none has, or where images are not known.

    Args:
        state: State of the run.
        setting: Where its trials are trained.
        recipes: A recipe of each kind that is asked for.
    """
    measured = [progress for progress in state.progress.values() if progress.epoch and progress.seconds]
    recipes = {kind_of(progress.trial.recipe): progress.trial.recipe for progress in measured} | dict(recipes)
    if not measured or not all(recipe.data_key in setting.images for recipe in recipes.values()):
        return None
    images, classes = setting.images, setting.classes
    costs = Costs(
        {
            kind: epoch_flops(recipe, images=images[recipe.data_key], classes=classes[recipe.data_key])
            for kind, recipe in recipes.items()
        }
    )
    for progress in measured:
        costs.took(kind_of(progress.trial.recipe), progress.seconds, epochs=progress.epoch)
    return costs
