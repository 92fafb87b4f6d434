"""A run folder as it lies on disk or in object storage: found by its name, and read back.

Lines and results that are damaged are an error. The epochs and the predictions of a trial are not: without them its
result still stands, so they are left out, and a warning says so.
"""

import contextlib
import hashlib
import logging
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raytrain.errors import RunFolderError, StorageError, did_you_mean
from raytrain.experiment.reading import read_run
from raytrain.metrics.predictions import FILE, Predictions
from raytrain.runs.checks import ADVICE, check_epoch, check_event, damaged
from raytrain.runs.events import STATUSES
from raytrain.runs.results import TrialResult, read_results
from raytrain.runs.state import RunState
from raytrain.runs.user_code import remember_parameters
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines, read_whole
from raytrain.storage.retry import passes

log = logging.getLogger(__name__)

EXPERIMENT = "experiment.yaml"
"""Name of the file that makes a folder a run folder."""
METRICS = "metrics.jsonl"
"""Name of the file in a trial's folder with a line for each epoch."""
WRITTEN = frozenset({"events.jsonl", "trials.jsonl", "manifest.json", "trials", "trials.parquet", "metrics.parquet"})
"""Names of what a run writes into its folder, beside EXPERIMENT and what is made for readers."""
_REPAIR = "to rebuild it: raytrain resume RUN --repair"
_LATER = "the epochs from there on are taken from the checkpoint, or trained again"


def trial_folder(run: Folder, trial: str) -> Folder:
    """Return the folder of a trial, by its id, in a run folder."""
    return run / "trials" / trial


def checkpoint_folder(run: Folder, trial: str) -> Folder:
    """Return the checkpoint folder of a trial, by its id, in a run folder."""
    return trial_folder(run, trial) / "checkpoint"


def checkpoints_at(location: str, trial: str) -> Folder:
    """Return the checkpoint folder of a trial by its path or URI; nothing is written once its run folder is gone."""
    checkpoints = Folder.at(location)
    if checkpoints.local_path is None:
        return checkpoints  # object storage has no moves, and to open it takes a while
    return checkpoint_folder(run_of(checkpoints).requiring(EXPERIMENT), trial)


def run_of(checkpoints: Folder) -> Folder:
    """Return the run folder that the checkpoint folder of a trial is in."""
    run = checkpoints
    for _ in ("checkpoint", "trial", "trials"):
        run = Folder.at(run.parent)
    return run


def read_state(folder: Folder, state: RunState | None = None) -> RunState:
    """Return the state of the run in a folder.

    Args:
        folder: The run folder.
        state: State without events to fill; None for a new one of the experiment in experiment.yaml.

    Raises:
        RunFolderError: A file is damaged, or of another version.
    """
    if state is None:
        remember_parameters(folder)
        state = RunState(read_run(folder))
    # before trials.jsonl, in which a result is written before the event of its end: else a trial that ends between the
    # two would lack its result
    events = list(read_lines(folder, "events.jsonl", check=check_event, advice=ADVICE))
    results: dict[str, deque[TrialResult]] = defaultdict(deque)
    for result in read_results(folder):
        results[result.trial].append(result)
    lost: dict[str, str] = {}
    for event in events:
        try:
            state.apply(event)  # pyright: ignore[reportArgumentType] (a line that `RunJournal.note` wrote)
        except ValueError as error:  # the recipe of a trial that was added
            raise damaged(f"{folder}/events.jsonl", error) from error
        if event["event"] in STATUSES:
            if results[event["trial"]]:
                state.end(results[event["trial"]].popleft())
            else:
                lost[event["trial"]] = event["event"]
    late = [result for of_trial in results.values() for result in of_trial]  # a kill came before the event of its end
    missed = with_lost_events(events, late)
    if missed:  # the run may have gone on since the events were read
        missed = with_lost_events(read_lines(folder, "events.jsonl", check=check_event, advice=ADVICE), late)
    for result in late:
        if result.trial in missed and result.trial in state.progress:
            why = "is damaged: events of %s are missing, which has %s; decisions of ASHA may be lost with them"
            log.warning("%s/events.jsonl: " + why, folder, result.trial, result.status)  # noqa: G003
        state.end(result)
    for trial, how in lost.items():
        if trial in state.progress and state.progress[trial].result is None:
            why = "is damaged: the result of %s is missing, which has %s; it is to go on from its checkpoint"
            log.warning("%s/trials.jsonl: " + why, folder, trial, how)  # noqa: G003
    for trial, progress in state.progress.items():
        if progress.attempts and progress.result is None:
            progress.replace_epochs(read_epochs(folder, trial))
    state.suspend()
    return state


