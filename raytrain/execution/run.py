"""A run from start to end: data, run folder, trials on Ray or in this process, tables."""

import contextlib
import logging
import shlex
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial

from raytrain.data import Splits, load, split
from raytrain.errors import DataError, PreflightError, RayLostError, StorageError
from raytrain.execution import stages
from raytrain.execution.backend import Place, SplitsByKey, Work, place_of_work
from raytrain.execution.interruption import Interruption, OutOfTime, Woken, exit_code
from raytrain.experiment.experiment import Experiment, Trial
from raytrain.experiment.order import model_size
from raytrain.report import table
from raytrain.runs.disk_space import refuse_full_disk
from raytrain.runs.folder import RunFolder
from raytrain.runs.lock import refuse_locked, run_locked
from raytrain.runs.manifest import Inputs, Manifest
from raytrain.runs.progress import TRIAL_TIMEOUT_S
from raytrain.runs.provenance import command_line
from raytrain.runs.results import TrialResult, read_all_predictions
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: The run folder.
        results: Of every trial; those that did not end are unfinished.
        trained: Trials that this command started; 0 when all had been settled before.
        interrupted: Exit code of what ended it early, a signal or its time limit, or None.
        ray_lost: Whether Ray has gone with it, and must not be asked for anything more.
    """

    folder: Folder
    results: list[TrialResult]
    trained: int
    interrupted: int | None = None
    ray_lost: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every trial finished or was stopped early, 4 or 5 when some or all did not, 130, 143 or 8."""
        if self.interrupted:
            return self.interrupted
        bad = sum(result.status not in {"finished", "stopped"} for result in self.results)
        return 0 if not bad else 5 if bad == len(self.results) else 4


