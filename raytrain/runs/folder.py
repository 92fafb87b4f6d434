"""A run folder as it lies on disk or in object storage: found by its name, and read back.

Lines and results that are damaged are an error.
"""

import contextlib
import logging
import os
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytrain.errors import PreflightError, RunFolderError, StorageError, did_you_mean, first_line
from raytrain.experiment.reading import STORED_HEAD, read_run
from raytrain.runs.checks import ADVICE, check_event, damaged
from raytrain.runs.damage import Damage, warn, warned_together
from raytrain.runs.events import STATUSES
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult, read_results
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import checkpoint_folder, read_epochs, run_of
from raytrain.runs.user_code import remember_parameters
from raytrain.storage.collection import without_collection
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

log = logging.getLogger(__name__)

EXPERIMENT = "experiment.yaml"
"""Name of the file that makes a folder a run folder."""
WRITTEN = frozenset({"events.jsonl", "trials.jsonl", "manifest.json", "trials", "trials.parquet", "metrics.parquet"})
"""Names of what a run writes into its folder, beside EXPERIMENT and what is made for readers."""


def checkpoints_at(location: str, trial: str) -> Folder:
    """Return the checkpoint folder of a trial by its path or URI; nothing is written once its run folder is gone."""
    checkpoints = Folder.at(location)
    if checkpoints.local_path is None:
        return checkpoints  # object storage has no moves, and to open it takes a while
    return checkpoint_folder(run_of(checkpoints).requiring(EXPERIMENT), trial)


def read_state(folder: Folder, state: RunState | None = None) -> RunState:
    """Return the state of the run in a folder.

    Args:
        folder: The run folder.
        state: State without events to fill; None for a new one of the experiment in experiment.yaml.

    Raises:
        RunFolderError: A file is damaged, or of another version.
    """
    with without_collection():
        return _read_state(folder, state)


def _read_state(folder: Folder, state: RunState | None) -> RunState:
    if state is None:
        remember_parameters(folder)
        state = RunState(read_run(folder))
    # before trials.jsonl, in which a result is written before the event of its end: else a trial that ends between the
    # two would lack its result
    events = list(read_lines(folder, "events.jsonl", check=check_event, advice=ADVICE))
    added = {event["trial"] for event in events if event["event"] == "added"}
    _keep_ids(state, {event["trial"] for event in events if event["event"] == "started"} - added)
    results: dict[str, deque[TrialResult]] = defaultdict(deque)
    listed = {trial: progress.trial.recipe for trial, progress in state.progress.items()}
    for result in read_results(folder, listed=listed):
        results[result.trial].append(result)
    lost: dict[str, str] = {}
    for event in events:
        try:
            state.apply(event)  # pyright: ignore[reportArgumentType] (a line that `RunJournal.note` wrote)
        except ValueError as error:  # the recipe of a trial that was added
            raise damaged(f"{folder}/events.jsonl", error) from error
        if event["event"] in STATUSES:
            if of_trial := results[event["trial"]]:
                # a kill may have kept the event of an earlier end from coming
                for _ in range(next((n for n, one in enumerate(of_trial) if one.status == event["event"]), 0)):
                    of_trial.popleft()
                state.end(of_trial.popleft())
            else:
                lost[event["trial"]] = event["event"]
    late = [result for of_trial in results.values() for result in of_trial]  # a kill came before the event of its end
    missed = with_lost_events(events, late)
    if missed:  # the run may have gone on since the events were read
        missed = with_lost_events(read_lines(folder, "events.jsonl", check=check_event, advice=ADVICE), late)
    state.late = [result for result in late if result.trial not in missed]
    with warned_together():
        for result in late:
            if result.trial in missed and result.trial in state.progress:
                warn(_without_events(folder, result))
            state.end(result)
        for trial, how in lost.items():
            if trial in state.progress and state.progress[trial].result is None:
                warn(_without_result(folder, trial, how))
        for trial, progress in state.progress.items():
            if progress.attempts and progress.result is None:
                progress.replace_epochs(read_epochs(folder, trial))
    state.suspend()
    return state


