"""What a tracker is told of a trial: the same for every tracker, made of what the run folder has on record."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from raytrain.analysis.record import RunRecord
from raytrain.provenance.manifest import NAME as MANIFEST
from raytrain.provenance.manifest import read_manifest
from raytrain.runs.events import STATUSES
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.runs.trial_files import read_epochs
from raytrain.storage.folder import Folder
from raytrain.trackers.owner import owner_tags
from raytrain.training.recipe import Recipe

CURVE = "epoch/"
"""What stands before the names of the metrics of an epoch: the `val_accuracy` of a result is that of its best epoch."""

CHOSEN = "raytrain.chosen"
"""Name of the tag that says whether validation has chosen a trial: "true" or "false"."""

PASSING: tuple[str, ...] = ("raytrain.error", "raytrain.commit")
"""Names of the tags that a trial need not keep: a retry may end without an error, and run code without a commit."""

_MEASURED = tuple(field.name for field in fields(TrialResult) if field.name not in {"trial", "recipe", "attempts"})


@dataclass(frozen=True)
class TrialContent:
    """What a tracker is told of a trial.

    Attributes:
        run: Name of the run.
        trial: Id of the trial.
        digest: Digest of the trial's recipe, eight hex digits: with the run, what the trial is found again by.
        status: "waiting", "running", or the status of the trial's end.
        recipe: The fields of the recipe; a list as its names joined by "+".
        curve: The metrics of each epoch, in order, the first one being epoch 1; accuracies are fractions in [0, 1].
        metrics: Final metrics by the names of `raytrain results`; none before the trial ends.
        tags: Tags beside those that the tracker needs for itself: what is known of the trial in words, and
            `owner.owner_tags` of its run.
        times_ms: When each epoch ended, in milliseconds since 1970: the start of the trial, and its epochs' seconds.
        started_ms: When the trial first started, in milliseconds since 1970; 0 if that is not known.
        trained: Number of epochs that the trial has trained by its result; 0 before its end.
    """

    run: str
    trial: str
    digest: str
    status: str
    recipe: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    times_ms: Sequence[int]
    started_ms: int
    trained: int = 0

    @property
    def ended_ms(self) -> int:
        """When the last epoch ended, in milliseconds since 1970."""
        return self.times_ms[-1] if self.times_ms else self.started_ms

    @property
    def stamp(self) -> str:
        """Digest of everything: a tracker that has it need not be told again."""
        return _digest([self.status, self.recipe, self.curve, self.metrics, self.tags])

    def curve_stamp(self, epochs: int) -> str:
        """Return the digest of the first so many epochs: another one belongs to another training."""
        return _digest(self.curve[:epochs]) if epochs <= len(self.curve) else ""

    def continues(self, stamp: str, *, epochs: int) -> bool:
        """Return whether a training of which a tracker has so many epochs, by their stamp, is this one.

        A curve that is damaged in the run folder is shorter than the trial was; it says nothing against it.
        """
        damaged = len(self.curve) < self.trained
        return not epochs or damaged or stamp == self.curve_stamp(epochs)


@dataclass(frozen=True)
class Attachment:
    """A file that a tracker keeps beside a trial.

    Attributes:
        name: Name of the file.
        content: Its content.
    """

    name: str
    content: bytes

    @property
    def stamp(self) -> str:
        """Name and digest of the content."""
        return f"{self.name}:{hashlib.sha256(self.content).hexdigest()[:16]}"


@dataclass(frozen=True)
class Common:
    """What is the same for all trials of a run, or is looked up for all of them at once.

    Attributes:
        tags: Tags that all trials have.
        varied: Names of the recipe fields that tell configurations apart, in the order of the recipe.
        started_ms: When each trial first started, in milliseconds since 1970, by its id.
        commits: Commit of the code that last trained each trial, by its id; "" where it is not known.
    """

    tags: Mapping[str, str]
    varied: Sequence[str]
    started_ms: Mapping[str, int]
    commits: Mapping[str, str]

    @classmethod
    def of(cls, state: RunState, folder: Folder) -> "Common":
        """Return what the trials of a run have in common, by its state and its folder."""
        recipes = [one.trial.recipe for one in list(state.progress.values())]  # another thread may add trials
        fields = [name for name in Recipe.model_fields if name not in {"arch", "seed"}]
        varied = [name for name in fields if any(getattr(one, name) != getattr(recipes[0], name) for one in recipes)]
        started, last = dict[str, int](), dict[str, int]()
        for event in state.events:
            if event["event"] in {"started", *STATUSES}:
                trial, time = event.get("trial", ""), event.get("time")  # every line has one
                moment = _ms(str(time)) if time else 0
                started.setdefault(trial, moment)
                if event["event"] == "started":
                    last[trial] = moment
        sessions = _sessions(folder)
        commits = {trial: _commit_at(moment, sessions) for trial, moment in {**started, **last}.items()}
        return cls(common_tags(folder), ["arch", *varied], started, commits)


def contents_of(record: RunRecord) -> Iterator[TrialContent]:
    """Yield what there is to say of each trial of a run that has started, in the experiment's order."""
    chosen = record.chosen_trial
    common = Common.of(record.state, record.folder)
    for progress in record.state.progress.values():
        if progress.attempts or progress.result:
            trial = progress.trial.id
            tags = {CHOSEN: str(chosen is not None and trial == chosen.trial).lower()}
            yield content_of(progress, record.epochs.get(trial, ()), run=record.name, common=common, tags=tags)


