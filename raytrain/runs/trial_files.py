"""The files of one trial in a run folder, read back.

Epochs and predictions that are damaged are no error: without them the trial's result still stands, so they are left
out, and a warning says so.
"""

import hashlib
import re
from typing import Any

from raytrain.errors import RunFolderError, StorageError, counted
from raytrain.metrics.predictions import FILE, Predictions
from raytrain.runs.checks import check_epoch
from raytrain.runs.damage import Damage, warn
from raytrain.runs.results import TrialResult
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines, read_whole

METRICS = "metrics.jsonl"
"""Name of the file in a trial's folder with a line for each epoch."""
_REPAIR = "to rebuild it: raytrain resume RUN --repair"
_LATER = "the epochs from there on are taken from the checkpoint, or trained again"


def trial_folder(run: Folder, trial: str) -> Folder:
    """Return the folder of a trial, by its id, in a run folder."""
    return run / "trials" / trial


def checkpoint_folder(run: Folder, trial: str) -> Folder:
    """Return the checkpoint folder of a trial, by its id, in a run folder."""
    return trial_folder(run, trial) / "checkpoint"


def run_of(checkpoints: Folder) -> Folder:
    """Return the run folder that the checkpoint folder of a trial is in."""
    run = checkpoints
    for _ in ("checkpoint", "trial", "trials"):
        run = Folder.at(run.parent)
    return run


def read_epochs(folder: Folder, trial: str) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl of a trial, one for each epoch, in order, up to a damaged one."""
    rows: list[dict[str, Any]] = []
    there = trial_folder(folder, trial)
    try:
        for row in read_lines(there, METRICS, check=check_epoch):
            if row["epoch"] != len(rows) + 1:
                _warn_of_epochs(folder, trial, f": is damaged: epoch {len(rows) + 1} is missing")
                break
            rows.append(row)
    except StorageError:
        raise
    except RunFolderError as error:
        _warn_of_epochs(folder, trial, str(error).removeprefix(f"{there}/{METRICS}"))
    return rows


def read_all_epochs(folder: Folder, result: TrialResult) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl of a trial that has ended; none, with a warning, unless all are there."""
    rows = read_epochs(folder, result.trial)
    if len(rows) == result.epochs:
        return rows
    _warn_of_loss(folder, result.trial, METRICS, f"has {len(rows)} of {counted(result.epochs, 'epoch')}")
    return []


def read_predictions(
    folder: Folder, result: TrialResult, *, digest: str | None = None, softmax: bool = False
) -> Predictions | None:
    """Return what the network of a finished trial says about each test image; None, with a warning, where that is lost.

    Args:
        folder: The run folder.
        result: Result of the trial.
        digest: SHA-256 of the file, as the end of the trial is on record; None where an older version wrote it.
        softmax: Whether to read the probabilities of all classes too.
    """
    there = trial_folder(folder, result.trial)
    try:
        return _whole_predictions(there, result, digest, softmax=softmax)
    except StorageError:
        raise
    except RunFolderError as error:
        reason = str(error).removeprefix(f"{there}/{FILE}: ").removeprefix(f"{FILE} ")
        _warn_of_loss(folder, result.trial, FILE, reason)
        return None


def _whole_predictions(there: Folder, result: TrialResult, digest: str | None, *, softmax: bool) -> Predictions:
    if not there.exists(FILE):
        raise RunFolderError("is missing")
    content = read_whole(there, FILE)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise RunFolderError("is damaged: it is not the file that the trial wrote")
    seen = Predictions.from_bytes(content, softmax=softmax)
    known = result.test_accuracy
    if digest is None and known is not None and abs(seen.accuracy - known) * len(seen.labels) > 1:
        raise RunFolderError(f"is damaged: it has an accuracy of {seen.accuracy:.4f}, the trial {known:.4f}")
    return seen


def _warn_of_epochs(folder: Folder, trial: str, why: str) -> None:
    """Warn of damage, which comes after the file's name: ": is damaged", or ":3: is damaged" of its third line."""
    line = re.sub(r"^:(\d+)", r"line \1", why).removeprefix(": ")
    alone = f"{trial_folder(folder, trial)}/{METRICS}{why}; {_LATER}"
    warn(Damage(alone, f"{folder}: {METRICS} is damaged in", trial, line, _LATER))


def _warn_of_loss(folder: Folder, trial: str, file: str, why: str) -> None:
    alone = f"{trial_folder(folder, trial)}/{file}: {why}, and is left out; {_REPAIR}"
    warn(Damage(alone, f"{folder}: {file} is left out in", trial, why, _REPAIR))
