"""A damaged run folder put in order: what is sound stays, and what checkpoints can give again is taken from them.

Every file that is changed is kept beside the new one, with `.damaged` after its name. What cannot be rebuilt is left
out with a warning: the trial is then trained again by the command that continues the run.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from raytrain.errors import RunFolderError, counted
from raytrain.metrics.epoch import EpochMetrics
from raytrain.metrics.predictions import FILE as PREDICTIONS
from raytrain.provenance.manifest import NAME, read_manifest
from raytrain.runs.checks import check_epoch, check_event, check_result
from raytrain.runs.damage import Damage, warn, warned_together
from raytrain.runs.events import STATUSES
from raytrain.runs.folder import EXPERIMENT, read_state, refuse_links, refuse_remains, with_lost_events
from raytrain.runs.results import TrialResult, check_recipe, read_results
from raytrain.runs.trial_files import METRICS, checkpoint_folder, read_predictions, trial_folder
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, read_whole

log = logging.getLogger(__name__)

Row = dict[str, Any]


def repair(folder: Folder) -> None:
    """Put the files of a run folder in order; trials whose results are lost, or must be measured again, have none then.

    Args:
        folder: The run folder, locked; its experiment.yaml can be read if it is there.

    Raises:
        RunFolderError: There is no run in it, its experiment.yaml is missing, or a link leads out of it.
        StorageError: It cannot be written.
    """
    if not folder.exists(EXPERIMENT):
        refuse_remains(folder)
        raise RunFolderError(
            f"there is no run in {folder} that could be repaired; check the name and the folder of the run, or begin "
            "one with mode='resume'"
        )
    refuse_links(folder)
    with warned_together():
        _repair(folder)


def _repair(folder: Folder) -> None:
    results = _sound(folder, "trials.jsonl", _check_result)
    events = _sound(folder, "events.jsonl", check_event)
    ends = Counter(row["trial"] for row in results)
    kept: list[Row] = []
    for event in events:
        if event["event"] in STATUSES:
            if not ends[event["trial"]]:
                continue  # its result is lost, so it has not ended
            ends[event["trial"]] -= 1
        kept.append(event)
    newest = {result.trial: result for result in read_results(folder)}
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for trial in sorted(with_lost_events(kept, newest.values())):
        then = "perhaps decisions of ASHA are among them"
        alone = f"{folder}: events of {trial} are lost, {then}; its result is there"
        warn(Damage(alone, f"{folder}: events are lost of", trial, "its result is there", then))
        kept.append({"time": now, "event": "events lost", "trial": trial})
    _rewrite(folder, "events.jsonl", kept, why="events or results of some trials are lost")
    _repair_manifest(folder)
    for result in newest.values():
        _repair_epochs(folder, result)
    digests = read_state(folder).digests()
    again = {
        trial
        for trial, result in newest.items()
        if result.status == "finished"
        and read_predictions(folder, result, digest=digests.get(trial)) is None
        and _measurable(folder, result)
    }
    if again:
        for trial in again:
            _set_aside(trial_folder(folder, trial), PREDICTIONS, why="is damaged, and is measured again")
        are = "1 trial is" if len(again) == 1 else f"{len(again):,} trials are"
        log.info("%s measured again, from the checkpoint of the last epoch", are)
        why = "the predictions of some trials are lost"
        _rewrite(folder, "trials.jsonl", [row for row in results if row["trial"] not in again], why=why)
        ended = [row for row in kept if row["event"] in STATUSES and row["trial"] in again]
        _rewrite(folder, "events.jsonl", [row for row in kept if row not in ended], why=why)


def _check_result(line: object) -> None:
    check_result(line)
    check_recipe(line)


def _sound(folder: Folder, name: str, check: Callable[[object], None]) -> list[Row]:
    """Return the sound lines of a file, and leave only them in it."""
    if not folder.exists(name):
        return []
    try:
        lines = [line for line in read_whole(folder, name).split(b"\n") if line]
    except RunFolderError:
        lines = [b""]
    rows: list[Row] = []
    before = b""
    for line in lines:
        try:
            row = json.loads(line)
            check(row)
        except (ValueError, RecursionError):
            continue
        if line != before:
            rows.append(row)
        before = line
    lost = len(lines) - len(rows)
    are = "is" if lost == 1 else "are"
    _rewrite(folder, name, rows, why=f"{lost:,} of {counted(len(lines), 'line')} {are} damaged and left out")
    return rows


def _rewrite(folder: Folder, name: str, rows: list[Row], *, why: str) -> None:
    content = b"".join(map(as_line, rows))
    try:
        if (read_whole(folder, name) if folder.exists(name) else b"") == content:
            return
    except RunFolderError:
        pass
    _set_aside(folder, name, why=why)
    folder.write(name, content)


def _set_aside(folder: Folder, name: str, *, why: str) -> None:
    """Keep a file, or what is in its place, under another name."""
    if not folder.exists(name):
        return
    taken = {*folder.names()}
    aside = next(one for n in range(1000) if (one := f"{name}.damaged{n or ''}") not in taken)
    then = f"as it was it is kept as {aside}"
    run = str(folder).partition("/trials/")[0]
    warn(Damage(f"{folder}/{name}: {why}; {then}", f"{run}: {name} is made anew in", folder.name, why, then))
    if folder.local_path:
        (folder.local_path / name).rename(folder.local_path / aside)
    else:
        folder.write(aside, folder.read(name))
        folder.delete(name)


def _repair_manifest(folder: Folder) -> None:
    try:
        if folder.exists(NAME):
            read_manifest(folder)
    except RunFolderError as error:
        _set_aside(folder, NAME, why=f"{error}".splitlines()[0].removeprefix(f"{folder}/{NAME}: "))


def _repair_epochs(folder: Folder, result: TrialResult) -> None:
    """Take the epochs of a trial that has ended from its checkpoint, unless all are there."""
    there = trial_folder(folder, result.trial)
    try:
        lines = read_whole(there, METRICS).splitlines() if there.exists(METRICS) else []
        rows = [json.loads(line) for line in lines]
        for row in rows:
            check_epoch(row)
        if [row["epoch"] for row in rows] == list(range(1, result.epochs + 1)):
            return
    except (RunFolderError, ValueError, RecursionError):
        pass
    history = _history(checkpoint_folder(folder, result.trial))
    if len(history) < result.epochs:
        why = f"the checkpoint has {counted(len(history), 'epoch')}"
        of, then = f"{folder}: {METRICS} cannot be rebuilt in", "their curves are left out"
        warn(Damage(f"{there}/{METRICS}: cannot be rebuilt: {why}", of, result.trial, why, then))
        return
    rows = [EpochMetrics.from_dict(epoch).row() for epoch in history[: result.epochs]]
    _rewrite(there, METRICS, rows, why="some epochs are missing or damaged, and are taken from the checkpoint")


def _measurable(folder: Folder, result: TrialResult) -> bool:
    there = checkpoint_folder(folder, result.trial)
    if len(_history(there)) >= result.epochs:
        return True
    then = "predictions cannot be made again"
    why = "has no checkpoint of the last epoch"
    warn(
        Damage(f"{there}: {why}, so its {then}", f"{folder}: {then} in", result.trial, why, "their rows have no tests")
    )
    return False


def _history(checkpoints: Folder) -> list[Row]:
    from raytrain.training.checkpoint import newest_history  # brings PyTorch, which a check of an experiment needs not

    return newest_history(checkpoints)
