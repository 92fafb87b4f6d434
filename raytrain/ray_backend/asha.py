"""Ray Tune's ASHA, with every decision kept for the record and with decisions on record fed to it."""

from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from raytrain.experiment.asha import Decision, Rungs


class RecordedASHA(ASHAScheduler):
    """ASHA on validation accuracy by epoch.

    Ray keeps no rungs over a restart: here they are filled from the run's log, so that a run that was
    interrupted judges later trials by the earlier ones too.

    Attributes:
        decisions: By trial id, until `take_decision` fetches them.
    """

    def __init__(self, rungs: Rungs) -> None:
        super().__init__(
            time_attr="epoch",  # `training_iteration` starts again at 1 when a trial is restarted
            metric="val_accuracy",
            mode="max",
            max_t=rungs.epochs,
            grace_period=rungs.first,
            reduction_factor=rungs.reduction_factor,
        )
        self._decisions: dict[str, Decision] = {}
        for milestone, recorded in self._rungs():
            recorded.update(rungs.recorded.get(float(milestone), {}))

    def take_decision(self, trial_id: str) -> Decision | None:
        """Return the decision on a trial's newest report, once; None if there was none."""
        return self._decisions.pop(trial_id, None)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Know a trial that was judged before by the id that Ray gives it now."""
        super().on_trial_add(tune_controller, trial)
        for _, recorded in self._rungs():
            if (accuracy := recorded.pop(_id(trial), None)) is not None:
                recorded[trial.trial_id] = accuracy

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Let Ray decide, and keep at which rung and by which cut it did."""
        judged_at = self._due(trial, result)
        action = super().on_trial_result(tune_controller, trial, result)
        if judged_at is not None:
            rung, cut = judged_at
            stop = action == TrialScheduler.STOP
            self._decisions[_id(trial)] = Decision(rung, result["val_accuracy"], cut, stop)
        return action

    def _due(self, trial: TuneTrial, result: dict[str, Any]) -> tuple[float, float | None] | None:
        """Return the rung that Ray is about to judge a trial at, and the cut there."""
        if "val_accuracy" not in result or result["epoch"] >= self._max_t:
            return None
        for milestone, recorded in self._rungs():
            if result["epoch"] >= milestone and trial.trial_id not in recorded:
                cut: Any = self._brackets[0].cutoff(recorded)
                return float(milestone), None if cut is None else float(cut)
        return None

    def _rungs(self) -> list[tuple[float, dict[str, float]]]:
        return self._brackets[0]._rungs  # pyright: ignore[reportPrivateUsage] (highest first)


def _id(trial: TuneTrial) -> str:
    return trial.config["job"]["trial_id"]
