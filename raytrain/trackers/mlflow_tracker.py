"""Trials in MLflow: an experiment for each run, a run of MLflow for each trial."""

import json
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.errors import TrackerError
from raytrain.storage.credentials import is_cut_short, shown_uri
from raytrain.trackers.content import CHOSEN, CURVE, PASSING, Attachment, TrialContent
from raytrain.trackers.owner import RUN, Owners, owner_of
from raytrain.trackers.tracker import ANSWER_S, LOCAL_ANSWER_S, Written, answering, reason_of
from raytrain.training.trial_id import trial_digest

# before MLflow is imported, and unless the user has said otherwise: with MLflow's own values, 7 tries of 120 s, a
# server that is away is noticed after minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would tell its makers how it is used
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is for results

METRICS_AT_ONCE, PARAMETERS_AT_ONCE = 1000, 100
"""Most of each that MLflow takes in one request (mlflow.utils.validation)."""
LONGEST_PARAMETER = 6000
"""Most characters of a parameter (mlflow.utils.validation)."""
_STATUS = {
    "running": "RUNNING",
    "waiting": "SCHEDULED",
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
"""Status of MLflow by that of a trial; all others are KILLED. The tag raytrain.status has the exact word."""
_EPOCHS, _CURVE, _STAMP, _FILES = "raytrain.epochs", "raytrain.curve", "raytrain.stamp", "raytrain.files"
_DIGEST, _SUPERSEDED = "raytrain.digest", "raytrain.superseded"


@dataclass
class _Known:
    """What MLflow has of a trial.

    Attributes:
        id: Id of MLflow's run.
        epochs: Number of epochs that it has.
        curve: `TrialContent.curve_stamp` of them.
        stamp: `TrialContent.stamp` of all that it has.
        files: `Attachment.stamp` of its artifacts.
        parameters: Names of its parameters.
        owner: Tags of the run that it is of.
        passing: Names of those of its tags that are in `PASSING`.
    """

    id: str
    epochs: int
    curve: str
    stamp: str
    files: list[str]
    parameters: set[str]
    owner: Mapping[str, str]
    passing: set[str]


def tracking_uri(uri: str | None) -> str:
    """Return the address of MLflow: the given one, that of MLFLOW_TRACKING_URI, or MLflow's own default.

    Raises:
        TrackerError: MLflow would read that of MLFLOW_TRACKING_URI otherwise than it is meant, and print a part of a
            password as the name of a host.
    """
    if uri:
        return uri
    import mlflow

    found = mlflow.get_tracking_uri()
    if found.lower().startswith(("http://", "https://")) and is_cut_short(found):
        raise TrackerError(
            "MLFLOW_TRACKING_URI has an @ after a /, ?, # or space that is not encoded. In a password, write %2F, %3F, "
            "%23 or %20, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; in a path, write the @ as %40"
        )
    return found


def mlflow_at(uri: str) -> str:
    """Return how messages name MLflow at an address: MLFLOW_TRACKING_URI may have a password in it."""
    return f"MLflow at {shown_uri(uri)}"


def answer_limit_s(uri: str) -> float:
    """Return the seconds in which MLflow at an address must answer first."""
    return LOCAL_ANSWER_S if uri.startswith("sqlite:") else ANSWER_S


class MlflowTracker:
    """An experiment of MLflow.

    A trial is found again by its tags `raytrain.run` and `raytrain.digest`, and by those that tell its run from others
    of its name. What was told of it is in further tags, so that only the rest is told. Where the epochs that MLflow has
    are not those of the trial, it was trained again: the old run of MLflow gets the tag `raytrain.superseded`, and the
    trial a new one. That of a trial which the run does not list any more gets the tag too.
    """

    def __init__(self, uri: str, *, experiment: str) -> None:
        """Find the experiment, or make it, and read which trials it has.

        Args:
            uri: Address of MLflow.
            experiment: Name of the experiment.

        Raises:
            TrackerError: MLflow does not answer, or refuses.
        """
        _refuse_missing_folder(uri)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # what they do to a new database is nobody's business here
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # each try would be a warning; the last one is our message
        self.where = f"{mlflow_at(uri)}, experiment {experiment}"
        with answering(self.where, reason=_reason):
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            if found is not None and found.lifecycle_stage == "deleted":
                raise TrackerError(f"{self.where}: is deleted; restore it in MLflow, or name another with --experiment")
            self._experiment: str = found.experiment_id if found else self._client.create_experiment(experiment)
            self._known: defaultdict[tuple[str | None, str | None], list[_Known]] = defaultdict(list)
            for run in self._runs():
                self._known[self._key(run.data.tags)].append(_known(run))
        self._owners = Owners(self.where)

    def write(self, content: TrialContent, attachments: Sequence[Attachment] = ()) -> Written:
        """Tell MLflow what it does not have of a trial.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        with answering(self.where, reason=_reason):
            ours = self._of(content.tags, content.digest)
            known = next((one for one in ours if content.continues(one.curve, epochs=one.epochs)), None)
            for one in ours:
                if one is not known:
                    self._supersede(one, content.digest)
            missing = [one for one in attachments if known is None or one.stamp not in known.files]
            if known and known.stamp == content.stamp and not missing:
                return "unchanged"
            done: Written = "updated" if known else "new"
            if known is None:
                known = self._create(content)
                self._known[content.run, content.digest].append(known)
            self._tell(known, content, missing)
            return done

    def disown(self, run: Mapping[str, str], trial: str) -> None:
        """Say of a trial's run of MLflow, if there is one, that it is superseded and not chosen.

        Raises:
            TrackerError: MLflow does not answer, or refuses.
        """
        with answering(self.where, reason=_reason):
            for known in self._of(run, trial_digest(trial)):
                self._supersede(known, trial_digest(trial))

    def close(self) -> None:
        """Do nothing: nothing is buffered."""

    def _of(self, run: Mapping[str, str], digest: str) -> list[_Known]:
        """Return what MLflow has of a trial of this run, without that of other runs of its name."""
        return [one for one in self._known[run[RUN], digest] if self._owners.is_same(run, one.owner)]

    def _supersede(self, known: _Known, digest: str) -> None:
        from mlflow.entities import RunTag

        self._known[known.owner[RUN], digest].remove(known)
        self._client.log_batch(known.id, tags=[RunTag(CHOSEN, "false"), RunTag(_SUPERSEDED, "true")])

    def _create(self, content: TrialContent) -> _Known:
        owner = owner_of(content.tags)
        tags = {**owner, _DIGEST: content.digest, "mlflow.source.name": "raytrain"}
        made = self._client.create_run(
            self._experiment, start_time=content.started_ms or None, tags=tags, run_name=content.trial
        )
        return _Known(made.info.run_id, 0, content.curve_stamp(0), "", [], set(), owner, set())

    def _tell(self, known: _Known, content: TrialContent, attachments: Sequence[Attachment]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        parameters = [
            Param(name, str(value)[:LONGEST_PARAMETER])
            for name, value in content.recipe.items()
            if name not in known.parameters
        ]
        for start in range(0, len(parameters), PARAMETERS_AT_ONCE):
            self._client.log_batch(known.id, params=parameters[start : start + PARAMETERS_AT_ONCE])
        # an epoch has the same time whoever tells of it: MLflow leaves out a value that it has of this step and time
        metrics = [
            Metric(f"{CURVE}{name}", value, content.times_ms[epoch], epoch + 1)
            for epoch, row in enumerate(content.curve)
            if epoch >= known.epochs
            for name, value in row.items()
        ]
        metrics += [
            Metric(name, value, content.ended_ms, len(content.curve)) for name, value in content.metrics.items()
        ]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(known.id, metrics=metrics[start : start + METRICS_AT_ONCE])
        with tempfile.TemporaryDirectory(prefix="raytrain-mlflow-") as scratch:
            for one in attachments:
                path = Path(scratch) / one.name
                path.write_bytes(one.content)
                self._client.log_artifact(known.id, str(path))
        known.epochs, known.curve = len(content.curve), content.curve_stamp(len(content.curve))
        known.files += [one.stamp for one in attachments]
        known.parameters |= set(content.recipe)
        known.stamp, known.owner = content.stamp, owner_of(content.tags)
        tags = {**content.tags, _EPOCHS: str(known.epochs), _CURVE: known.curve, _FILES: json.dumps(known.files)}
        if commit := content.tags.get("raytrain.commit"):
            tags["mlflow.source.git.commit"] = commit
        for name in known.passing.difference(content.tags):
            self._client.delete_tag(known.id, name)
        known.passing = set(PASSING).intersection(content.tags)
        # the stamp comes last: a kill before it has everything told again, which changes nothing
        tags[_STAMP] = known.stamp
        self._client.log_batch(known.id, tags=[RunTag(name, value) for name, value in tags.items()])
        status = _STATUS.get(content.status, "KILLED")
        if status in {"RUNNING", "SCHEDULED"}:
            self._client.update_run(known.id, status=status)
        else:
            self._client.set_terminated(known.id, status=status, end_time=content.ended_ms or None)

    def _runs(self) -> Generator[Any]:
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], page_token=token)
            yield from (
                run for run in page if _SUPERSEDED not in run.data.tags and self._key(run.data.tags) != (None, None)
            )
            token = page.token
            if not token:
                return

    @staticmethod
    def _key(tags: dict[str, str]) -> tuple[str | None, str | None]:
        return tags.get(RUN), tags.get(_DIGEST)


def _reason(error: Exception) -> str:
    reason = reason_of(error)
    if "Max retries exceeded" in reason:  # of requests, with its objects' names
        return "cannot be reached; check the address, and whether the server runs"
    return reason


def _known(run: Any) -> _Known:
    tags = run.data.tags
    return _Known(
        run.info.run_id,
        int(tags.get(_EPOCHS, 0)),
        tags.get(_CURVE, ""),
        tags.get(_STAMP, ""),
        json.loads(tags.get(_FILES, "[]")),
        set(run.data.params),
        owner_of(tags),
        set(PASSING).intersection(tags),
    )


def _refuse_missing_folder(uri: str) -> None:
    """Raise TrackerError for a SQLite file in a folder that is not there: SQLAlchemy would try again for minutes."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.absolute().parent.is_dir():
        raise TrackerError(f"{mlflow_at(uri)}: the folder {path.absolute().parent} does not exist; create it first")
