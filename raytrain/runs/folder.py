"""A run folder as it lies on disk or in object storage: found by its name, and read back."""

from collections import defaultdict, deque
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.experiment.reading import read_run
from raytrain.runs.events import STATUSES
from raytrain.runs.results import TrialResult, read_results
from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.predictions import FILE, Predictions

EXPERIMENT = "experiment.yaml"
"""Name of the file that makes a folder a run folder."""
WRITTEN = frozenset({"events.jsonl", "trials.jsonl", "manifest.json", "trials", "trials.parquet", "metrics.parquet"})
"""Names of what a run writes into its folder, beside EXPERIMENT and what is made for readers."""


def trial_folder(run: Folder, trial: str) -> Folder:
    """Return the folder of a trial, by its id, in a run folder."""
    return run / "trials" / trial


def checkpoint_folder(run: Folder, trial: str) -> Folder:
    """Return the checkpoint folder of a trial, by its id, in a run folder."""
    return trial_folder(run, trial) / "checkpoint"


def checkpoints_at(location: str, trial: str) -> Folder:
    """Return the checkpoint folder of a trial by its path or URI; nothing is written once its run folder is gone."""
    run = Folder.at(location)
    for _ in ("checkpoint", trial, "trials"):
        run = Folder.at(run.parent)
    return checkpoint_folder(run.requiring(EXPERIMENT), trial)


def read_state(folder: Folder, state: RunState | None = None) -> RunState:
    """Return the state of the run in a folder.

    Args:
        folder: The run folder.
        state: State without events to fill; None for a new one of the experiment in experiment.yaml.

    Raises:
        RunFolderError: A file is damaged, or of another version.
    """
    state = state or RunState(read_run(folder))
    results: dict[str, deque[TrialResult]] = defaultdict(deque)
    for result in read_results(folder):
        results[result.trial].append(result)
    for event in read_lines(folder, "events.jsonl"):
        state.apply(event)  # pyright: ignore[reportArgumentType] (a line that `RunJournal.note` wrote)
        if event["event"] in STATUSES and results[event["trial"]]:
            state.end(results[event["trial"]].popleft())
    for late in results.values():  # a kill came between a trial's result and the event of its end
        for result in late:
            state.end(result)
    for trial, progress in state.progress.items():
        if progress.attempts and progress.result is None:
            progress.replace_epochs(read_epochs(folder, trial))
    state.suspend()
    return state


def read_epochs(folder: Folder, trial: str) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl of a trial, one for each epoch, in order."""
    return list(read_lines(trial_folder(folder, trial), "metrics.jsonl"))


def read_predictions(folder: Folder, trial: str) -> Predictions | None:
    """Return what a trial's network says about each test image; None for a trial that did not finish."""
    there = trial_folder(folder, trial)
    return Predictions.from_bytes(there.read(FILE)) if there.exists(FILE) else None


def open_run(run: str, *, out: str) -> Folder:
    """Return the run folder that `run` means: a path, a URI, or a name under `out`.

    Raises:
        RunFolderError: There is none.
    """
    under_out = Folder.at(out) / run
    if "://" not in run and under_out.exists("experiment.yaml"):
        return under_out
    folder = Folder.at(run)
    if folder.exists("experiment.yaml"):
        return folder
    known = list_runs(out)
    hint = f"choose one of {', '.join(known)}" if known else "there are no runs yet"
    raise RunFolderError(f"there is no run {run!r} under {out}, and no run folder at that path; {hint}")


def list_runs(out: str) -> list[str]:
    """Return the names of the runs under a folder or URI.

    Raises:
        RunFolderError: It cannot be listed.
    """
    folder = Folder.at(out)
    try:
        return [name for name in folder.names() if (folder / name).exists("experiment.yaml")]
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be listed ({error}); give the folder that holds the runs") from error
