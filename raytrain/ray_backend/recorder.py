"""What Ray Tune reports, told to the run folder in this process."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raytrain.errors import StorageError
from raytrain.experiment.order import Costs, kind_of
from raytrain.ray_backend.asha import RecordedASHA
from raytrain.ray_backend.watchdog import Silence
from raytrain.runs.folder import RunFolder
from raytrain.training.metrics import Report
from raytrain.training.outcome import described_death


class Stop(tune.Stopper):
    """Stops all trials when asked. Tune pickles it with its own state, so it holds nothing else.

    Attributes:
        asked: Whether it was.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether all trials are to be stopped."""
        return self.asked


class Recorder(tune.Callback):
    """Tells the run folder what happens.

    Attributes:
        problem: Why nothing can be recorded any longer, or None; whatever happens after it is not told.
        stop: Stops all trials once there is a problem.
    """

    def __init__(
        self, run: RunFolder, scheduler: RecordedASHA | None, costs: Costs, silence: Silence, *, workers: int
    ) -> None:
        self.problem: StorageError | None = None
        self.stop = Stop()
        self._run = run
        self._scheduler = scheduler
        self._costs = costs
        self._silence = silence
        self._asked = workers
        self._workers: dict[str, int] = {}
        self._hosts: dict[str, list[str]] = {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial starts, for the first time or again."""
        self._hosts[id_of(trial)] = [platform.node()]
        self._workers[id_of(trial)] = self._asked
        self._tell(lambda: self._run.started(id_of(trial)))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record what a trial's process has reported."""
        self._tell(lambda: self._take(id_of(trial), result))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial's process has died and that it will be started again."""
        trial_id = id_of(trial)
        self._silence.forget(trial_id)
        self._tell(lambda: self._run.note("worker lost", trial=trial_id, why=self._why(trial)))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial's process has died once too often."""
        why = f"{self._why(trial)}; it was started {self._run.progress[id_of(trial)].attempts} times"
        self._tell(lambda: self._run.failed(id_of(trial), error=why, details=_said(trial)))

    def _take(self, trial_id: str, result: dict[str, Any]) -> None:
        decision = self._scheduler.take_decision(trial_id) if self._scheduler else None
        if result.get("hosts", self._hosts[trial_id]) != self._hosts[trial_id]:
            self._hosts[trial_id] = result["hosts"]
            self._run.note("elsewhere", trial=trial_id, hosts=result["hosts"])
        if result.get("workers", self._workers[trial_id]) != self._workers[trial_id]:
            self._workers[trial_id] = result["workers"]
            self._run.note("resized", trial=trial_id, workers=result["workers"])
        if "report" in result:
            report = Report.from_dict(result["report"])
            self._run.reported(trial_id, report)
            self._costs.took(kind_of(self._run.progress[trial_id].trial.recipe), report.metrics.seconds)
            if decision:
                self._run.judged(trial_id, epoch=result["epoch"], decision=decision)
        elif "diverged" in result:
            self._run.diverged(trial_id, epoch=result["diverged"])
        elif "storage" in result:
            raise StorageError(result["storage"])
        elif "failed" in result:
            self._run.failed(trial_id, error=result["failed"], details=result["details"])

    def _tell(self, tell: Callable[[], None]) -> None:
        if self.problem:
            return
        try:
            tell()
        except StorageError as error:
            self.problem = error
            self.stop.asked = True

    def _why(self, trial: TuneTrial) -> str:
        return self._silence.why(id_of(trial)) or described_death(_said(trial))


def id_of(trial: TuneTrial) -> str:
    """Return our id of Tune's trial."""
    return trial.config["job"]["trial_id"]


def _said(trial: TuneTrial) -> str:
    """Return what Ray says of the deaths of a trial's process: Tune writes it down beside its own record."""
    path = Path(trial.error_file or "")
    return path.read_text(errors="replace") if path.is_file() else ""
