"""Our schedulers of Ray Tune: trials in the order in which they were given, alone or under ASHA's rule."""

from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raytrain.experiment.asha import Decision, Rungs
from raytrain.ray_backend.internals import sweeps


class InOrder(FIFOScheduler):
    """Starts trials in the order in which they were added.

    Ray's own FIFOScheduler looks at all trials that there have ever been, again and again; this one looks at those that
    have not ended.
    """

    def __init__(self) -> None:
        """Begin without trials."""
        super().__init__()
        self._added: dict[str, int] = {}
        self._last_ended: TuneTrial | None = None

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Take note of when a trial was added."""
        self._added[trial.trial_id] = len(self._added)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Return the trial that was added first of those that wait; one whose process has died waits again."""
        waiting = [trial for trial in tune_controller.get_live_trials() if trial.status == TuneTrial.PENDING]
        return min(waiting, key=lambda trial: self._added[trial.trial_id], default=None)

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        """Have Tune let go of the trial that ended before this one, with which it is not done yet."""
        # one whose end met an error in Tune is started again, and ends twice
        if self._last_ended and self._last_ended is not trial and self._last_ended.is_finished():
            sweeps.forget(tune_controller, self._last_ended)
        self._last_ended = trial


class AshaScheduler(InOrder):
    """Stops trials by `Rungs.judge`, on validation accuracy by epoch, or what else the recipes' `select` names.

    Ray's own ASHAScheduler keeps no rungs over a restart, never stops a NaN and loses the top rung of exact powers.
    Here the rungs are filled from the run's log, so that a run that was interrupted judges later trials by the earlier
    ones, too.

    Where trials pause (`Promotion`), the scheduler only records what they report. A trial's own function ends at the
    rung, after its checkpoint, and a promoted trial is another trial to Tune, which starts from there. Tune's PAUSE is
    not used: a paused trial goes on counting against `max_concurrent_trials`, so that a few of them would block the
    sweep; it saves a checkpoint of Tune's, which our trials have not; and nested workers run past the rung before it
    reaches them.
    """

    def __init__(self, rungs: Rungs) -> None:
        """Begin with what is on record.

        Args:
            rungs: Rungs with the accuracies that earlier commands recorded.
        """
        super().__init__()
        self._rungs = rungs
        self._decisions: dict[str, Decision] = {}

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Return whether a trial goes on, and keep the decision until it is fetched."""
        quality = result.get("quality")
        if quality is None:  # a trial at its end is not judged
            return TrialScheduler.CONTINUE
        decision = self._rungs.judge(id_of(trial), epoch=result["epoch"], quality=quality)
        if decision is None:
            return TrialScheduler.CONTINUE
        self._decisions[id_of(trial)] = decision
        return TrialScheduler.STOP if decision.stop else TrialScheduler.CONTINUE

    def fetch_decision(self, trial_id: str) -> Decision | None:
        """Return the decision on a trial's newest report, once; None if there was none."""
        return self._decisions.pop(trial_id, None)

    def debug_string(self) -> str:
        """Return what Tune prints about a scheduler."""
        return "ASHA by raytrain"


def id_of(trial: TuneTrial) -> str:
    """Return our id of Tune's trial."""
    return trial.config["job"]["trial_id"]
