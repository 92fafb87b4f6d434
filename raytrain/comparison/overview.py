"""The runs of a folder, a line for each: what was run, how far it is, which trial is chosen, and how large it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raytrain.analysis.ranking import rank
from raytrain.analysis.record import RunRecord, chosen_trial_of, read_record
from raytrain.errors import RunFolderError, StorageError
from raytrain.provenance.manifest import NAME as MANIFEST
from raytrain.provenance.manifest import read_manifest
from raytrain.runs.removal import size_of
from raytrain.runs.writing.lock import can_lock, is_locked
from raytrain.storage.folder import Folder
from raytrain.user_code.reference import without_digest

RunCondition = Literal["running", "unfinished", "finished", "partly failed", "failed", "damaged"]
"""Where a run is: a command works on it; a trial has not ended; all have; some or all failed or diverged; a file of it
cannot be read."""


@dataclass(frozen=True)
class RunSummary:
    """A run in one line.

    Attributes:
        run: Name of the run.
        state: Where it is.
        bytes: Size of the run folder in bytes.
        started: Time at which its first command began, in ISO 8601; None where that is not on record.
        dataset: Data sets of its recipes.
        trials: Number of trials.
        finished: Number of trials that have finished.
        chosen: Id of the chosen trial; None while no trial has finished.
        val_accuracy: Mean validation accuracy of the chosen configuration, a fraction in [0, 1].
        test_accuracy: Mean test accuracy of the chosen configuration, a fraction in [0, 1].
        error: What is damaged; None where nothing is.
    """

    run: str
    state: RunCondition
    bytes: int
    started: str | None = None
    dataset: tuple[str, ...] = ()
    trials: int = 0
    finished: int = 0
    chosen: str | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """Return its values by name, for a file; several data sets are joined by "+"."""
        names = ("run", "started", "dataset", "trials", "finished", "chosen", "val_accuracy", "test_accuracy")
        row = {name: getattr(self, name) for name in (*names, "bytes", "state", "error")}
        return row | {"dataset": "+".join(self.dataset) or None}


def summarize(folder: Folder, *, locked: bool = False) -> RunSummary:
    """Return a run in one line. A damaged one is summed up too, so that one bad folder hides no other.

    Args:
        folder: The run folder.
        locked: Whether this process holds its lock, and so no other command works on it.

    Raises:
        StorageError: The storage does not answer.
    """
    size = size_of(folder)
    try:
        return _summary(read_record(folder), size, locked=locked)
    except StorageError:
        raise
    except RunFolderError as error:
        return RunSummary(folder.name, "damaged", size, error=str(error))


def refuse_unended(folder: Folder, *, advice: str) -> None:
    """Refuse a run that a command may work on, where there are no locks to say so: its last session has no end.

    Args:
        folder: The run folder; where it can be locked, this process holds its lock.
        advice: What to do if no command works on it, such as "add --force".

    Raises:
        RunFolderError: It is so, or the manifest cannot be read.
    """
    if can_lock(folder):
        return
    sessions = read_manifest(folder)["sessions"] if folder.exists(MANIFEST) else []
    if sessions and "ended" in sessions[-1]:
        return
    raise RunFolderError(
        f"{folder} lies where nothing can be locked, and the last command that worked on it has no end on record: it "
        f"may still run. If it was killed, {advice}"
    )


def _summary(record: RunRecord, size: int, *, locked: bool) -> RunSummary:
    results = record.listed
    ranking = rank(results, {})  # validation chooses: the predictions of every trial need not be read for it
    if ranking.chosen is None:
        ranking = record.ranking
    chosen = chosen_trial_of(ranking)
    standing = next((one for one in ranking.standings if chosen in one.results), None)
    begun = any(event["event"] == "started" for event in record.events)
    manifest = record.manifest if begun or record.folder.exists(MANIFEST) else {}  # it comes before the first trial
    sessions = manifest.get("sessions", [])
    return RunSummary(
        run=record.name,
        state=_condition(record, sessions[-1] if sessions else None, locked=locked),
        bytes=size,
        started=sessions[0]["started"] if sessions else None,
        dataset=tuple(dict.fromkeys(without_digest(str(one.recipe["dataset"])) for one in results)),
        trials=len(results),
        finished=sum(one.status == "finished" for one in results),
        chosen=chosen.trial if chosen else None,
        val_accuracy=standing.val_accuracy if standing else None,
        test_accuracy=standing.test_accuracy if standing else None,
    )


def _condition(record: RunRecord, last_session: Mapping[str, Any] | None, *, locked: bool) -> RunCondition:
    statuses = [one.status for one in record.listed]
    killed = last_session is not None and "ended" not in last_session  # perhaps between two stages
    if not locked and is_locked(record.folder):
        return "running"
    if killed or "unfinished" in statuses:
        return "unfinished"
    bad = sum(status in {"failed", "diverged"} for status in statuses)
    if not bad:
        return "finished"
    return "failed" if bad == len(statuses) else "partly failed"
