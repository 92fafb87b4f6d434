"""Many trials under Ray Tune: in parallel, in the faster order, with ASHA; what happens goes into the run folder."""

import contextlib
import errno
import logging
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from raytrain.background import repeating
from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import StorageError, first_line
from raytrain.experiment.asha import Promotion, Rungs
from raytrain.experiment.duration.costs import Costs
from raytrain.experiment.duration.order import Queue, queue_of
from raytrain.experiment.duration.simulation import faster_order, lengths_of
from raytrain.experiment.trial import Trial
from raytrain.ray_backend.asha import AshaScheduler, InOrder, id_of
from raytrain.ray_backend.internals import head, sweeps
from raytrain.ray_backend.placement import COORDINATOR_CPUS, Placement
from raytrain.ray_backend.recorder import Recorder, SilentProgress, SilentReporter
from raytrain.ray_backend.trial import SplitsRefs, TrialJob, run_trial
from raytrain.ray_backend.watchdog import Watchdog
from raytrain.runs.costs import run_costs
from raytrain.runs.events import TRIAL_TIMEOUT_S
from raytrain.runs.state import RunState
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.user_code.source import texts_of

log = logging.getLogger(__name__)

SESSION = re.compile(r"/session_\d{4}-\d\d-\d\d_")
"""Name of the folder in which Ray works on a machine, within a path."""
TRIAL_RETRIES = 2
"""Number of times that a trial is started again after its process has died."""


def run_trials(
    journal: RunJournal,
    splits: Mapping[DataKey, Splits],
    *,
    placement: Placement,
    stored: SplitsRefs | None = None,
    train: Callable[..., None] = run_trial,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
) -> None:
    """Train every pending trial of a run on the Ray cluster that this process is connected to.

    Args:
        journal: Journal of the run, with its pending trials.
        splits: The split images of each data set, by `Recipe.data_key`.
        placement: Resources of each trial, and number of trials at a time.
        stored: References to these images in Ray's object store, from `store`; None puts them there. They stay until
            the connection to Ray ends, so a session of several calls puts them there once.
        train: Function that trains one trial; a benchmark replaces it to measure the scheduling alone.
        trial_timeout_s: Seconds for which a trial may show no progress before its process is killed and started again.

    Raises:
        StorageError: The run folder, a checkpoint, or a file of Ray on this machine cannot be written any longer;
            the trials are then unfinished.
    """
    state = journal.state
    rungs = state.rungs()
    scheduler = AshaScheduler(rungs) if rungs else None
    scratch = journal.folder / ".ray"
    pending = state.pending()
    costs = run_costs(state, splits)
    watchdog = Watchdog(timeout_s=trial_timeout_s)
    threads = None if placement.gpus else placement.cpus
    recorder = Recorder(journal, scheduler, costs, watchdog, workers=placement.workers, threads=threads)
    search = _Search(journal, rungs, partial(_job, journal, rungs, scratch=str(scratch)))
    search.queue = _queue(state, pending, costs, rungs, slots=placement.concurrent, running=search.running)
    trainable = tune.with_parameters(train, splits=store(splits) if stored is None else stored, placement=placement)
    tuner = tune.Tuner(
        tune.with_resources(trainable, _resources(placement)),
        # Tune gets complete recipes: reading.py has expanded the grid, so that errors name the file and the line
        tune_config=tune.TuneConfig(
            search_alg=search,
            # -1: a promoted trial is a new trial to Tune, so their number is not known
            num_samples=-1 if isinstance(rungs, Promotion) else len(pending),
            scheduler=scheduler or InOrder(),
            max_concurrent_trials=placement.concurrent,
            # a process that starts anew costs seconds of imports; nested workers die with their trial's process
            reuse_actors=not placement.has_worker_group,
            trial_dirname_creator=id_of,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            callbacks=[recorder, SilentProgress()],
            stop=recorder.stop,
            progress_reporter=SilentReporter(),
            failure_config=tune.FailureConfig(max_failures=TRIAL_RETRIES),
            verbose=0,
        ),
    )
    try:
        with (
            storage_errors_explained(recorder, state, scratch),
            repeating(release_orphaned_groups, every=1.0),
            repeating(partial(watchdog.look, journal), every=1.0),
            sweeps.lost_workers_restart(),
            sweeps.trials_unsaved(),
            sweeps.callbacks_uncounted(),
        ):
            tuner.fit()
        release_all_groups()  # after an error or a signal they go with the job
    finally:
        remove_scratch(scratch)
    if recorder.problem:
        raise recorder.problem


def store(splits: Mapping[DataKey, Splits]) -> SplitsRefs:
    """Put images into Ray's object store, and return references to them, by `Recipe.data_key`."""
    return {key: ray.put(images) for key, images in splits.items()}


