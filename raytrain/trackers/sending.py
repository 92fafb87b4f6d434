"""A run sent to a tracker, after the fact or at its end: what the tracker has already is not sent again."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.analysis.record import RunRecord
from raytrain.errors import RunFolderError
from raytrain.report import REPORT
from raytrain.storage.json_lines import MAX_BYTES
from raytrain.trackers.content import Attachment, common_tags, contents_of
from raytrain.trackers.tracker import Tracker

README = "README.md"
"""Name of the ranked table in the run folder."""


@dataclass(frozen=True)
class Sent:
    """What became of a run's trials at a tracker.

    Attributes:
        run: Name of the run.
        where: The tracker's address.
        new: Number of trials that the tracker did not have.
        updated: Number of those that it had, and of which it was told more.
        unchanged: Number of those that it had as they are.
        chosen: Id of the chosen trial; None while there is none.
        files: Names of the files that the chosen trial has there.
    """

    run: str
    where: str
    new: int
    updated: int
    unchanged: int
    chosen: str | None
    files: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"schema_version": 1, **vars(self), "files": list(self.files)}


def send(record: RunRecord, tracker: Tracker, *, models: bool = False) -> Sent:
    """Tell a tracker of every trial of a run that has started; the chosen one gets the run's files.

    Trials that the run does not list any more, and that the tracker has, are said not to be chosen.

    Args:
        record: Record of the run.
        tracker: The tracker.
        models: Whether the weights of the chosen trial are sent too.

    Raises:
        TrackerError: It does not answer, or refuses.
        RunFolderError: A file of the run cannot be read.
    """
    chosen = record.chosen_trial.trial if record.chosen_trial else None
    files = list(attachments_of(record, models=models)) if chosen else []
    done = Counter(tracker.write(content, files if content.trial == chosen else ()) for content in contents_of(record))
    for trial in sorted(record.state.unlisted):
        tracker.disown(common_tags(record.folder), trial)
    tracker.close()
    names = tuple(one.name for one in files)
    return Sent(record.name, tracker.where, done["new"], done["updated"], done["unchanged"], chosen, names)


def attachments_of(record: RunRecord, *, models: bool) -> Iterator[Attachment]:
    """Yield the files that a tracker keeps beside the chosen trial: the report, the table, the model if asked for.

    Raises:
        RunFolderError: One cannot be read, or there is no checkpoint.
    """
    for name in (REPORT, README):
        if record.folder.exists(name):
            try:
                yield Attachment(name, record.folder.read(name, most=MAX_BYTES))
            except OSError as error:
                raise RunFolderError(f"{record.folder}/{name}: cannot be read: {error}") from error
    if not models or record.chosen_trial is None:
        return
    from raytrain.inference.export import BEST, export_trial  # PyTorch
    from raytrain.inference.model_file import description_of, write_model

    description, weights = export_trial(record, record.chosen_trial, which=BEST)
    with tempfile.TemporaryDirectory(prefix="raytrain-model-") as scratch:
        path = Path(scratch) / f"{record.name}-{record.chosen_trial.digest}.safetensors"
        write_model(path, description, weights, force=True)
        for one in (path, description_of(path)):
            yield Attachment(one.name, one.read_bytes())
