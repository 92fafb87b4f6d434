"""Trials in Trackio: a project for each run, a run of Trackio for each trial, in its files on this machine.

Rows are written by Trackio's own writer of its SQLite file, which `trackio.Run` uses too. `trackio.Run` itself would
print to standard output, give each epoch the time of sending, and know a trial by a name that is not unique.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raytrain.errors import ExperimentError, TrackerError
from raytrain.trackers.content import CHOSEN, CURVE, Attachment, TrialContent
from raytrain.trackers.owner import RUN, RUN_ID, Owners
from raytrain.trackers.tracker import Written, first_line, identities
from raytrain.training.trial_id import trial_digest

_FOLDER = "TRACKIO_DIR"
"""Environment variable that Trackio reads when it is imported."""
_EPOCHS, _CURVE, _STAMP, _FILES = "raytrain.epochs", "raytrain.curve", "raytrain.stamp", "raytrain.files"


class TrackioTracker:
    """A project of Trackio.

    The id of a trial's run is made of the names of the project and of the run, and of the trial's digest, so the same
    trial always is the same run. What was told is in the run's configuration. Where Trackio has other epochs than the
    trial, the trial was trained again and gets a new id; so it does where they are of another run of this name.
    """

    def __init__(self, uri: str | None, *, project: str) -> None:
        """Find Trackio's folder.

        Args:
            uri: The folder; None for that of TRACKIO_DIR, or Trackio's own default.
            project: Name of the project.

        Raises:
            ExperimentError: The folder is an address of a server, or the name of the project is not allowed.
            TrackerError: Trackio cannot be loaded, or is in use with another folder.
        """
        if uri and "://" in uri:
            raise ExperimentError(
                f"raytrain writes Trackio's files on this machine, and {uri!r} is an address; give a folder or "
                "nothing, and send the project on with: trackio sync"
            )
        if uri:
            os.environ[_FOLDER] = str(Path(uri).absolute())
        self.where = f"Trackio, project {project}"
        with self._answering():
            from trackio.media import get_project_media_path
            from trackio.sqlite_storage import SQLiteStorage
            from trackio.utils import TRACKIO_DIR

        self._storage: Any = SQLiteStorage
        self._media_path = get_project_media_path
        self._project = project
        self.where = f"Trackio in {TRACKIO_DIR}, project {project}"
        self._owners = Owners(self.where)
        if uri and Path(uri).absolute() != Path(TRACKIO_DIR):
            raise TrackerError(f"Trackio is in use with the folder {TRACKIO_DIR}; name {uri} in a new process")
        try:
            self._storage.validate_project_name(project)
        except ValueError as error:
            raise ExperimentError(f"{first_line(error)} Name another project with --project") from error

    def write(self, content: TrialContent, attachments: Sequence[Attachment] = ()) -> Written:
        """Tell Trackio what it does not have of a trial.

        Raises:
            TrackerError: It cannot read or write its files.
        """
        with self._answering():
            for identity, told in self._told(content.tags, content.digest):
                if content.continues(told.get(_CURVE, ""), epochs=told.get(_EPOCHS, 0)):
                    return self._add(identity, told, content, attachments)
                self._unchoose(identity, content.trial, told)
        raise AssertionError("without what was told, a trial continues it")

    def disown(self, run: Mapping[str, str], trial: str) -> None:
        """Say of a trial's runs of Trackio, if there are some, that they are not chosen.

        Raises:
            TrackerError: It cannot read or write its files.
        """
        with self._answering():
            for identity, told in self._told(run, trial_digest(trial)):
                if not told:
                    return
                self._unchoose(identity, trial, told)

    def close(self) -> None:
        """Do nothing: nothing is buffered."""

    def _told(self, run: Mapping[str, str], digest: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the ids of a trial's runs, and what each has been told; nothing where there is no such run."""
        for identity in identities(self._project, run[RUN], digest, length=32):
            told = self._storage.get_run_config(self._project, run_id=identity) or {}
            if not told or self._owners.is_same(run, told):
                yield identity, told

    def _add(
        self, identity: str, told: dict[str, Any], content: TrialContent, attachments: Sequence[Attachment]
    ) -> Written:
        """Tell a run of Trackio what it has not been told."""
        missing = [one for one in attachments if one.stamp not in told.get(_FILES, [])]
        if told.get(_STAMP) == content.stamp and not missing:
            return "unchanged"
        for one in missing:
            # the files of a project lie in one folder, also those of two runs with one name
            name = "-".join([content.run, *filter(None, [content.tags.get(RUN_ID, "")[:8]]), one.name])
            (self._media_path(project=self._project, relative_path=".") / name).write_bytes(one.content)
        files = [*told.get(_FILES, []), *(one.stamp for one in missing)]
        self._tell(identity, content, created=told.get("_Created"), files=files)
        return "updated" if told else "new"

    def _tell(self, identity: str, content: TrialContent, *, created: str | None, files: list[str]) -> None:
        """Write the rows that Trackio does not have, which it knows by their ids, and the configuration anew."""
        rows = [
            (f"{identity}-{epoch}", epoch, time_ms, {f"{CURVE}{name}": value for name, value in row.items()})
            for epoch, (row, time_ms) in enumerate(zip(content.curve, content.times_ms, strict=True), start=1)
        ]
        if content.metrics:
            digest = hashlib.sha256(json.dumps(content.metrics, sort_keys=True).encode()).hexdigest()[:8]
            final = (f"{identity}-final-{digest}", len(content.curve), content.ended_ms, dict(content.metrics))
            rows.append(final)
        rows = rows or [(f"{identity}-0", 0, content.started_ms, {})]  # without a row there is no run
        ids, steps, times_ms, metrics = zip(*rows, strict=True)
        told = {
            _EPOCHS: len(content.curve),
            _CURVE: content.curve_stamp(len(content.curve)),
            _FILES: files,
            _STAMP: content.stamp,
        }
        shown = {"_Group": content.run, "_Created": created or _moment(content.started_ms)}  # columns of Trackio's page
        self._storage.bulk_log(
            self._project,
            content.trial,
            list(metrics),
            steps=list(steps),
            timestamps=[_moment(time_ms) for time_ms in times_ms],
            log_ids=list(ids),
            config={**content.recipe, **content.tags, **told, **shown},
            run_id=identity,
        )

    def _unchoose(self, identity: str, trial: str, told: dict[str, Any]) -> None:
        if told.get(CHOSEN) != "true":
            return
        first = min(told.get(_EPOCHS, 0), 1)
        self._storage.bulk_log(  # a row that is there already, and another configuration
            self._project,
            trial,
            [{}],
            steps=[first],
            timestamps=[told["_Created"]],
            log_ids=[f"{identity}-{first}"],
            config={**told, CHOSEN: "false", _STAMP: ""},  # if it is listed again, it is told again
            run_id=identity,
        )

    @contextmanager
    def _answering(self) -> Generator[None]:
        """Raise TrackerError for whatever Trackio raises."""
        try:
            yield
        except Exception as error:  # of SQLite, of the file system, of Trackio's own
            raise TrackerError(f"{self.where}: {first_line(error)}") from error


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()
