"""A run from start to end: data, run folder, trials on Ray or in this process, tables, report."""

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial

from raytrain.analysis.record import RunRecord
from raytrain.errors import ExitCode, RayLostError, StorageError, counted
from raytrain.execution.backend import Backend, SplitsByKey, Work, open_backend, setting_of
from raytrain.execution.forecast.asha_setting import set_asha
from raytrain.execution.initial import initial_contents, initial_described
from raytrain.execution.inputs import (
    count_parameters,
    described_inputs,
    parameters_of,
    trials_and_splits,
    under_earlier_name,
    why_not,
)
from raytrain.execution.interruption import Interruption, OutOfTime, Woken, exit_code
from raytrain.execution.options import Mode, RunOptions
from raytrain.execution.repair import repair
from raytrain.execution.stages import stages
from raytrain.execution.stages.stages import Further
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.experiment.user_code import digests_of
from raytrain.provenance.manifest import NAME as MANIFEST
from raytrain.provenance.manifest import Manifest
from raytrain.report import REPORT
from raytrain.report.files import drop_report, try_to_write_report, write_tables
from raytrain.runs.folder import storage_errors_explained
from raytrain.runs.planned import Range, recall
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.runs.user_code import described
from raytrain.runs.writing.disk_space import refuse_full_disk
from raytrain.runs.writing.journal import RunJournal
from raytrain.runs.writing.lock import OR_ANOTHER_NAME, run_locked
from raytrain.runs.writing.mistake_sheet import NamedImages
from raytrain.runs.writing.resume import removed_trials
from raytrain.storage.folder import Folder
from raytrain.trackers.live import LiveLog, Shown
from raytrain.training.initial.copies import write_initial

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run. All files are written when it exists.

    Attributes:
        record: Record of the run.
        trained: Number of trials that this command started; 0 when all had ended before.
        interrupted: Exit code for the signal or time limit that ended the run early; None otherwise.
        ray_lost: Whether Ray is gone, so that no further call of Ray may be made.
        seconds: Seconds that the trials took together, from the first start to the last end.
        planned: Seconds that `raytrain plan` expected of exactly what was left; None where it was not asked.
    """

    record: RunRecord
    trained: int
    interrupted: ExitCode | None = None
    ray_lost: bool = False
    seconds: float = 0.0
    planned: Range | None = None

    @property
    def folder(self) -> Folder:
        """The run folder."""
        return self.record.folder

    @property
    def results(self) -> list[TrialResult]:
        """A result for every trial, as the experiment lists them; those that did not end are unfinished."""
        return self.record.listed

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command: that of the interruption, else by how many trials failed or diverged."""
        if self.interrupted:
            return self.interrupted
        bad = sum(result.status in {"failed", "diverged"} for result in self.results)
        if not bad:
            return ExitCode.DONE
        return ExitCode.ALL_FAILED if bad == len(self.results) else ExitCode.SOME_FAILED


def run(
    experiment: Experiment,
    options: RunOptions | None = None,
    *,
    shown: Shown = lambda _: nullcontext(),
    further: Further | None = None,
) -> RunOutcome:
    """Run `experiment`, or what is left of it, and write its tables and its report.

    Args:
        experiment: Experiment to run.
        options: Options of the run; None for the defaults.
        shown: Function that shows the run while trials run.
        further: Function that is asked for further seeds, once all trials of the only configuration have ended.

    Raises:
        RaytrainError: The run cannot start, or not go on, for one of the reasons in `errors`.
    """
    options = options or RunOptions()
    interruption = Interruption(limit_s=options.time_limit_s)
    folder = Folder.at(options.out) / experiment.name
    tracking = LiveLog(options.log, folder) if options.log else None
    with interruption.handled():
        trials, splits = trials_and_splits(experiment)
        with run_locked(folder, advice=OR_ANOTHER_NAME):
            if options.mode != "fresh":
                experiment, trials, splits = under_earlier_name(experiment, trials, splits, folder)
            shown = tracking.beside(shown) if tracking else shown
            outcome = _run(experiment, trials, splits, folder, options, interruption, shown, further)
            if not outcome.interrupted and (outcome.trained or not outcome.folder.exists(REPORT)):
                try_to_write_report(outcome.record)
            if tracking:
                tracking.finish(outcome.record)
            return outcome