def _keep_ids(state: RunState, started: Set[str]) -> None:
    """Have a trial be the combination that was started, where that is another one that trains the same.

    Args:
        state: State without events.
        started: Ids of the trials that were started, and that the experiment listed then.
    """
    if state.progress.keys() >= started:
        return
    others = state.experiment.alternatives()
    kept = {
        trial_id: next((one for one in others.get(trial_id, ()) if one.id in started), progress.trial)
        if trial_id not in started
        else progress.trial
        for trial_id, progress in state.progress.items()
    }
    state.progress = {trial.id: TrialProgress(trial) for trial in kept.values()}


def _without_events(folder: Folder, result: TrialResult) -> Damage:
    of, then = f"{folder}/events.jsonl: is damaged: events", "decisions of ASHA may be lost with them"
    alone = f"{of} of {result.trial} are missing, which has {result.status}; {then}"
    return Damage(alone, f"{of} are missing of", result.trial, result.status, then)


def _without_result(folder: Folder, trial: str, how: str) -> Damage:
    of = f"{folder}/trials.jsonl: is damaged: the result"
    alone = f"{of} of {trial} is missing, which has {how}; it is to go on from its checkpoint"
    return Damage(alone, f"{of}s are missing of", trial, how, "they are to go on from their checkpoints")


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


def open_runs(runs: Iterable[str], *, out: str) -> dict[str, Folder]:
    """Return run folders by what they were called; one that is named twice is there once, with a warning.

    Args:
        runs: Names, folders or URIs of runs.
        out: Folder or URI of runs.

    Raises:
        RunFolderError: One is not there.
    """
    found: dict[str, Folder] = {}
    for run in dict.fromkeys(runs):
        folder = open_run(run, out=out)
        before = next((name for name, other in found.items() if is_same_folder(folder, other)), None)
        if before is None:
            found[run] = folder
        else:
            log.warning("%s is left out: it is the run %s, which is named already", run, before)
    return found


def _exists(folder: Folder) -> bool:
    try:
        return folder.exists(EXPERIMENT)
    except StorageError:
        raise
    except OSError:
        return False  # such as a name that is too long


def is_same_folder(one: Folder, other: Folder) -> bool:
    """Return whether two folders are one, by whichever links they are reached."""
    if one.local_path and other.local_path:
        return one.local_path.resolve() == other.local_path.resolve()
    return str(one) == str(other)


def resolved(folder: Folder) -> Folder:
    """Return a folder by its path without links and `..`; one in object storage as it is."""
    return Folder.at(folder.local_path.resolve()) if folder.local_path else folder


def refuse_remains(folder: Folder) -> None:
    """Refuse a folder with what a run has written, where nothing says which experiment it was.

    Raises:
        RunFolderError: The folder holds what a run has written, and no experiment.yaml.
    """
    if remains := sorted(WRITTEN & {*folder.names()}):
        raise RunFolderError(
            f"{folder}/{EXPERIMENT}: is missing, which says what was run; {', '.join(remains)} are there.\n"
            f"Put a copy of the experiment file there, with `name: {folder.name}` in it; or give this "
            "run another name (--name, or `name` in its file)."
        )


def is_from_a_run(folder: Folder) -> bool:
    """Return whether a run has written the experiment.yaml of a folder, or something beside it."""
    return bool(WRITTEN & {*folder.names()}) or folder.read(EXPERIMENT).startswith(STORED_HEAD.encode())


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


def list_remains(out: str) -> list[str]:
    """Return, for each folder under a folder or URI in which only the experiment.yaml of a run is missing, what is so.

    Raises:
        RunFolderError: It cannot be listed.
    """
    found: list[str] = []
    runs = {*list_runs(out)}
    for name in Folder.at(out).names():
        if name in runs:
            continue
        try:
            refuse_remains(Folder.at(out) / name)
        except RunFolderError as error:
            found.append(str(error))
        except OSError:  # a file
            continue
    return found


@contextmanager
def storage_errors_explained(folder: Folder) -> Generator[None]:
    """Raise PreflightError where a run folder cannot be read or written."""
    try:
        yield
    except OSError as error:
        raise PreflightError(f"{folder} cannot be written ({first_line(error)}); choose another --out") from error
