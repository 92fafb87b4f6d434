"""The run folder as it is written, by one writer: the process that drives the run.

A line is appended for everything that happens and tables are derived from the lines, so a kill at any moment
loses nothing that was reported. `progress` is what the live table shows; other threads may read it.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.experiment.asha import Decision, Rungs
from raytrain.experiment.experiment import Experiment, Trial
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.runs.progress import Stage, TrialProgress
from raytrain.runs.results import Status, TrialResult, read_results
from raytrain.runs.resume import adopt_shorter, epochs_before, refuse_other_experiment
from raytrain.runs.tensorboard import RunScalars
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, mend, read_lines
from raytrain.training import predictions
from raytrain.training.metrics import Report

SETTLED: frozenset[Status] = frozenset({"finished", "stopped", "diverged"})
"""Trials that ended like this are not run again: the same recipe would end the same."""


class RunFolder:
    """A run folder that is open for writing.

    Attributes:
        folder: Where it is.
        experiment: What is run.
        progress: Of every trial, by id, in the order in which the experiment lists them.
        events: What was written to events.jsonl since it was opened.
        stage: Which trials are run now; `stages` goes from one to the next.
    """

    def __init__(
        self, folder: Folder, experiment: Experiment, progress: dict[str, TrialProgress], *, fresh: bool
    ) -> None:
        self.folder = folder
        self.experiment = experiment
        self.progress = progress
        self.events: list[dict[str, Any]] = []
        self.stage: Stage = "search"
        self._rescued: set[str] = set()
        self._only: set[str] | None = None
        self._fresh = fresh
        self._scalars = RunScalars()

    @classmethod
    def open(
        cls,
        folder: Folder,
        experiment: Experiment,
        trials: list[Trial],
        *,
        fresh: bool = False,
        failed_only: bool = False,
    ) -> "RunFolder":
        """Return the run folder with what an earlier run has left there; nothing is written before `begin`.

        Args:
            folder: Where.
            experiment: What is run; must be what was run there before, if anything was.
            trials: Its trials.
            fresh: Leave what is there out of account, and delete it at `begin`.
            failed_only: Only trials that failed are pending.

        Raises:
            RunFolderError: Another experiment was run there, or `fresh` would delete what is no run folder.
        """
        run = cls(folder, experiment, {trial.id: TrialProgress(trial) for trial in trials}, fresh=fresh)
        if fresh:
            if folder.names() and not folder.exists("experiment.yaml"):
                raise RunFolderError(f"{folder} is no run folder, so --fresh does not delete it; choose another --name")
            return run
        if folder.exists("experiment.yaml"):
            refuse_other_experiment(folder, experiment)
            run._take_up(run.progress.values())
            if failed_only:
                run._only = {result.trial for result in read_results(folder) if result.status == "failed"}
        return run

    def _take_up(self, trials: Iterable[TrialProgress]) -> None:
        results = {result.trial: result for result in read_results(self.folder)}
        events = list(read_lines(self.folder, "events.jsonl"))
        starts = Counter(event["trial"] for event in events if event["event"] == "started")
        stops = {event["trial"] for event in events if event["event"] == "rung" and event["stop"]}
        self._rescued = {event["trial"] for event in events if event["event"] == "rescued"}
        for progress in trials:
            trial_id = progress.trial.id
            for row in read_lines(self.trial_folder(trial_id), "metrics.jsonl"):
                progress.take(row)
            progress.attempts = starts[trial_id]
            if trial_id in self._rescued:
                progress.stage = "rescue"
            result = results.get(trial_id)
            if result and result.status in SETTLED and not (result.status == "stopped" and trial_id in self._rescued):
                progress.status, progress.result = result.status, result
            elif trial_id in stops - self._rescued:  # a kill came between ASHA's word and the trial's last line
                progress.status = "stopped"

    def add(self, trials: Mapping[Trial, int], *, stage: Stage) -> None:
        """Add trials that were chosen by the results of others, with what an earlier session has of them.

        Args:
            trials: Each with its number of trainable parameters.
            stage: In which they are run.
        """
        added = {
            trial.id: TrialProgress(trial, parameters=parameters, stage=stage) for trial, parameters in trials.items()
        }
        self._take_up(added.values())
        self.progress = {**self.progress, **added}  # a new dict: others may be reading the old one

    def rescue(self, trial_id: str) -> None:
        """Have a trial that was stopped run to its end."""
        progress = self.progress[trial_id]
        progress.stage, progress.status, progress.result = "rescue", "waiting", None

    def begin(self, parameters: Mapping[str, int]) -> None:
        """Make the folder ready to be written to: the experiment in full, and no line that a kill has cut short.

        Args:
            parameters: Trainable parameters of each pending trial, by id.
        """
        for trial_id, count in parameters.items():
            self.progress[trial_id].parameters = count
        if self._fresh:
            self.folder.remove()
        before = epochs_before(self.folder)
        if before is not None and before < self.experiment.recipe.epochs:
            adopt_shorter(self.pending(), self.folder, epochs_before=before)
        self.folder.write("experiment.yaml", dump_yaml(self.experiment.model_dump(mode="json")).encode())
        for name in ("trials.jsonl", "events.jsonl"):
            mend(self.folder, name)
        for trial_id in self.progress:
            mend(self.trial_folder(trial_id), "metrics.jsonl")

    def unwritten(self) -> list[Trial]:
        """Return the trials that ASHA has stopped and whose end a kill has kept from being written."""
        return [progress.trial for progress in self.progress.values() if self._is_unwritten(progress)]

    def settle(self, parameters: Mapping[str, int]) -> None:
        """Write the end of the unwritten trials.

        Args:
            parameters: Trainable parameters of each, by id.
        """
        for name in ("trials.jsonl", "events.jsonl"):
            mend(self.folder, name)
        for trial in self.unwritten():
            progress = self.progress[trial.id]
            progress.parameters = parameters[trial.id]
            self._end(progress, "stopped")

    def _is_unwritten(self, progress: TrialProgress) -> bool:
        return progress.status == "stopped" and progress.result is None

    def pending(self) -> list[Trial]:
        """Return the trials of this stage that are not settled, in order."""
        return [
            progress.trial
            for progress in self.progress.values()
            if progress.status not in SETTLED
            and progress.stage == self.stage
            and (self._only is None or progress.trial.id in self._only)
        ]

    def epochs_left(self, trial_id: str) -> int:
        """Return how many epochs of a trial are not on record."""
        progress = self.progress[trial_id]
        return progress.trial.recipe.epochs - progress.epoch

    def heard(self, trial_id: str, rungs: Rungs | None) -> int:
        """Return how many epochs of a trial need not be reported again.

        They are those on record, up to one that ASHA has not judged because a kill came between.
        """
        epoch = self.progress[trial_id].epoch
        due = rungs.due(trial_id, epoch=epoch) if rungs else None
        return epoch if due is None else due - 1

    def results(self) -> list[TrialResult]:
        """Return a result for every trial; one that has not ended is unfinished."""
        return [progress.result or self._result(progress, "unfinished") for progress in self.progress.values()]

    def trial_folder(self, trial_id: str) -> Folder:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial_id

    def checkpoints(self, trial_id: str) -> Folder:
        """Return the checkpoint folder of a trial: the only place that workers write to."""
        return self.trial_folder(trial_id) / "checkpoint"

    def note(self, event: str, **fields: Any) -> None:
        """Write an event with the time, for the record and for whoever watches."""
        line = {"time": _now(), "event": event, **fields}
        self.folder.append("events.jsonl", as_line(line))
        self.events.append(line)

    def started(self, trial_id: str, *, where: str = "") -> None:
        """Record that a trial was started, or started again."""
        progress = self.progress[trial_id]
        progress.status = "running"
        progress.attempts += 1
        if progress.stage == "rescue" and trial_id not in self._rescued:
            self._rescued.add(trial_id)
            self.note("rescued", trial=trial_id, stopped_at=progress.epoch)
        self.note("started", trial=trial_id, attempt=progress.attempts, after_epoch=progress.epoch, where=where)

    def reported(self, trial_id: str, report: Report) -> None:
        """Record an epoch, and the trial's end if it was the last."""
        progress = self.progress[trial_id]
        row = report.metrics.row()
        if row["epoch"] > progress.epoch or self._differs(progress, row):
            self.trial_folder(trial_id).append("metrics.jsonl", as_line(row))
            progress.take(row)
            self._tensorboard(trial_id, row, first_epoch=row["epoch"])
        if report.final:
            final = report.final
            if report.metrics.test is None:
                test = {
                    "epoch": final.epoch,
                    "test_loss": final.test.loss,
                    "test_accuracy": final.test.accuracy,
                }
                self._tensorboard(trial_id, test, first_epoch=progress.epoch + 1)
            measured = {
                "best_epoch": final.epoch,
                "train_loss": final.train.loss,
                "train_accuracy": final.train.accuracy,
            }
            measured |= {"test_loss": final.test.loss, "test_accuracy": final.test.accuracy}
            if final.predictions:
                self.trial_folder(trial_id).write(predictions.FILE, base64.b64decode(final.predictions))
            if final.val:
                measured |= {"val_loss": final.val.loss, "val_accuracy": final.val.accuracy}
            self._end(progress, "finished", device=final.device, precision=final.precision, **measured)

    def rungs(self) -> Rungs | None:
        """Return ASHA's rungs with the decisions on record, or None where no trial is stopped early."""
        asha = self.experiment.asha
        if asha is None or self.stage != "search":
            return None
        epochs = max(progress.trial.recipe.epochs for progress in self.progress.values())
        rungs = Rungs(asha.first_rung(epochs), epochs, asha.reduction_factor)
        for event in read_lines(self.folder, "events.jsonl"):
            if event["event"] == "rung" and event["rung"] in rungs.recorded:
                rungs.recorded[event["rung"]][event["trial"]] = event["accuracy"]
        return rungs

    def judged(self, trial_id: str, *, epoch: int, decision: Decision) -> None:
        """Record a decision of ASHA, and the trial's end if it is stopped."""
        self.note("rung", trial=trial_id, epoch=epoch, **asdict(decision))
        if decision.stop:
            self._end(self.progress[trial_id], "stopped")

    def diverged(self, trial_id: str, *, epoch: int) -> None:
        """Record that the loss of a trial was not finite in `epoch`."""
        self._end(self.progress[trial_id], "diverged", error=f"the loss was not finite in epoch {epoch}")

    def failed(self, trial_id: str, *, error: str, details: str = "") -> None:
        """Record that a trial failed for good; `error` is one line, `details` such as a traceback go to error.txt."""
        if details:
            self.trial_folder(trial_id).write("error.txt", details.encode())
        self._end(self.progress[trial_id], "failed", error=error)

    def close(self) -> None:
        """Close what is open."""
        self._scalars.close_all()

    def _end(self, progress: TrialProgress, status: Status, **measured: Any) -> None:
        event = {key: measured.pop(key) for key in ("device", "precision") if key in measured}
        progress.result = self._result(progress, status, **measured)
        progress.status = status
        self.folder.append("trials.jsonl", as_line(asdict(progress.result)))
        self.note(status, trial=progress.trial.id, epoch=progress.epoch, **event)
        self._scalars.close(progress.trial.id)

    def _result(self, progress: TrialProgress, status: Status, **measured: Any) -> TrialResult:
        best = progress.best
        if best:
            seen = {
                "best_epoch": best["epoch"],
                "val_loss": best["val_loss"],
                "val_accuracy": best["val_accuracy"],
            }
            measured = seen | measured
        return TrialResult(
            trial=progress.trial.id,
            status=status,
            recipe=progress.trial.recipe.model_dump(mode="json"),
            parameters=progress.parameters,
            epochs=progress.epoch,
            seconds=progress.seconds,
            attempts=progress.attempts,
            phase="confirm" if progress.stage == "confirm" else "search",
            **measured,
        )

    def _differs(self, progress: TrialProgress, row: dict[str, Any]) -> bool:
        """Return False if `row` is on record; else forget its epoch and later ones.

        They come twice when a trial goes on from a checkpoint: as it remembers them, or trained again because its
        last checkpoint is older than its last report.
        """
        folder = self.trial_folder(progress.trial.id)
        rows = list(read_lines(folder, "metrics.jsonl"))
        if row in rows:
            return False
        rows = [earlier for earlier in rows if earlier["epoch"] < row["epoch"]]
        folder.write("metrics.jsonl", b"".join(map(as_line, rows)))
        progress.epoch, progress.latest, progress.best, progress.seconds = 0, {}, {}, 0.0
        for row in rows:
            progress.take(row)
        self._scalars.close(progress.trial.id)
        return True

    def _tensorboard(self, trial_id: str, row: dict[str, Any], *, first_epoch: int) -> None:
        self._scalars.add(trial_id, row, folder=self.trial_folder(trial_id) / "tb", first_epoch=first_epoch)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
