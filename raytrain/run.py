"""A run from start to end: data, run folder, trials on Ray or in this process, tables."""

import importlib
import logging
import shlex
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import FrameType

from raytrain import stages
from raytrain.costs import ModelSize, model_size
from raytrain.data import Splits, load, split
from raytrain.disk_space import refuse_full_disk
from raytrain.errors import PreflightError
from raytrain.experiment import Experiment, Resources, Trial
from raytrain.json_lines import read_lines
from raytrain.manifest import Inputs, Manifest
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
    """

    folder: Folder
    results: list[TrialResult]
    trained: int
    interrupted: int | None = None

    @property
    def exit_code(self) -> int:
        """0 when every trial finished or was stopped early, 4 or 5 when some or all did not, 130 or 143."""
        if self.interrupted:
            return self.interrupted
        bad = sum(result.status not in {"finished", "stopped"} for result in self.results)
        return 0 if not bad else 5 if bad == len(self.results) else 4


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it ends a run as Ctrl-C does."""


def run(
    experiment: Experiment,
    *,
    out: str,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    failed_only: bool = False,
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
        shown: Shows the run folder while trials run.

    Raises:
        RaytrainError: The run cannot start, for one of the reasons in `errors`.
    """
    trials = experiment.trials()
    splits = load_splits(trials, unsplit_too=experiment.confirm is not None and experiment.confirm.train_on == "all")
    folder = Folder.at(out) / experiment.name
    data = {f"{name} at {size} px": images.fingerprint for (name, size, _), images in splits.items()}
    with _storage_errors_explained(folder):
        refuse_locked(folder)
        run_folder = RunFolder.open(folder, experiment, trials, fresh=fresh, failed_only=failed_only)
        seeds = experiment.seeds or (experiment.recipe.seed,)
        inputs = [_inputs(key, images) for key, images in splits.items()]
        manifest = Manifest.open(folder, data=data, inputs=inputs, seeds=seeds, fresh=fresh)
    if not run_folder.pending() and not stages.advance(run_folder):
        write_tables(run_folder)  # a kill after the last trial may have come before them
        return Outcome(folder, run_folder.results(), trained=0)
    pending = run_folder.pending()
    settled = len(trials) - len(pending) if run_folder.stage == "search" else 0
    log.info("%d of %d trials to run%s", len(pending), len(trials), f", {settled} done before" if settled else "")
    interrupted = None
    sizes = partial(_model_sizes, pending, splits)
    place = _place_of_work(experiment, len(pending), folder, address=address, local=local, meanwhile=sizes)
    with place as run_trials, run_locked(folder):
        refuse_full_disk(folder, [(trial.recipe, sizes()[trial.id].parameters) for trial in pending])
        # nothing has been written so far: what cannot run leaves no trace, and --fresh has deleted nothing
        with _storage_errors_explained(folder):
            run_folder.begin({trial_id: size.parameters for trial_id, size in sizes().items()})
            manifest.begin_session()
        try:
            with _terminable(), shown(run_folder):
                run_trials(run_folder, splits)
                while stages.advance(run_folder):
                    run_trials(run_folder, splits)
        except KeyboardInterrupt as signal_:
            interrupted = 143 if isinstance(signal_, Terminated) else 130
            run_folder.note("interrupted", exit_code=interrupted)
        finally:
            run_folder.close()
            write_tables(run_folder)
            manifest.end_session()
    return Outcome(folder, run_folder.results(), len(pending), interrupted)


@contextmanager
def _place_of_work(
    experiment: Experiment,
    trials: int,
    folder: Folder,
    *,
    address: str | None,
    local: bool,
    meanwhile: Callable[[], object],
) -> Generator[Callable[[RunFolder, SplitsByKey], None]]:
    """Give the function that trains the pending trials of a run folder: here, or on Ray once it is up."""
    if local:
        from raytrain import local as here

        yield here.run_trials
        return
    from raytrain.cluster import placement, session

    def prepare() -> None:
        meanwhile()
        importlib.import_module("raytrain.cluster.tuner")  # brings Ray Tune and Train, over a second of imports

    resources = experiment.resources
    if address is None and resources != Resources():
        # refuses at once what Ray would refuse later; what asks for nothing fits everywhere
        from raytrain.devices import this_machine

        kinds_unknown = {"accelerator_type": None, "custom": {}}  # Ray finds those out
        placement.place(resources.model_copy(update=kinds_unknown), nodes=[this_machine()], trials=trials)
    log.info("connecting to Ray at %s" if address else "starting Ray on this machine", *filter(None, [address]))
    with session.ray_session(address, dashboard=resources.most_workers > 1, meanwhile=prepare):
        placed = placement.place(resources, nodes=session.nodes(), trials=trials)
        log.info("%s", placed)
        if address:
            from raytrain.cluster.storage_probe import check_storage

            check_storage(folder, more_nodes=session.may_grow())
        from raytrain.cluster import tuner

        yield partial(tuner.run_trials, placement=placed)


def load_splits(trials: list[Trial], *, unsplit_too: bool = False) -> SplitsByKey:
    """Return the images that `trials` need, by `Recipe.data_key`, and as they are without validation split if asked."""
    keys = dict.fromkeys(trial.recipe.data_key for trial in trials)
    if unsplit_too:
        keys |= dict.fromkeys((*key[:2], 0) for key in keys)
    datasets = {
        (dataset, size): load(dataset, image_size=size) for dataset, size in dict.fromkeys(key[:2] for key in keys)
    }
    return {key: split(datasets[key[:2]], key[2]) for key in keys}


def _inputs(key: tuple[str, int, float], images: Splits) -> Inputs:
    counts = {part: len(getattr(images, part)) for part in ("train", "val", "test")}
    return Inputs(*key, images.classes, images.mean, images.std, **counts)


def _model_sizes(trials: list[Trial], splits: SplitsByKey) -> dict[str, ModelSize]:
    return {trial.id: model_size(trial.recipe, len(splits[trial.recipe.data_key].classes)) for trial in trials}


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
        raise PreflightError(f"{folder} cannot be written ({error}); choose another --out") from error


@contextmanager
def _terminable() -> Generator[None]:
    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread takes signals
        yield
        return
    # after ray.init, which would replace it and abort
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
