"""Run the trials of an experiment in this process, one after another: no Ray, and a debugger steps through."""

import logging
import platform
from collections.abc import Mapping, Sequence

import torch

from raytrain.background import raise_swallowed
from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import StorageError, counted
from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.costs import Costs
from raytrain.experiment.duration.order import Order, Queue, arranged, queue_of
from raytrain.experiment.duration.simulation import order_from_the_start
from raytrain.experiment.duration.speed import Speed, measure_speed, some_images, unmeasurable
from raytrain.experiment.sections import Resources
from raytrain.experiment.trial import Trial
from raytrain.metrics.epoch import Report
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.training.devices import allotted_threads, gpu_bytes, local_device, prepare, this_machine
from raytrain.training.evaluation import TrainingData
from raytrain.training.outcome import ends_its_trial, outcome_of
from raytrain.training.recipe import Recipe
from raytrain.training.trial import TrialRun

log = logging.getLogger(__name__)


class LocalBackend:
    """This process, as a `Backend`.

    Attributes:
        slots: Number of trials at a time, 1.
        cpus: Number of CPU cores of a trial: `cpus_per_worker` of the experiment, or all of this machine.
        gpus: 1 where trials train on an NVIDIA GPU, else 0.
        description: Placement of the trials, in words.
    """

    slots = 1

    def __init__(self, resources: Resources | None = None, *, threads: int | None = None) -> None:
        """Look at this machine.

        Args:
            resources: Resources of the experiment; None for the defaults.
            threads: Number of CPU threads of PyTorch; None for `cpus_per_worker`, and where that is auto, for PyTorch's
                choice, within what the process may use.
        """
        self._resources = resources or Resources()
        self._device = _device(self._resources)
        cpus = self._resources.cpus_per_worker
        self._threads = threads or (allotted_threads() if cpus == "auto" else cpus)
        self.cpus = int(this_machine()["CPU"]) if cpus == "auto" else cpus
        self.gpus = 1.0 if self._device.type == "cuda" else 0.0

    @property
    def description(self) -> str:
        """Placement of the trials, in words."""
        on_cpu = ", on the CPU" if self._resources.gpus_per_worker == 0 else ""
        cpus = self._resources.cpus_per_worker
        with_threads = "" if cpus == "auto" else f", with {cpus} thread{'s' if cpus > 1 else ''}"
        return f"one after another, in this process{on_cpu}{with_threads}"

    def lacking(self) -> list[str]:
        """Return a warning for each resource of the experiment that trials in this process do not have."""
        wanted, cores = self._resources, int(this_machine()["CPU"])
        warnings: list[str] = []
        if wanted.gpus_per_worker not in {"auto", 0} and self._device.type == "cpu":
            warnings.append(
                f"resources.gpus_per_worker is {wanted.gpus_per_worker:g}, and --local has no GPU here: trials train "
                "on the CPU"
            )
        if self.cpus > cores:
            warnings.append(
                f"resources.cpus_per_worker is {self.cpus}, and this machine has "
                f"{counted(cores, 'core')}: they share them"
            )
        if without := [name for name in ("accelerator_type", "custom") if getattr(wanted, name)]:
            warnings.append(
                f"resources.{', resources.'.join(without)}: without effect, because --local trains without Ray"
            )
        return warnings

    def fixed_order(self, run: RunState, splits: Mapping[DataKey, Splits]) -> Order:
        """Return the order in which the trials of a run start: under ASHA that which should end first, else as listed.

        It goes by the operations of an epoch, and by nothing that has been measured or trained: a run that was
        interrupted ends as if it had not been.
        """
        rungs = run.rungs()
        if rungs is None:
            return "listed"
        listed = [one.trial for one in run.progress.values() if one.stage in {"search", "rescue"}]
        costs = Costs.of((trial.recipe for trial in listed), splits)
        known = [trial for trial in listed if trial.recipe.data_key in splits]
        return order_from_the_start(known, costs, slots=self.slots, rungs=rungs)

    def run_trials(self, journal: RunJournal, splits: Mapping[DataKey, Splits]) -> None:
        """Train every pending trial of a run, under ASHA where the experiment has it.

        Trials run one by one, so stopping ASHA never stops the first and compares each later one with those before it.
        They start in the order of `fixed_order`.

        Args:
            journal: Journal of the run, with its pending trials.
            splits: The split images of each data set, by `Recipe.data_key`.

        Raises:
            StorageError: The run folder, or a checkpoint, cannot be written any longer.
        """
        rungs = journal.state.rungs()
        queue = _queue(journal.state, rungs, splits, self.fixed_order(journal.state, splits))
        if self._threads:
            torch.set_num_threads(self._threads)
        while trial := queue.next():
            _run_trial(journal, trial, splits[trial.recipe.data_key], rungs)
            if isinstance(rungs, Promotion):
                rungs.ended(trial.id, lost=journal.state.is_lost(trial.id))

    def measure(self, recipes: Sequence[Recipe], splits: Mapping[DataKey, Splits]) -> list[Speed]:
        """Return how fast each recipe trains in this process.

        Raises:
            PreflightError: One cannot be trained.
        """
        return [
            _measured(recipe, splits[recipe.data_key], device=self._device, threads=self._threads) for recipe in recipes
        ]

    def why_lost(self) -> str | None:
        """Return None: this process is there."""
        return None

    def abandon(self) -> None:
        """Do nothing: nothing was started."""