def with_lost_events(events: Iterable[Mapping[str, Any]], results: Iterable[TrialResult]) -> set[str]:
    """Return the trials among `results` whose events before the end are missing, and of which no repair has said so.

    Args:
        events: Lines of events.jsonl.
        results: Results of trials whose event of the end is missing. A kill may lose that one, and no other.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for event in events:
        seen[event["event"]].add(event.get("trial", ""))
        if event["event"] == "rung" and event["stop"]:
            seen["stop"].add(event["trial"])
    return {
        result.trial
        for result in results
        if result.trial not in seen["events lost"]
        and (result.trial not in seen["started"] or (result.status == "stopped" and result.trial not in seen["stop"]))
    }


def read_epochs(folder: Folder, trial: str) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl of a trial, one for each epoch, in order, up to a damaged one."""
    rows: list[dict[str, Any]] = []
    there = trial_folder(folder, trial)
    try:
        for row in read_lines(there, METRICS, check=check_epoch):
            if row["epoch"] != len(rows) + 1:
                log.warning("%s/%s: is damaged: epoch %d is missing; %s", there, METRICS, len(rows) + 1, _LATER)
                break
            rows.append(row)
    except StorageError:
        raise
    except RunFolderError as error:
        log.warning("%s; %s", error, _LATER)
    return rows


def read_all_epochs(folder: Folder, result: TrialResult) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl of a trial that has ended; none, with a warning, unless all are there."""
    rows = read_epochs(folder, result.trial)
    if len(rows) == result.epochs:
        return rows
    there = f"{trial_folder(folder, result.trial)}/{METRICS}"
    log.warning("%s: has %d of %d epochs, and is left out; %s", there, len(rows), result.epochs, _REPAIR)
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
        log.warning("%s/%s: %s, and is left out; %s", there, FILE, reason, _REPAIR)
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


def open_run(run: str, *, out: str) -> Folder:
    """Return the run folder that `run` means: a path, a URI, or a name under `out`.

    Raises:
        RunFolderError: There is none.
    """
    under_out, folder = Folder.at(out) / run, Folder.at(run)
    candidates = [folder] if "://" in run else [under_out, folder]
    for found in candidates:
        if _exists(found):
            return found
    for found in candidates:
        with contextlib.suppress(OSError):  # a file, or a name that is too long
            refuse_remains(found)
    known = list_runs(out)
    listed = f"choose one of {', '.join(known)}" if known else "there are no runs yet"
    hint = did_you_mean(run, known) or listed
    raise RunFolderError(f"there is no run {run!r} under {out}, and no run folder at that path; {hint}")


def _exists(folder: Folder) -> bool:
    try:
        return folder.exists(EXPERIMENT)
    except StorageError:
        raise
    except OSError as error:
        if passes(error):
            raise
        return False  # such as a name that is too long


def refuse_remains(folder: Folder) -> None:
    """Refuse a folder with what a run has written, where nothing says which experiment it was.

    Raises:
        RunFolderError: The folder holds what a run has written, and no experiment.yaml.
    """
    if remains := sorted(WRITTEN & {*folder.names()}):
        raise RunFolderError(
            f"{folder}/{EXPERIMENT}: is missing, which says what was run; {', '.join(remains)} are there.\n"
            f"Put a copy of the experiment file there, with `name: {folder.name}` in it; or choose another --name."
        )


def refuse_links(folder: Folder) -> None:
    """Refuse to write into a run folder from which a link leads out; somebody else may have put it there.

    The run folder itself may be a link. In object storage there are none.

    Raises:
        RunFolderError: There is one; the message names it.
    """
    path = folder.local_path
    if path is None:
        return
    whole = os.path.realpath(path)
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            one = Path(parent, name)
            # realpath: Path.resolve raises RuntimeError where a link names itself
            if one.is_symlink() and not Path(target := os.path.realpath(one)).is_relative_to(whole):
                raise RunFolderError(
                    f"{one} is a link to {target}, out of the run folder, and raytrain would write there; remove the "
                    "link, or put what it names into its place"
                )


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