def content_so_far(progress: TrialProgress, folder: Folder, *, common: Common) -> TrialContent:
    """Return what there is to say of a trial while its run goes on.

    Args:
        progress: Where the trial is.
        folder: The run folder.
        common: What the trials of the run have in common.
    """
    return content_of(progress, read_epochs(folder, progress.trial.id), run=folder.name, common=common)


def common_tags(folder: Folder) -> dict[str, str]:
    """Return the tags that all trials of a run have: which run it is."""
    return owner_tags(folder, _sessions(folder))


def content_of(
    progress: TrialProgress,
    rows: Sequence[Mapping[str, Any]],
    *,
    run: str,
    common: Common,
    tags: Mapping[str, str] | None = None,
) -> TrialContent:
    """Return what there is to say of a trial.

    Args:
        progress: Where the trial is.
        rows: Rows of its metrics.jsonl, in order.
        run: Name of the run.
        common: What the trials of the run have in common.
        tags: Further tags, of this trial alone.
    """
    result = progress.result or progress.result_so_far("unfinished")
    recipe = {name: "+".join(value) if isinstance(value, list) else value for name, value in result.recipe.items()}
    curve = [_numbers(row) for row in rows]
    started = common.started_ms.get(result.trial, 0)
    elapsed, times = 0.0, list[int]()
    for row in curve:
        elapsed += row.get("seconds", 0.0)
        times.append(started + round(1000 * elapsed))
    status = progress.result.status if progress.result else progress.status
    words = {"raytrain.trial": result.trial, "raytrain.status": status, "raytrain.phase": result.phase}
    words["raytrain.configuration"] = " ".join(f"{name}={recipe[name]}" for name in common.varied)
    if commit := common.commits.get(result.trial):
        words["raytrain.commit"] = commit
    if result.error:
        words["raytrain.error"] = result.error[:500]
    measured = {name: getattr(result, name) for name in _MEASURED} if progress.result else {}
    return TrialContent(
        run=run,
        trial=result.trial,
        digest=result.digest,
        status=status,
        recipe=recipe,
        curve=curve,
        metrics=_numbers(measured),
        tags={**common.tags, **(tags or {}), **words},
        times_ms=times,
        started_ms=started,
        trained=progress.result.epochs if progress.result else 0,
    )


def _sessions(folder: Folder) -> list[dict[str, Any]]:
    return read_manifest(folder)["sessions"] if folder.exists(MANIFEST) else []


def _commit_at(moment_ms: int, sessions: Sequence[Mapping[str, Any]]) -> str:
    """Return the commit of the session that worked on a run at a moment: the last one that had begun by then."""
    begun = [one for one in sessions if _ms(one["started"]) <= moment_ms]
    return (begun[-1]["code"].get("git_commit") or "") if begun else ""


def _ms(time: str) -> int:
    return round(1000 * datetime.fromisoformat(time).timestamp())


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "epoch"
    }


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=dict).encode()).hexdigest()[:16]