def _queue(state: RunState, rungs: Rungs | None, splits: Mapping[DataKey, Splits], order: Order) -> Queue:
    if state.setting:
        state.setting.order = order
    pending = {trial: state.progress[trial.id].epoch for trial in arranged(state.pending(), order, splits)}
    return queue_of(pending, Costs({}), "listed", rungs)


def _device(resources: Resources) -> torch.device:
    return torch.device("cpu") if resources.gpus_per_worker == 0 else local_device()


def _measured(recipe: Recipe, splits: Splits, *, device: torch.device, threads: int | None) -> Speed:
    some, images = some_images(splits), len(splits.train)
    try:
        return measure_speed(recipe, some, device=device, images=images, threads=threads)
    except Exception as error:  # whatever a recipe may fail with
        raise unmeasurable(recipe, error) from error


def _run_trial(journal: RunJournal, trial: Trial, splits: Splits, rungs: Rungs | None) -> None:
    device = _device(journal.state.experiment.resources)
    prepare(device)
    threads = torch.get_num_threads() if device.type == "cpu" else None
    journal.started(trial.id, where=f"{platform.node()} {device}", threads=threads, workers=1)
    progress = journal.state.progress[trial.id]

    def show(within_epoch: float) -> None:
        progress.within_epoch, progress.gpu_bytes = within_epoch, gpu_bytes(device)

    try:
        data = TrainingData.on(device, splits)
        checkpoints = journal.checkpoints(trial.id)
        trial_run = TrialRun(trial.recipe, data=data, device=device, checkpoints=checkpoints, run=journal.folder)
        with trial_run.watched(show):
            after, until = journal.state.epochs_known(trial.id, rungs), journal.state.runs_to(trial.id, rungs)
            for report in trial_run.reports(after=after, until=until):
                journal.reported(trial.id, report)
                raise_swallowed()  # a library that is called in an epoch may have swallowed it
                if rungs and not report.final and not _goes_on(journal, trial, report, rungs):
                    break
    except StorageError:
        raise
    except BaseException as error:  # one bad trial never loses the others
        if not ends_its_trial(error):
            raise
        log.debug("trial %s ended by an error", trial.id, exc_info=True)
        journal.ended(trial.id, outcome_of(error))


def _goes_on(journal: RunJournal, trial: Trial, report: Report, rungs: Rungs) -> bool:
    assert report.metrics.val, "an experiment with asha has a validation split"
    quality = report.metrics.quality(trial.recipe.select)
    decision = rungs.judge(trial.id, epoch=report.metrics.epoch, quality=quality)
    if decision:
        journal.judged(trial.id, epoch=report.metrics.epoch, decision=decision)
    return decision is None or not decision.stop
