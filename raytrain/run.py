"""A run from start to end: data, run folder, trials on Ray or in this process, tables."""

import contextlib
import importlib
import logging
import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial

from raytrain import stages
from raytrain.costs import model_size
from raytrain.data import Splits, load, split
from raytrain.disk_space import refuse_full_disk
from raytrain.errors import DataError, PreflightError, RayLostError, StorageError
from raytrain.experiment import Experiment, Resources, Trial
from raytrain.interruption import Interruption, Woken, exit_code
from raytrain.json_lines import read_lines
from raytrain.manifest import Inputs, Manifest
from raytrain.progress import TRIAL_TIMEOUT_S
from raytrain.provenance import command_line
from raytrain.report import table
from raytrain.results import TrialResult, read_all_predictions
from raytrain.run_folder import RunFolder
from raytrain.run_lock import refuse_locked, run_locked
from raytrain.storage import Folder

log = logging.getLogger(__name__)

SplitsByKey = Mapping[tuple[str, int, float], Splits]
"""Images by `Recipe.data_key`."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: The run folder.
        results: Of every trial; those that did not end are unfinished.
        trained: Trials that this command started; 0 when all had been settled before.
        interrupted: Exit code of the signal that ended it early, or None.
        ray_lost: Whether Ray has gone with it, and must not be asked for anything more.
    """

    folder: Folder
    results: list[TrialResult]
    trained: int
    interrupted: int | None = None
    ray_lost: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every trial finished or was stopped early, 4 or 5 when some or all did not, 130 or 143."""
        if self.interrupted:
            return self.interrupted
        bad = sum(result.status not in {"finished", "stopped"} for result in self.results)
        return 0 if not bad else 5 if bad == len(self.results) else 4


@dataclass(frozen=True)
class Place:
    """Where trials run.

    Attributes:
        run_trials: Trains the pending trials of a run folder.
        why_lost: Says why nothing runs there any longer, or None.
        abandon: Ends at once what was started for it.
    """

    run_trials: Callable[[RunFolder, SplitsByKey], None]
    why_lost: Callable[[], str | None] = lambda: None
    abandon: Callable[[], object] = lambda: None


def run(
    experiment: Experiment,
    *,
    out: str,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    failed_only: bool = False,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
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
        shown: Shows the run folder while trials run.

    Raises:
        RaytrainError: The run cannot start, for one of the reasons in `errors`.
    """
    interruption = Interruption()
    with interruption.handled():
        return _run(
            experiment,
            Folder.at(out) / experiment.name,
            lambda work: _place_of_work(
                experiment, work, address=address, local=local, trial_timeout_s=trial_timeout_s
            ),
            interruption,
            fresh=fresh,
            failed_only=failed_only,
            shown=shown,
        )


def _run(
    experiment: Experiment,
    folder: Folder,
    place_of: Callable[["_Work"], AbstractContextManager[Place]],
    interruption: Interruption,
    *,
    fresh: bool,
    failed_only: bool,
    shown: Callable[[RunFolder], AbstractContextManager[None]],
) -> Outcome:
    trials = experiment.trials()
    splits = load_splits(trials, unsplit_too=experiment.confirm is not None and experiment.confirm.train_on == "all")
    data = {f"{name} at {size} px": images.fingerprint for (name, size, _), images in splits.items()}
    with _storage_errors_explained(folder):
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
    with place_of(_Work(folder, len(pending), meanwhile=parameters)) as place, run_locked(folder):
        interruption.at_once = place.abandon
        interruption.install()  # `ray.init` has taken SIGTERM for itself
        refuse_full_disk(folder, [(trial.recipe, parameters()[trial.id]) for trial in pending])
        # nothing has been written so far: what cannot run leaves no trace, and --fresh has deleted nothing
        with _storage_errors_explained(folder):
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
    """Run stage after stage; return the exit code of the signal that ended it early, or None."""
    try:
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
        log.info("interrupted: writing what there is; once more ends at once")
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


@dataclass(frozen=True)
class _Work:
    """What a place has to know of the work before it starts.

    Attributes:
        folder: The run folder.
        trials: How many are to be run.
        meanwhile: To be called while Ray starts.
    """

    folder: Folder
    trials: int
    meanwhile: Callable[[], object]


@contextmanager
def _place_of_work(
    experiment: Experiment, work: _Work, *, address: str | None, local: bool, trial_timeout_s: float
) -> Generator[Place]:
    """Give the place in which trials run: this process, or Ray once it is up and sure to take them."""
    if local:
        from raytrain import local as here

        yield Place(here.run_trials)
        return
    from raytrain.cluster import placement, session

    def prepare() -> None:
        work.meanwhile()
        importlib.import_module("raytrain.cluster.tuner")  # brings Ray Tune and Train, over a second of imports

    resources = experiment.resources
    if address is None and resources != Resources():
        # refuses at once what Ray would refuse later; what asks for nothing fits everywhere
        from raytrain.devices import this_machine

        kinds_unknown = {"accelerator_type": None, "custom": {}}  # Ray finds those out
        placement.place(resources.model_copy(update=kinds_unknown), nodes=[this_machine()], trials=work.trials)
    log.info("connecting to Ray at %s" if address else "starting Ray on this machine", *filter(None, [address]))
    with session.ray_session(address, dashboard=resources.most_workers > 1, meanwhile=prepare) as ray_:
        placed = placement.place(resources, nodes=session.nodes(), trials=work.trials)
        log.info("%s", placed)
        if address or placed.gpus:
            from raytrain.cluster import preflight

            preflight.refuse_unfit_nodes(placed, work.folder, address=address)
        from raytrain.cluster import tuner

        run_trials = partial(tuner.run_trials, placement=placed, trial_timeout_s=trial_timeout_s)
        yield Place(run_trials, ray_.lifeline.why_lost, ray_.abandon)


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
    from raytrain.ranking import rank  # brings SciPy, for which no trial should wait

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
def _storage_errors_explained(folder: Folder) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise PreflightError(f"{folder} cannot be written ({reason}); choose another --out") from error
