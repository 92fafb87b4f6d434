"""What Ray Tune reports, recorded in the run folder by this process."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.progress_reporter import TrialProgressCallback

from raytrain.background import raise_swallowed
from raytrain.errors import StorageError, counted
from raytrain.experiment.duration.costs import Costs, kind_of
from raytrain.metrics.epoch import Report
from raytrain.ray_backend.asha import AshaScheduler, id_of
from raytrain.ray_backend.trial import EpochMessage, Message
from raytrain.ray_backend.watchdog import Watchdog
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.outcome import described_death

NEEDED_BY_TUNE = frozenset({"trial_id", "training_iteration", "done", "pid", "node_ip"})
"""What of a report Tune reads again once it has been recorded."""


class Stop(tune.Stopper):
    """Stops all trials when asked. Tune pickles it with its own state, so it holds nothing else.

    Attributes:
        asked: Whether all trials are to be stopped.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial."""
        return False

    def stop_all(self) -> bool:
        """Return whether all trials are to be stopped."""
        return self.asked


class SilentReporter(tune.ProgressReporter):
    """Reports nothing: raytrain shows one table, and Tune's own clears the output of a notebook's cell."""

    def should_report(self, trials: list[TuneTrial], done: bool = False) -> bool:  # noqa: FBT001, FBT002 (Tune's)
        """Return False: there is nothing to report."""
        return False

    def report(self, trials: list[TuneTrial], done: bool, *sys_info: str) -> None:  # noqa: FBT001 (Tune's)
        """Do nothing; Tune does not call it when there is nothing to report."""


class SilentProgress(TrialProgressCallback):
    """Prints nothing about trials, and keeps none of them.

    Tune adds a callback that does both, whatever `verbose` says, unless there is one of its kind.
    """

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    on_trial_error = on_trial_complete = on_trial_result


class Recorder(tune.Callback):
    """Records what happens.

    Attributes:
        problem: Error after which nothing more can be recorded; None before it.
        stop: Stopper that ends all trials once there is a problem.
    """

    def __init__(
        self,
        journal: RunJournal,
        scheduler: AshaScheduler | None,
        costs: Costs,
        watchdog: Watchdog,
        *,
        workers: int,
        threads: int | None = None,
    ) -> None:
        self.problem: StorageError | None = None
        self.stop = Stop()
        self._journal = journal
        self._scheduler = scheduler
        self._costs = costs
        self._watchdog = watchdog
        self._requested_workers = workers
        self._threads = threads
        self._workers: dict[str, int] = {}
        self._hosts: dict[str, list[str]] = {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Raise an interrupt that a library has swallowed: Tune calls this in the main thread, many times a second."""
        raise_swallowed()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial starts, for the first time or again."""
        self._hosts[id_of(trial)] = [platform.node()]
        self._workers[id_of(trial)] = self._requested_workers
        self._try(lambda: self._journal.started(id_of(trial), threads=self._threads, workers=self._requested_workers))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record what a trial's process has reported.

        Tune would flatten it, and keep it with statistics of each number in it: the whole recipe, and in the last one
        the predictions of all test images. It lets a callback change the result, so all that nobody reads again is
        taken out. Tune also shows the scheduler the newest result once more at the end of a trial, which must not be
        judged twice.
        """
        message: Message = result["message"]
        for name in result.keys() - NEEDED_BY_TUNE:
            del result[name]
        self._try(lambda: self._record(id_of(trial), message))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial's process has died and that it will be started again."""
        trial_id = id_of(trial)
        self._watchdog.forget(trial_id)
        self._try(lambda: self._journal.note({"event": "worker lost", "trial": trial_id, "why": self._why(trial)}))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial's process has died once too often."""
        starts = self._journal.state.progress[id_of(trial)].attempts
        why = f"{self._why(trial)}; it was started {counted(starts, 'time')}"
        self._try(
            lambda: self._journal.ended(id_of(trial), {"status": "failed", "error": why, "details": _ray_error(trial)})
        )

    def _record(self, trial_id: str, message: Message) -> None:
        decision = self._scheduler.fetch_decision(trial_id) if self._scheduler else None
        if message["kind"] == "storage":
            raise StorageError(message["error"])
        if message["kind"] == "end":
            self._journal.ended(trial_id, message["outcome"])
            return
        self._record_location(trial_id, message)
        report = Report.from_dict(message["report"])
        self._journal.reported(trial_id, report)
        self._costs.took(kind_of(self._journal.state.progress[trial_id].trial.recipe), report.metrics.seconds)
        if decision:
            self._journal.judged(trial_id, epoch=report.metrics.epoch, decision=decision)

    def _record_location(self, trial_id: str, message: EpochMessage) -> None:
        """Record where a trial trains, if that has changed."""
        if message["hosts"] != self._hosts[trial_id]:
            self._hosts[trial_id] = message["hosts"]
            self._journal.note({"event": "elsewhere", "trial": trial_id, "hosts": message["hosts"]})
        if message["workers"] != self._workers[trial_id]:
            self._workers[trial_id] = message["workers"]
            self._journal.note({"event": "resized", "trial": trial_id, "workers": message["workers"]})

    def _try(self, record: Callable[[], None]) -> None:
        if self.problem:
            return
        try:
            record()
        except StorageError as error:
            self.problem = error
            self.stop.asked = True

    def _why(self, trial: TuneTrial) -> str:
        return self._watchdog.why(id_of(trial)) or described_death(_ray_error(trial))


def _ray_error(trial: TuneTrial) -> str:
    """Return what Ray says of the deaths of a trial's process: Tune writes it down beside its own record."""
    path = Path(trial.error_file or "")
    return path.read_text(errors="replace") if path.is_file() else ""