def remove_scratch(scratch: Folder) -> None:
    """Remove the folder in which Tune writes, and an empty run folder around it.

    Tune makes its folder anew after the run folder was moved or deleted, and so the run folder, too.

    Args:
        scratch: Folder of the run in which Tune writes.
    """
    with contextlib.suppress(OSError):
        scratch.retrying(0).remove()  # a run that has given up its storage is not to wait for it again
        if there := scratch.local_path:
            there.parent.rmdir()  # an error where anything is in it


@contextlib.contextmanager
def storage_errors_explained(recorder: Recorder, state: RunState, scratch: Folder) -> Generator[None]:
    """Make an error by which a file ended Tune the recorder's problem; or a warning, where all trials had ended.

    What Tune writes for itself is of no use after that: the run folder has the results.

    Args:
        recorder: What has recorded the trials.
        state: State of the run.
        scratch: Folder of the run in which Tune writes.
    """
    try:
        yield
    except OSError as error:
        why = why_unwritable(error, scratch)
        if recorder.problem:
            return
        if why is None:
            raise
        if state.pending():
            recorder.problem = StorageError(f"{why}\nThe same command continues the run.")
        else:
            log.warning("%s All trials had ended before, and their results are written.", why)


def why_unwritable(error: OSError, scratch: Folder) -> str | None:
    """Return which files Tune could not write and why, as a sentence; None where the error is about something else."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "The folder in which this command was started has been deleted or replaced, and Ray Tune needs it."
    if SESSION.search(str(error)):
        return f"Ray's own files on this machine cannot be read or written: {first_line(error)}."
    return f"{scratch}: cannot be written: {error}." if is_of_storage(error, scratch) else None


def is_of_storage(error: OSError, scratch: Folder) -> bool:
    """Return whether an error that ended Tune is one of the folder in which it writes; others are ours or Ray's.

    The error names the folder, or the disk is full, or nothing can be written there now.
    """
    if error.errno in {errno.ENOSPC, errno.EDQUOT} or str(scratch) in str(error):
        return True
    try:
        scratch.retrying(0).write("probe", b"")
    except OSError:
        return True
    return False


class _Search(Searcher):
    """What Tune asks for the next trial when a slot is free."""

    queue: Queue

    def __init__(self, journal: RunJournal, rungs: Rungs | None, job: Callable[[Trial], TrialJob]) -> None:
        super().__init__()
        self._journal = journal
        self._rungs = rungs
        self._job = job
        self._running: dict[str, Trial] = {}  # by Tune's id

    def running(self) -> set[str]:
        return {trial.id for trial in self._running.values()}

    def suggest(self, trial_id: str) -> Any:
        trial = self.queue.next()
        if trial is None:
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = trial
        return {"job": vars(self._job(trial))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002
        trial = self._running.pop(trial_id)
        if isinstance(self._rungs, Promotion):
            self._rungs.ended(trial.id, lost=error or self._journal.state.is_lost(trial.id))

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # Tune moves it about; a run goes on from its run folder

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


def release_orphaned_groups() -> None:
    """Remove every placement group of this job whose maker is dead.

    When Tune stops a trial early it kills the trial's process, and Ray Train's controller dies with it; but the group
    that the controller reserved for the workers belongs to the job. Ray's own cleaner, which trials do without, knows
    nothing of a group that the controller asked for while it was dying. After as many early stops as fit the cluster,
    the sweep would wait for ever.
    """
    for group, orphaned in head.placement_groups():
        if orphaned:
            head.remove_group(group)


def release_all_groups() -> None:
    """Remove every placement group of this job."""
    for group, _ in head.placement_groups():
        head.remove_group(group)


def _queue(
    state: RunState,
    pending: Sequence[Trial],
    costs: Costs,
    rungs: Rungs | None,
    *,
    slots: int,
    running: Callable[[], set[str]],
) -> Queue:
    """Return the trials that wait, in the order in which the sweep is expected to end first."""
    done = {trial: state.progress[trial.id].epoch for trial in pending}
    order = faster_order(done, lengths_of(pending, costs), slots=slots, rungs=rungs)
    if state.setting:
        state.setting.order = order
    return queue_of(done, costs, order, rungs, running=running)


def _job(journal: RunJournal, rungs: Rungs | None, trial: Trial, *, scratch: str) -> TrialJob:
    return TrialJob(
        trial_id=trial.id,
        recipe=trial.recipe.model_dump(),
        checkpoints=str(journal.checkpoints(trial.id)),
        after_epoch=journal.state.epochs_known(trial.id, rungs),
        until_epoch=journal.state.runs_to(trial.id, rungs),
        scratch=scratch,
        code=texts_of(trial.recipe.user_code),
    )


def _resources(placement: Placement) -> dict[str, float]:
    if placement.has_worker_group:
        return {"CPU": COORDINATOR_CPUS}
    return placement.per_worker()
