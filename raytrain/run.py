"""A run from start to end: data, run folder, trials on Ray or in this process, tables."""

import json
import logging
import shlex
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import FrameType
from typing import Any

from raytrain.data import Splits, load, split
from raytrain.errors import PreflightError, RunFolderError
from raytrain.experiment import Experiment, Trial
from raytrain.provenance import command_line, describe_code, describe_machine
from raytrain.report import table
from raytrain.results import TrialResult, read_lines
from raytrain.run_folder import RunFolder
from raytrain.storage import Folder

log = logging.getLogger(__name__)

type_of_splits = dict[tuple[str, int, float], Splits]


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
    shown: Callable[[RunFolder], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Outcome:
    """Run `experiment`, or what is left of it, and write its tables.

    Args:
        experiment: What to run.
        out: Folder or URI in which the run folder is, under the experiment's name.
        address: Of a Ray cluster; None starts one on this machine.
        local: Run in this process, without Ray.
        fresh: Delete what an earlier run of that name left.
        shown: Shows the run folder while trials run.

    Raises:
        RaytrainError: The run cannot start, for one of the reasons in `errors`.
    """
    trials = experiment.trials()
    splits = load_splits(trials)
    trials = longest_first(trials, splits)
    folder = Folder.at(out) / experiment.name
    parameters = {trial.id: _cost(trial, splits)[1] for trial in trials}
    try:
        if fresh:
            _remove_run(folder)
        session = _Session(folder, experiment, splits)
        run_folder = RunFolder.open(folder, experiment, trials, parameters=parameters)
    except OSError as error:
        raise PreflightError(f"{folder} cannot be written ({error}); choose another --out") from error
    pending = run_folder.pending()
    interrupted = None
    if pending:
        settled = len(trials) - len(pending)
        log.info(
            "%d of %d trials to run%s",
            len(pending),
            len(trials),
            f", {settled} done before" if settled else "",
        )
        session.begin()
        try:
            with _terminable():
                _run_trials(run_folder, splits, address=address, local=local, shown=shown)
        except KeyboardInterrupt as signal_:
            interrupted = 143 if isinstance(signal_, Terminated) else 130
            run_folder.note("interrupted", exit_code=interrupted)
        finally:
            run_folder.close()
            write_tables(run_folder)
            session.end()
    else:
        run_folder.close()
        write_tables(run_folder)  # a kill after the last trial may have come before them
    return Outcome(folder, run_folder.results(), len(pending), interrupted)


def _run_trials(
    run_folder: RunFolder,
    splits: type_of_splits,
    *,
    address: str | None,
    local: bool,
    shown: Callable[[RunFolder], AbstractContextManager[None]],
) -> None:
    if local:
        from raytrain import local as here

        with shown(run_folder):
            here.run_trials(run_folder, splits)
        return
    from raytrain.cluster import placement, session

    resources = run_folder.experiment.resources
    log.info(
        "connecting to Ray at %s" if address else "starting Ray on this machine",
        *([address] if address else []),
    )
    with session.ray_session(address, dashboard=resources.workers > 1):
        placed = placement.place(resources, nodes=session.nodes(), trials=len(run_folder.pending()))
        log.info("%s", placed)
        from raytrain.cluster import tuner

        with shown(run_folder):
            tuner.run_trials(run_folder, splits, placement=placed)


def load_splits(trials: list[Trial]) -> type_of_splits:
    """Return the images that `trials` need, by `Recipe.data_key`."""
    keys = dict.fromkeys(trial.recipe.data_key for trial in trials)
    datasets = {
        (dataset, size): load(dataset, image_size=size) for dataset, size in dict.fromkeys(key[:2] for key in keys)
    }
    return {key: split(datasets[key[:2]], key[2]) for key in keys}


def longest_first(trials: list[Trial], splits: type_of_splits) -> list[Trial]:
    """Return the trials by falling cost; trials of equal cost stay in listed order.

    A long trial that starts last runs alone while the other slots are empty (Graham 1969: longest processing
    time first). Under ASHA the first to arrive at a rung always goes on, so list the best guess first.
    """
    return sorted(trials, key=lambda trial: -_cost(trial, splits)[0])


def _cost(trial: Trial, splits: type_of_splits) -> tuple[float, int]:
    """Return the forward FLOPs of a whole trial, and its model's number of parameters."""
    recipe, images = trial.recipe, splits[trial.recipe.data_key]
    flops, parameters = _size(recipe.arch, recipe.width, recipe.image_size, len(images.classes))
    return float(flops) * len(images.train) * recipe.epochs, parameters


@cache
def _size(arch: str, width: int, image_size: int, num_classes: int) -> tuple[int, int]:
    import torch

    from raytrain.models import ARCHITECTURES, forward_flops, parameter_count

    with torch.device("meta"):
        model = ARCHITECTURES[arch](num_classes, width=width)
    return forward_flops(model, image_size), parameter_count(model)


def write_tables(run_folder: RunFolder) -> None:
    """Derive the run folder's tables from its lines."""
    folder, results = run_folder.folder, run_folder.results()
    folder.write("trials.parquet", table.as_parquet([result.flat() for result in results]))
    epochs = [
        {"trial": trial_id, **row}
        for trial_id in run_folder.progress
        for row in read_lines(run_folder.trial_folder(trial_id), "metrics.jsonl")
    ]
    folder.write("metrics.parquet", table.as_parquet(epochs))
    text = table.readme(run_folder.experiment.name, results, command=shlex.join(command_line()))
    folder.write("README.md", text.encode())


def _remove_run(folder: Folder) -> None:
    if folder.names() and not folder.exists("experiment.yaml"):
        raise RunFolderError(f"{folder} is not a run folder, so --fresh does not delete it; choose another --name")
    folder.remove()


class _Session:
    """One command's entry in manifest.json; a run that was continued has several."""

    def __init__(self, folder: Folder, experiment: Experiment, splits: type_of_splits) -> None:
        self._folder = folder
        self._manifest: dict[str, Any] = {"sessions": []}
        if folder.exists("manifest.json"):
            self._manifest = json.loads(folder.read("manifest.json"))
        data = {f"{name} at {size} px": images.fingerprint for (name, size, _), images in splits.items()}
        before = self._manifest.setdefault("data", data)
        for name, fingerprint in data.items():
            if before.get(name, fingerprint) != fingerprint:
                raise RunFolderError(
                    f"{folder} was run on other images: {name} has changed ({before[name]} then, {fingerprint} now).\n"
                    "Choose another --name, restore the images, or start anew with --fresh."
                )
        self._manifest["seeds"] = list(experiment.seeds or [experiment.recipe.seed])

    def begin(self) -> None:
        entry = {
            "command": command_line(),
            "started": _now(),
            "code": describe_code(),
            "machine": describe_machine(),
        }
        self._manifest["sessions"].append(entry)
        self._write()

    def end(self) -> None:
        self._manifest["sessions"][-1]["ended"] = _now()
        self._write()

    def _write(self) -> None:
        self._folder.write("manifest.json", json.dumps(self._manifest, indent=1).encode())


@contextmanager
def _terminable() -> Generator[None]:
    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