def _run(
    experiment: Experiment,
    trials: list[Trial],
    splits: SplitsByKey,
    folder: Folder,
    options: RunOptions,
    interruption: Interruption,
    shown: Shown,
    further: Further | None,
) -> RunOutcome:
    failed_only = options.mode == "failed_only"
    journal, manifest, initial = _open(experiment, trials, splits, folder, options)
    journal.tests = {key: NamedImages(images.test.images, images.classes) for key, images in splits.items()}
    folder = journal.folder
    if repeated := experiment.repeated():
        log.info("%s", repeated)
    if removed := removed_trials(folder, journal.state):
        log.info("%s", removed)
    set_asha(journal, out=options.out)
    fits = partial(why_not, splits=splits, workers=experiment.resources.most_workers)
    advance = partial(stages.advance, journal, why_not=fits, failed_only=failed_only, further=further)
    if not journal.state.pending() and not advance():
        return _with_nothing_left(journal, manifest, mode=options.mode)
    pending = journal.state.pending()
    _say_how_many(journal.state, pending)
    later = [trial for one in stages.stand_ins(journal.state, why_not=fits) for trial in one]
    sizes = cache(partial(parameters_of, [*pending, *later], splits))
    images = sum(one.bytes_in_memory for one in splits.values())
    in_search = stages.most_waiting_in_search(experiment, listed=len(trials))
    left = stages.most_waiting_from_now(journal.state, listed=len(trials))
    work = Work(folder, trials=in_search, left=left, meanwhile=sizes, images=images, threads=options.threads)
    with open_backend(
        experiment, work, address=options.address, local=options.local, trial_timeout_s=options.trial_timeout_s
    ) as backend:
        interruption.before_exit = backend.abandon
        interruption.install()  # `ray.init` has taken SIGTERM for itself
        refuse_full_disk(folder, [(trial.recipe, sizes()[trial.id]) for trial in [*pending, *later]])
        # nothing has been written so far: what cannot run leaves no trace, and --fresh has deleted nothing
        with storage_errors_explained(folder):
            journal.begin({trial.id: sizes()[trial.id] for trial in pending})
            drop_report(journal.folder)
            write_initial(journal.folder, initial)
            initial.clear()  # gigabytes, perhaps
            manifest.begin_session(journal.folder)
        planned = recall(str(folder), journal.state.pending_epochs(), where=backend.description)
        journal.state.setting = setting_of(backend, splits, planned)
        started = time.perf_counter()
        with _written_at_the_end(journal, manifest), shown(journal.state):
            interrupted = _train(journal, backend, splits, interruption, advance)
        seconds = time.perf_counter() - started
        record = _end(journal, manifest)
    planned = None if experiment.separate or further else planned  # a plan does not know how many seeds it takes
    return RunOutcome(record, len(pending), interrupted, bool(backend.why_lost()), seconds, planned)


def _open(
    experiment: Experiment, trials: list[Trial], splits: SplitsByKey, folder: Folder, options: RunOptions
) -> tuple[RunJournal, Manifest, dict[str, bytes]]:
    """Read what is in a run folder; write nothing, unless it is to be repaired."""
    fresh = options.mode == "fresh"
    with storage_errors_explained(folder):
        folder.names()  # tried once: what cannot be reached now is refused now
        folder = folder.retrying()
        if options.mode == "repair":
            repair(folder)
        journal = RunJournal.open(folder, experiment, trials, fresh=fresh, failed_only=options.mode == "failed_only")
        classes = [(trial.recipe, len(splits[trial.recipe.data_key].classes)) for trial in trials]
        initial = initial_contents(classes, None if fresh else folder)
        manifest = Manifest.open(
            folder,
            data={key.label: images.fingerprint for key, images in splits.items()},
            inputs=[described_inputs(key, images) for key, images in splits.items()],
            seeds=experiment.seeds or (experiment.recipe.seed,),
            fresh=fresh,
            required=options.mode != "repair" and journal.state.has_trained(),
            user_code=described(digests_of(experiment)),
            initial_weights=initial_described(initial),
        )
        if unwritten := journal.state.unwritten():
            journal.end_unwritten(parameters_of(unwritten, splits))
    return journal, manifest, initial