def run(
    experiment: Experiment,
    *,
    out: str,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    failed_only: bool = False,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
    time_limit_s: float | None = None,
    shown: Callable[[RunFolder], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Outcome:
    """Run `experiment`, or what is left of it, and write its tables.

    Args:
        experiment: What to run.
        out: Folder or URI in which the run folder is, under the experiment's name.
        address: Of a Ray cluster; None starts one on this machine.
        local: Run in this process, without Ray.
        fresh: Delete what an earlier run of that name left.
        failed_only: Of an earlier run, run what failed and nothing else.
        trial_timeout_s: How long a trial on Ray may show no progress before its process is ended and started again.
        time_limit_s: After how long the run ends as by Ctrl-C, to be gone on with; None lets it take its time.
        shown: Shows the run folder while trials run.

    Raises:
        RaytrainError: The run cannot start, for one of the reasons in `errors`.
    """
    interruption = Interruption(limit_s=time_limit_s)
    with interruption.handled():
        return _run(
            experiment,
            Folder.at(out) / experiment.name,
            lambda work: place_of_work(experiment, work, address=address, local=local, trial_timeout_s=trial_timeout_s),
            interruption,
            fresh=fresh,
            failed_only=failed_only,
            shown=shown,
        )


def _run(
    experiment: Experiment,
    folder: Folder,
    place_of: Callable[[Work], AbstractContextManager[Place]],
    interruption: Interruption,
    *,
    fresh: bool,
    failed_only: bool,
    shown: Callable[[RunFolder], AbstractContextManager[None]],
) -> Outcome:
    trials = experiment.trials()
    splits = load_splits(trials, unsplit_too=experiment.confirm is not None and experiment.confirm.train_on == "all")
    data = {f"{name} at {size} px": images.fingerprint for (name, size, _), images in splits.items()}
    with storage_errors_explained(folder):
        refuse_locked(folder)
        folder.names()  # without patience: what cannot be reached now is refused now
        folder = folder.patient()
        run_folder = RunFolder.open(folder, experiment, trials, fresh=fresh, failed_only=failed_only)
        seeds = experiment.seeds or (experiment.recipe.seed,)
        inputs = [_inputs(key, images) for key, images in splits.items()]
        manifest = Manifest.open(folder, data=data, inputs=inputs, seeds=seeds, fresh=fresh)
        if unwritten := run_folder.unwritten():
            run_folder.settle(_parameters(unwritten, splits))
    if not run_folder.pending() and not stages.advance(run_folder):
        write_tables(run_folder)  # a kill after the last trial may have come before them
        return Outcome(folder, run_folder.results(), trained=0)
    pending = run_folder.pending()
    settled = len(trials) - len(pending) if run_folder.stage == "search" else 0
    log.info("%d of %d trials to run%s", len(pending), len(trials), f", {settled} done before" if settled else "")
    parameters = cache(partial(_parameters, pending, splits))
    with place_of(Work(folder, len(pending), meanwhile=parameters)) as place, run_locked(folder):
        interruption.at_once = place.abandon
        interruption.install()  # `ray.init` has taken SIGTERM for itself
        refuse_full_disk(folder, [(trial.recipe, parameters()[trial.id]) for trial in pending])
        # nothing has been written so far: what cannot run leaves no trace, and --fresh has deleted nothing
        with storage_errors_explained(folder):
            run_folder.begin(parameters())
            manifest.begin_session()
        try:
            with shown(run_folder):
                interrupted = _train(run_folder, place, splits, interruption)
        except StorageError:
            run_folder.folder = folder.patient(0)  # perhaps there is room for the tables; nobody waits for it any more
            with contextlib.suppress(StorageError):
                _end(run_folder, manifest)
            raise
        except BaseException:
            _end(run_folder, manifest)
            raise
        _end(run_folder, manifest)
    lost = bool(place.why_lost())
    return Outcome(folder, run_folder.results(), len(pending), interrupted, ray_lost=lost)


def _train(run_folder: RunFolder, place: Place, splits: SplitsByKey, interruption: Interruption) -> int | None:
    """Run stage after stage; return the exit code of what ended it early, a signal or its time limit, or None."""
    try:
        with interruption.limited():
            place.run_trials(run_folder, splits)
            while stages.advance(run_folder):
                place.run_trials(run_folder, splits)
    except Exception:
        if lost := _ray_lost(run_folder, place):
            raise lost from None
        raise
    except KeyboardInterrupt as caught:
        interrupt = interruption.meant(caught)
        if isinstance(interrupt, Woken):
            lost = _ray_lost(run_folder, place)
            assert lost, "only its loss wakes the main thread"
            raise lost from None
        more = "the time is over" if isinstance(interrupt, OutOfTime) else "interrupted; once more ends at once"
        log.info("%s: writing what there is", more)
        run_folder.note("interrupted", exit_code=exit_code(interrupt))
        return exit_code(interrupt)
    return None


def _ray_lost(run_folder: RunFolder, place: Place) -> RayLostError | None:
    """Return the error that stands for whatever went wrong when Ray is gone; None while it is there."""
    why = place.why_lost()
    if why is None:
        return None
    run_folder.note("ray lost", why=why)
    return RayLostError(f"Ray is gone: {why}.\nThe same command goes on where this one stopped.")


def _end(run_folder: RunFolder, manifest: Manifest) -> None:
    run_folder.close()
    write_tables(run_folder)
    manifest.end_session()


def load_splits(trials: list[Trial], *, unsplit_too: bool = False) -> SplitsByKey:
    """Return the images that `trials` need, by `Recipe.data_key`, and as they are without validation split if asked."""
    keys = dict.fromkeys(trial.recipe.data_key for trial in trials)
    if unsplit_too:
        keys |= dict.fromkeys((*key[:2], 0) for key in keys)
    datasets = {
        (dataset, size): load(dataset, image_size=size) for dataset, size in dict.fromkeys(key[:2] for key in keys)
    }
    for (dataset, _), images in datasets.items():
        if len(images.classes) < 2:
            raise DataError(f"{dataset!r} has 1 class: there is nothing to tell apart; give two or more")
    return {key: split(datasets[key[:2]], key[2]) for key in keys}


def _inputs(key: tuple[str, int, float], images: Splits) -> Inputs:
    counts = {part: len(getattr(images, part)) for part in ("train", "val", "test")}
    return Inputs(*key, images.classes, images.mean, images.std, **counts)


def _parameters(trials: list[Trial], splits: SplitsByKey) -> dict[str, int]:
    classes = {trial.id: len(splits[trial.recipe.data_key].classes) for trial in trials}
    return {trial.id: model_size(trial.recipe, classes[trial.id]).parameters for trial in trials}


def write_tables(run_folder: RunFolder) -> None:
    """Derive the run folder's tables from its lines."""
    from raytrain.analysis.ranking import rank  # brings SciPy, for which no trial should wait

    folder, results = run_folder.folder, run_folder.results()
    ranking = rank(results, read_all_predictions(folder, results))
    folder.write("trials.parquet", table.as_parquet(table.flat_rows(ranking)))
    epochs = [
        {"trial": trial_id, **row}
        for trial_id in run_folder.progress
        for row in read_lines(run_folder.trial_folder(trial_id), "metrics.jsonl")
    ]
    folder.write("metrics.parquet", table.as_parquet(epochs))
    text = table.readme(run_folder.experiment.name, ranking, command=shlex.join(command_line()))
    folder.write("README.md", text.encode())


@contextmanager
def storage_errors_explained(folder: Folder) -> Generator[None]:
    """Raise PreflightError where a run folder cannot be read or written."""
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise PreflightError(f"{folder} cannot be written ({reason}); choose another --out") from error
