"""The state of a run: a fold of its events, without any input or output."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Asha
from raytrain.experiment.trial import Trial
from raytrain.runs.events import AshaChosen, Event, Judged, Stage, Status
from raytrain.runs.progress import Setting, TrialProgress
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def _configuration(recipe: Recipe) -> str:
    """Return what trials have in common that differ in the seed, or in whether validation images are trained on."""
    return recipe.model_copy(update={"seed": 0, "val_size": 0}).digest


FINAL: frozenset[Status] = frozenset({"finished", "stopped", "diverged"})
"""Statuses after which a trial is not run again, because the same recipe would end in the same way."""
_UNWRITTEN: dict[str, Status] = {"stopped": "stopped", "paused": "paused"}
"""Statuses that follow from ASHA's decisions, before or without a line of trials.jsonl."""


class RunState:
    """The state of a run.

    Other threads may read it while `apply` changes it.

    Attributes:
        experiment: Experiment of the run.
        progress: Progress of every trial, by trial id, in the experiment's order.
        events: All events so far, in order.
        late: Results whose event of the end a kill has kept from being written.
        stage: Current stage; `execution.stages` moves from one to the next.
        proposed: Combinations that tpe has proposed and that the experiment has, as values by axis.
        unlisted: Ids of trials that were started and that the experiment does not list any more.
        setting: Where trials are trained now; None while none are.
        asha_chosen: How ASHA was set by `lose_at_most`; None where it was not, or not yet.
    """

    def __init__(self, experiment: Experiment, trials: Iterable[Trial] | None = None) -> None:
        """Begin with trials of which nothing has happened.

        Args:
            experiment: Experiment of the run.
            trials: Trials of the experiment; None to list them here.
        """
        listed = experiment.trials() if trials is None else trials
        self.experiment = experiment
        self.progress = {trial.id: TrialProgress(trial) for trial in listed}
        self.events: list[Event] = []
        self.late: list[TrialResult] = []
        self.stage: Stage = "search"
        self.proposed: list[dict[str, Any]] = []
        self.unlisted: set[str] = set()
        self.setting: Setting | None = None
        self.asha_chosen: AshaChosen | None = None
        self._judged: list[Judged] = []
        self._rescued: set[str] = set()
        self._promoted: set[str] = set()
        self._stopped: dict[str, TrialResult] = {}
        self._withdrawn: dict[str, TrialResult] = {}
        self._only_trials: frozenset[str] | None = None
        self._given_up: set[str] = set()

    def apply(self, event: Event) -> None:
        """Let an event have its effect. Events of trials that the experiment does not list any more have none."""
        self.events.append(event)
        if event["event"] == "begun":
            for trial_id, count in event["parameters"].items():
                if trial_id in self.progress:
                    self.progress[trial_id].parameters = count
            return
        if event["event"] == "asha chosen":
            self.asha_chosen = event
            return
        if event["event"] == "proposed":
            for values in event["values"]:
                self._list(values)
            return
        if event["event"] == "added":
            trial = Trial(event["trial"], Recipe.model_validate(event["recipe"]))
            if _configuration(trial.recipe) in self._configurations:
                self._add(trial, stage=event["stage"], parameters=event["parameters"])
                if ended := self._withdrawn.pop(trial.id, None):
                    self.end(ended)
            return
        if event["event"] == "withdrawn":
            gone = self.progress.get(event["trial"])
            if gone and gone.stage != "search":  # else the experiment lists it by now
                self.progress = {trial_id: one for trial_id, one in self.progress.items() if one is not gone}
                if gone.result:
                    self.unlisted.add(event["trial"])
                if gone.result and gone.status in FINAL:
                    self._withdrawn[event["trial"]] = gone.result
            return
        if event["event"] == "rung":
            self._judged.append(event)
        progress = self.progress.get(event.get("trial", ""))
        if progress is None:
            if event["event"] == "started":
                self.unlisted.add(event["trial"])
            return
        if event["event"] == "started":
            progress.status, progress.result = "running", None
            progress.attempts += not self.is_promoted(event["trial"])
            self._promoted.discard(event["trial"])
        elif event["event"] == "rescued":
            self._rescued.add(event["trial"])
            progress.stage, progress.status, progress.result = "rescue", "waiting", None
        elif event["event"] == "promoted":
            progress.status = "waiting"
            self._promoted.add(event["trial"])
        elif event["event"] == "rung" and event["stop"]:
            progress.status = "stopped"
        elif event["event"] == "rung" and event.get("pause"):
            progress.status = "paused"

    def end(self, result: TrialResult) -> None:
        """Take a result as how its trial ended; of one that the experiment does not list any more, it has no effect."""
        if result.trial not in self.progress and result.phase == "confirm":
            trial = Trial(result.trial, Recipe.model_validate(result.recipe))
            if _configuration(trial.recipe) in self._configurations:
                self._add(trial, stage="confirm", parameters=result.parameters)
        if progress := self.progress.get(result.trial):
            # a seed that confirmed a choice once may be listed by now
            phase = "confirm" if progress.stage == "confirm" else "search"
            progress.end(result if result.phase == phase else replace(result, phase=phase))

    @cached_property
    def _configurations(self) -> frozenset[str]:
        """The configurations of the trials that the experiment lists, in any seed."""
        return frozenset(
            _configuration(one.trial.recipe) for one in self.progress.values() if one.stage in {"search", "rescue"}
        )

    def suspend(self) -> None:
        """Have the trials that were running wait: the command that ran them is gone.

        A stopped or paused trial that was to run on to its end, and has not started, is what it was before: nothing on
        record says otherwise.
        """
        for progress in self.progress.values():
            if progress.status == "running":
                progress.status = "waiting"
            elif progress.stage == "rescue" and not self.is_rescued(progress.trial.id):
                progress.stage, progress.status = "search", "paused"
                if stopped := self._stopped.get(progress.trial.id):
                    progress.end(stopped)

    def only_failed(self) -> None:
        """Leave all trials but those that failed out of `pending`."""
        self._only_trials = frozenset(one.trial.id for one in self.progress.values() if one.status == "failed")

    def give_up_failed(self) -> None:
        """Leave the trials that have failed by now out of `pending`; the next command tries them again."""
        self._given_up |= {one.trial.id for one in self.progress.values() if one.status == "failed"}

    def run_on(self, trial_id: str) -> None:
        """Have a trial that was stopped early, or is paused, wait to run to its end."""
        progress = self.progress[trial_id]
        if progress.result:
            self._stopped[trial_id] = progress.result
        progress.stage, progress.status, progress.result = "rescue", "waiting", None

    def is_rescued(self, trial_id: str) -> bool:
        """Return whether it is on record that a stopped or paused trial runs on to its end."""
        return trial_id in self._rescued

    def is_promoted(self, trial_id: str) -> bool:
        """Return whether a trial was promoted and has not started since: its next start is no new attempt."""
        return trial_id in self._promoted

    def pending(self) -> list[Trial]:
        """Return the trials of this stage that have no final result, in order.

        Paused ones are among them as long as one of them may go on, or another trial may change that.
        """
        left = [
            progress
            for progress in self.progress.values()
            if progress.status not in FINAL
            and progress.stage == self.stage
            and progress.trial.id not in self._given_up
            and (self._only_trials is None or progress.trial.id in self._only_trials)
        ]
        if all(progress.status == "paused" for progress in left) and self._nobody_goes_on():
            return []
        return [progress.trial for progress in left]

    def pending_epochs(self) -> dict[str, int]:
        """Return the number of epochs on record of each pending trial, by its id."""
        return {trial.id: self.progress[trial.id].epoch for trial in self.pending()}

    def _nobody_goes_on(self) -> bool:
        rungs = self.rungs()
        if not isinstance(rungs, Promotion) or any(
            progress.status == "paused" and trial_id not in rungs.paused for trial_id, progress in self.progress.items()
        ):
            return False
        return rungs.promotable() is None and rungs.best_left() is None

    def unwritten(self) -> list[Trial]:
        """Return the trials that ASHA has stopped and whose end a kill has kept from being written."""
        return [one.trial for one in self.progress.values() if one.status == "stopped" and one.result is None]

    def has_trained(self) -> bool:
        """Return whether a trial has started in an earlier command, also one that is not listed any more."""
        return bool(self.unlisted) or any(one.attempts or one.result for one in self.progress.values())

    def last_time(self) -> str:
        """Return the time of the last event, as it is on record; "" before the first."""
        return str(self.events[-1].get("time", "")) if self.events else ""

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of the predictions of each trial, where the end of the trial has it."""
        return {event["trial"]: event["predictions"] for event in self.events if "predictions" in event}

    def epochs_known(self, trial_id: str, rungs: Rungs | None) -> int:
        """Return how many epochs of a trial need not be reported again.

        They are those on record, up to one that ASHA has not judged because a kill came between.
        """
        epoch = self.progress[trial_id].epoch
        due = rungs.due(trial_id, epoch=epoch) if rungs else None
        return epoch if due is None else due - 1

    def is_lost(self, trial_id: str) -> bool:
        """Return whether a trial diverged or failed, or is not listed any more."""
        progress = self.progress.get(trial_id)
        return progress is None or progress.status in {"diverged", "failed"}

    def runs_to(self, trial_id: str, rungs: Rungs | None) -> int:
        """Return the epoch after which a trial that starts now ends or pauses."""
        epochs = self.progress[trial_id].trial.recipe.epochs
        if not isinstance(rungs, Promotion):
            return epochs
        return rungs.until(epoch=self.epochs_known(trial_id, rungs), epochs=epochs)

    @property
    def asha(self) -> Asha | None:
        """ASHA as this run has it, with what was chosen by `lose_at_most`; None where no trial is stopped early."""
        asha, chosen = self.experiment.asha, self.asha_chosen
        if asha is None or chosen is None:
            return asha
        setting: dict[str, Any] = {key: chosen[key] for key in ("mode", "grace_period", "reduction_factor")}
        return asha.model_copy(update=setting | {"rungs": chosen.get("rungs")})

    def rungs(self) -> Rungs | None:
        """Return ASHA's rungs with the decisions so far, or None where no trial is stopped early."""
        asha = self.asha
        if asha is None or self.stage != "search":
            return None
        lengths = {progress.trial.recipe.epochs for progress in self.progress.values()}
        epochs, comparable = max(lengths), {None, *lengths}
        rule = Promotion if asha.mode == "promote" else Rungs
        rungs = rule(asha.first_rung(epochs), epochs, asha.reduction_factor, most=asha.rungs)
        # a removed trial counts, but not one of another number of epochs, whose course was another one
        kept = (one for one in self._judged if one["trial"] in self.progress or one.get("epochs") in comparable)
        judged = [event for event in kept if event["rung"] in rungs.recorded]
        for event in judged:
            rungs.recorded[event["rung"]][event["trial"]] = event["accuracy"]
        if isinstance(rungs, Promotion):
            status = {trial_id: progress.status for trial_id, progress in self.progress.items()}
            rungs.paused = {event["trial"]: event["rung"] for event in judged if status.get(event["trial"]) == "paused"}
            rungs.lost = {event["trial"] for event in judged if self.is_lost(event["trial"])}
        return rungs

    def results(self) -> list[TrialResult]:
        """Return a result for every trial; one that has not ended is unfinished."""
        return [
            progress.result or progress.result_so_far(_UNWRITTEN.get(progress.status, "unfinished"))
            for progress in self.progress.values()
        ]

    def _list(self, proposed: dict[str, Any]) -> None:
        """Count the trials of a proposed combination, if it has any, among those that the experiment lists."""
        trials = self.experiment.proposed(proposed)
        if not trials or len(self.proposed) == self.experiment.samples_proposed:  # there were to be more of them once
            return
        self.proposed.append(proposed)
        self._configurations |= {_configuration(trial.recipe) for trial in trials}
        for trial in trials:
            self._add(trial, stage="search", parameters=0)

    def _add(self, trial: Trial, *, stage: Stage, parameters: int) -> None:
        if trial.id not in self.progress:
            added = TrialProgress(trial, parameters=parameters, stage=stage)
            self.progress = {**self.progress, trial.id: added}  # a new dict: others may be reading the old one
            self.unlisted.discard(trial.id)  # it was listed before, and comes back