def _with_nothing_left(journal: RunJournal, manifest: Manifest, *, mode: Mode) -> RunOutcome:
    """Write the tables of a run that has ended: a kill may have come before them, or it may have fewer trials now."""
    if (differs := journal.differs) or mode == "repair":
        drop_report(journal.folder)
    if differs:
        journal.keep_experiment()
    if differs or not journal.folder.exists(MANIFEST):  # a repair has set it aside
        manifest.begin_session()
        manifest.end_session()
    record = write_tables(RunRecord(journal.folder, journal.state))
    if manifest.is_open and mode != "failed_only":  # a kill came before its end; failed trials alone are not all
        manifest.end_session()
    return RunOutcome(record, trained=0)


def _say_how_many(state: RunState, pending: Sequence[Trial]) -> None:
    over, waiting = {"finished", "stopped", "paused", "diverged"}, {trial.id for trial in pending}
    done = sum(one.status in over and one.trial not in waiting for one in state.results() if state.stage == "search")
    stages = {"search", "rescue"} if state.stage in {"search", "rescue"} else {state.stage}
    there = sum(one.stage in stages for one in state.progress.values())
    log.info("%d of %s to run%s", len(pending), counted(there, "trial"), f", {done} done before" if done else "")


@contextmanager
def _written_at_the_end(journal: RunJournal, manifest: Manifest) -> Generator[None]:
    """Write the tables where training ends in an error, which goes on its way then."""
    try:
        yield
    except StorageError:
        journal.folder = manifest.folder = journal.folder.retrying(0)  # the tables may still fit; one try each
        with contextlib.suppress(StorageError):
            _end(journal, manifest)
        raise
    except BaseException:
        _end(journal, manifest)
        raise


def _train(
    journal: RunJournal, backend: Backend, splits: SplitsByKey, interruption: Interruption, advance: Callable[[], bool]
) -> ExitCode | None:
    """Run stage after stage; return the exit code of what ended it early, a signal or its time limit, or None."""
    try:
        with interruption.limited():
            backend.run_trials(journal, splits)
            while advance():
                count_parameters(journal, splits)
                backend.run_trials(journal, splits)
    except Exception:
        if lost := _ray_lost(journal, backend):
            raise lost from None
        raise
    except KeyboardInterrupt as caught:
        interrupt = interruption.cause_of(caught)
        if isinstance(interrupt, Woken):
            lost = _ray_lost(journal, backend)
            assert lost, "only its loss wakes the main thread"
            raise lost from None
        more = (
            "the time limit is reached"
            if isinstance(interrupt, OutOfTime)
            else "interrupted (a second signal ends at once)"
        )
        log.info("%s: saving the run", more)
        journal.note({"event": "interrupted", "exit_code": exit_code(interrupt)})
        return exit_code(interrupt)
    return None


def _ray_lost(journal: RunJournal, backend: Backend) -> RayLostError | None:
    """Return the error that stands for whatever went wrong when Ray is gone; None while it is there."""
    why = backend.why_lost()
    if why is None:
        return None
    journal.note({"event": "ray lost", "why": why})
    return RayLostError(f"Ray is gone: {why}.\nThe same command continues the run.")


def _end(journal: RunJournal, manifest: Manifest) -> RunRecord:
    journal.close()
    journal.state.suspend()
    record = write_tables(RunRecord(journal.folder, journal.state))
    manifest.end_session()
    return record
