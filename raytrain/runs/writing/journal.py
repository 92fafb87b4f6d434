"""The run folder as it is written, by one writer: the process that drives the run.

A line is appended for everything that happens and tables are derived from the lines, so a kill at any moment loses
nothing that was reported. What the lines amount to is in `state`, which other threads may read.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.experiment.asha import Decision
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import stored_text
from raytrain.experiment.trial import Trial
from raytrain.experiment.user_code import texts_of_code
from raytrain.metrics.epoch import FinalMetrics, Report
from raytrain.metrics.predictions import FILE as PREDICTIONS
from raytrain.runs.events import Event, Stage, Status
from raytrain.runs.folder import EXPERIMENT, read_state, refuse_links, refuse_remains
from raytrain.runs.progress import TrialProgress
from raytrain.runs.removal import empty_run, refuse_foreign
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import METRICS, checkpoint_folder, read_epochs, trial_folder
from raytrain.runs.user_code import CODE, write_code
from raytrain.runs.writing.epoch_rows import drop_from, keep_sound
from raytrain.runs.writing.logs import open_logs
from raytrain.runs.writing.mistake_sheet import TAG as MISTAKES
from raytrain.runs.writing.mistake_sheet import NamedImagesByKey, sheet_of
from raytrain.runs.writing.resume import adopt_earlier, epochs_before, refuse_more_epochs, refuse_other_experiment
from raytrain.runs.writing.rung_event import rung_event
from raytrain.runs.writing.tensorboard import RunScalars
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line
from raytrain.training.outcome import Outcome


class RunJournal:
    """A run folder that is open for writing.

    Attributes:
        folder: The run folder.
        state: State of the run.
        tests: Test images, for pictures of what a trial gets wrong; empty for none.
    """

    tests: NamedImagesByKey = MappingProxyType({})

    def __init__(self, folder: Folder, state: RunState, *, fresh: bool = False) -> None:
        """Write about a run whose state is known; `open` reads the state first.

        Args:
            folder: The run folder.
            state: State of the run so far.
            fresh: Whether `begin` deletes the contents of the folder.
        """
        self.folder = folder
        self.state = state
        self._fresh = fresh
        self._open = False
        self._unwritten: list[bytes] = []
        self._scalars = RunScalars()
        self._noting = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return what Tune pickles of it with its own search state, which nobody reads: no lock, and no images."""
        return {name: value for name, value in vars(self).items() if name not in {"_noting", "tests"}}

    @classmethod
    def open(
        cls,
        folder: Folder,
        experiment: Experiment,
        trials: list[Trial],
        *,
        fresh: bool = False,
        failed_only: bool = False,
    ) -> "RunJournal":
        """Return the journal of a run, with what earlier commands left there; nothing is written before `begin`.

        Args:
            folder: The run folder.
            experiment: Experiment to run; the same as in the folder, or the same with more seeds or epochs.
            trials: Trials of the experiment.
            fresh: Whether to ignore an earlier run in the folder, and to delete it at `begin`.
            failed_only: Whether only trials that failed are pending.

        Raises:
            RunFolderError: Another experiment was run there, nothing says which one was, a link leads out of it,
                `fresh` would delete what no run has written, or no run is there of which failed trials are asked for.
        """
        # the code is stored before the experiment: a kill between the two leaves it alone
        if fresh and folder.names() != [CODE]:
            if folder.exists(EXPERIMENT):
                refuse_foreign(folder, instead=", or give this run another name (--name, or `name` in its file)")
            elif folder.names():
                raise RunFolderError(
                    f"{folder} is not a run folder, so --fresh does not delete it; choose another --name"
                )
            return cls(folder, RunState(experiment, trials), fresh=True)
        refuse_links(folder)
        if not folder.exists(EXPERIMENT):
            refuse_remains(folder)
            if failed_only:
                raise RunFolderError(f"there is no run in {folder} whose failed trials could be run; run all trials")
            return cls(folder, RunState(experiment, trials))
        refuse_other_experiment(folder, experiment)
        state = read_state(folder, RunState(experiment, trials))
        if failed_only:
            refuse_more_epochs(folder, experiment)
            state.only_failed()
        return cls(folder, state)

    def begin(self, parameters: Mapping[str, int]) -> None:
        """Make the folder ready to be written to: the experiment in full, and no line that a kill has cut short.

        Args:
            parameters: Number of trainable parameters of each pending trial, by trial id.
        """
        if self._fresh:
            empty_run(self.folder)
        adopt_earlier(self.state.pending(), self.folder, self.state, before=epochs_before(self.folder))
        self.keep_experiment()
        for trial in self.state.pending():
            keep_sound(self.folder, trial.id, epochs=self.state.progress[trial.id].epoch)
        self.note({"event": "begun", "parameters": dict(parameters)})

    @property
    def differs(self) -> bool:
        """Whether the folder holds another experiment than this one, such as one with more seeds, or lacks a note."""
        return bool(self._unwritten) or self.folder.read(EXPERIMENT) != stored_text(self.state.experiment).encode()

    def keep_experiment(self) -> None:
        """Write the experiment in full, its code, and what has been noted; `begin` does so before trials run."""
        write_code(self.folder, texts_of_code(self.state.experiment))
        self.folder.write(EXPERIMENT, stored_text(self.state.experiment).encode(), durable=True)
        self.folder = self.folder.requiring(EXPERIMENT)
        self._open_logs()

    def end_unwritten(self, parameters: Mapping[str, int]) -> None:
        """Write the end of the trials that ASHA has stopped, where a kill came between its decision and their end.

        Args:
            parameters: Number of trainable parameters of each of them, by trial id.
        """
        self._open_logs()
        for trial in self.state.unwritten():
            self.state.progress[trial.id].parameters = parameters[trial.id]
            self._end(trial.id, "stopped")

    def note(self, event: Event) -> None:
        """Write an event with the time, and let it have its effect on the state.

        What is noted before `begin` is written then: a run that is only planned, or refused, leaves no trace. Several
        threads may call it; the watchdog has one of its own.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        with self._noting:
            if self._open:
                self.folder.append("events.jsonl", as_line(line))
            else:
                self._unwritten.append(as_line(line))
            self.state.apply(line)  # pyright: ignore[reportArgumentType] (an Event and its time)

    def add(self, trials: Mapping[Trial, int], *, stage: Stage) -> None:
        """Add trials that were chosen by the results of others; those of the stage that are not among them go.

        Args:
            trials: Number of trainable parameters of each trial to add.
            stage: Stage in which the trials are run.
        """
        wanted = {trial.id for trial in trials}
        begun = [one for one in self.state.progress.values() if one.stage == stage and one.result is None]
        self.withdraw(one for one in begun if one.trial.id not in wanted)
        new: list[Trial] = []
        for trial, parameters in trials.items():
            if trial.id not in self.state.progress:
                new.append(trial)
                recipe = trial.recipe.model_dump(mode="json")
                self.note(
                    {"event": "added", "trial": trial.id, "stage": stage, "recipe": recipe, "parameters": parameters}
                )
                added = self.state.progress.get(trial.id)
                if self._open and added and added.result is None:  # it may have been withdrawn with epochs on record
                    keep_sound(self.folder, trial.id, epochs=added.epoch)
        if self._open:  # else `begin` does so
            adopt_earlier(new, self.folder, self.state)

    def withdraw(self, trials: Iterable[TrialProgress]) -> None:
        """Have trials leave the run that were added to it; their folders stay.

        Args:
            trials: Where each of them is.
        """
        for one in trials:
            self.note({"event": "withdrawn", "trial": one.trial.id})

    def checkpoints(self, trial_id: str) -> Folder:
        """Return the checkpoint folder of a trial: the only place that workers write to."""
        return checkpoint_folder(self.folder, trial_id)

    def started(
        self, trial_id: str, *, where: str = "", threads: int | None = None, workers: int | None = None
    ) -> None:
        """Record that a trial was started, or started again.

        Args:
            trial_id: The trial.
            where: Its host and device; "" if not known yet.
            threads: Number of CPU threads of each of its processes; None on a GPU.
            workers: Number of its processes; None if not known yet.
        """
        progress = self.state.progress[trial_id]
        epoch = progress.epoch
        if progress.stage == "rescue" and not self.state.is_rescued(trial_id):
            self.note({"event": "rescued", "trial": trial_id, "stopped_at": epoch})
        elif progress.status == "paused":
            self.note({"event": "promoted", "trial": trial_id, "paused_at": epoch})
        if progress.epoch and not progress.latest.get("epoch"):  # known from its result alone
            progress.replace_epochs(read_epochs(self.folder, trial_id))
        attempt = progress.attempts + (not self.state.is_promoted(trial_id))
        known = {name: number for name, number in (("threads", threads), ("workers", workers)) if number}
        line = {"event": "started", "trial": trial_id, "attempt": attempt, "after_epoch": epoch, "where": where}
        self.note({**line, **known})  # pyright: ignore[reportArgumentType] (a Started)

    def reported(self, trial_id: str, report: Report) -> None:
        """Record an epoch, and the trial's end if it was the last."""
        progress = self.state.progress[trial_id]
        row = report.metrics.row()
        if row["epoch"] > progress.epoch or self._differs(trial_id, row):
            trial_folder(self.folder, trial_id).append(METRICS, as_line(row))
            progress.add_epoch(row)
            self._scalars.add(trial_id, row, run=self.folder, first_epoch=row["epoch"])
        if report.final:
            self._finished(trial_id, report.final, test_tracked=report.metrics.test is not None)

    def judged(self, trial_id: str, *, epoch: int, decision: Decision) -> None:
        """Record a decision of ASHA, and the trial's end if it is stopped."""
        if decision.pause:
            self._scalars.close(trial_id)
        self.note(rung_event(self.state.progress[trial_id].trial, epoch=epoch, decision=decision))
        if decision.stop:
            self._end(trial_id, "stopped")

    def ended(self, trial_id: str, outcome: Outcome) -> None:
        """Record that a trial diverged or failed for good."""
        if outcome["details"]:
            trial_folder(self.folder, trial_id).write("error.txt", outcome["details"].encode())
        self._end(trial_id, outcome["status"], error=outcome["error"])

    def close(self) -> None:
        """Close what is open."""
        self._scalars.close_all()

    def _finished(self, trial_id: str, final: FinalMetrics, *, test_tracked: bool) -> None:
        folder = trial_folder(self.folder, trial_id)
        test = {"test_loss": final.test.loss, "test_accuracy": final.test.accuracy}
        first = self.state.progress[trial_id].epoch + 1
        if not test_tracked:
            self._scalars.add(trial_id, {"epoch": final.epoch, **test}, run=self.folder, first_epoch=first)
        if final.predictions:
            folder.write(PREDICTIONS, final.predictions, durable=True)
            tests = self.tests.get(self.state.progress[trial_id].trial.recipe.data_key)
            if (sheet := sheet_of(final.predictions, tests)) is not None:
                run = self.folder
                self._scalars.add_picture(trial_id, MISTAKES, sheet, epoch=final.epoch, run=run, first_epoch=first)
        self._end(trial_id, "finished", ran_on=final.ran_on(), **final.measured())

    def _end(
        self, trial_id: str, status: Status, *, ran_on: Mapping[str, str | int] | None = None, **measured: object
    ) -> None:
        progress = self.state.progress[trial_id]
        result = progress.result_so_far(status, **measured)
        self.folder.append("trials.jsonl", as_line(asdict(result)), durable=True)
        self.state.end(result)
        line: dict[str, object] = {"event": status, "trial": trial_id, "epoch": progress.epoch, **(ran_on or {})}
        self.note(line)  # pyright: ignore[reportArgumentType] (an Ended)
        if progress.epoch:
            self._scalars.end(result, self.state.progress, run=self.folder)

    def _differs(self, trial_id: str, row: dict[str, object]) -> bool:
        """Return False if `row` is on record; else forget its epoch and later ones."""
        rows = drop_from(self.folder, trial_id, row)
        if rows is None:
            return False
        self.state.progress[trial_id].replace_epochs(rows)
        self._scalars.close(trial_id)
        return True

    def _open_logs(self) -> None:
        if self._open:
            return
        open_logs(self.folder, self.state, self._unwritten)
        self._open = True
