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
from raytrain.runs.events import STATUSES, Event
from raytrain.runs.folder import read_epochs
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult
from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder

CURVE = "epoch/"
"""What stands before the names of the metrics of an epoch: the `val_accuracy` of a result is that of its best epoch."""

_MEASURED = tuple(field.name for field in fields(TrialResult) if field.name not in {"trial", "recipe", "attempts"})


@dataclass(frozen=True)
class TrialContent:
    """What a tracker is told of a trial.

    Attributes:
        run: Name of the run.
        trial: Id of the trial.
        digest: Digest of the trial's recipe, eight hex digits: with `run`, what the trial is found again by.
        status: "waiting", "running", or the status of the trial's end.
        recipe: The fields of the recipe; a list as its names joined by "+".
        curve: The metrics of each epoch, in order, the first one being epoch 1; accuracies are fractions in [0, 1].
        metrics: Final metrics by the names of `raytrain results`; none before the trial ends.
        tags: Tags beside those that the tracker needs for itself: what is known of the trial in words.
        times_ms: When each epoch ended, in milliseconds since 1970: the start of the trial, and its epochs' seconds.
        started_ms: When the trial first started, in milliseconds since 1970; 0 if that is not known.
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


def contents_of(record: RunRecord) -> Iterator[TrialContent]:
    """Yield what there is to say of each trial of a run that has started, in the experiment's order."""
    chosen = record.chosen_trial
    common = common_tags(record.folder)
    for progress in record.state.progress.values():
        if progress.attempts or progress.result:
            trial = progress.trial.id
            tags = {**common, "raytrain.chosen": str(chosen is not None and trial == chosen.trial).lower()}
            yield content_of(record.state, progress, record.epochs.get(trial, ()), run=record.name, tags=tags)


def content_so_far(state: RunState, trial: str, folder: Folder, *, tags: Mapping[str, str]) -> TrialContent:
    """Return what there is to say of a trial while its run goes on.

    Args:
        state: State of the run.
        trial: Id of the trial.
        folder: The run folder.
        tags: Tags that all trials of the run have.
    """
    progress = state.progress[trial]
    return content_of(state, progress, read_epochs(folder, trial), run=folder.name, tags=tags)


def common_tags(folder: Folder) -> dict[str, str]:
    """Return the tags that all trials of a run have: its name, its folder and, where it is known, the code's commit."""
    sessions = read_manifest(folder)["sessions"] if folder.exists(MANIFEST) else []
    commit = sessions[-1]["code"].get("git_commit") if sessions else None
    tags = {"raytrain.run": folder.name, "raytrain.folder": str(folder)}
    return tags | ({"raytrain.commit": commit} if commit else {})


def content_of(
    state: RunState,
    progress: TrialProgress,
    rows: Sequence[Mapping[str, Any]],
    *,
    run: str,
    tags: Mapping[str, str],
) -> TrialContent:
    """Return what there is to say of a trial.

    Args:
        state: State of the run.
        progress: Where the trial is.
        rows: Rows of its metrics.jsonl, in order.
        run: Name of the run.
        tags: Tags beside those that follow from the others.
    """
    result = progress.result or progress.result_so_far("unfinished")
    recipe = {name: "+".join(value) if isinstance(value, list) else value for name, value in result.recipe.items()}
    curve = [_numbers(row) for row in rows]
    started = _started_ms(state.events, result.trial)
    elapsed, times = 0.0, list[int]()
    for row in curve:
        elapsed += row.get("seconds", 0.0)
        times.append(started + round(1000 * elapsed))
    status = progress.result.status if progress.result else progress.status
    words = {"raytrain.trial": result.trial, "raytrain.status": status, "raytrain.phase": result.phase}
    words["raytrain.configuration"] = _configuration(recipe, state)
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
        tags={**tags, **words},
        times_ms=times,
        started_ms=started,
    )


def _configuration(recipe: Mapping[str, Any], state: RunState) -> str:
    """Return the values that tell a configuration from the others of its run, such as "arch=resnet18 lr=0.1"."""
    recipes = [one.trial.recipe.model_dump(mode="json") for one in state.progress.values()]
    varied = [name for name in recipe if name != "seed" and any(one[name] != recipes[0][name] for one in recipes)]
    return " ".join(f"{name}={recipe[name]}" for name in dict.fromkeys(["arch", *varied]))


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "epoch"
    }


def _started_ms(events: Sequence[Event], trial: str) -> int:
    times: list[str] = [
        event["time"]  # pyright: ignore[reportGeneralTypeIssues, reportTypedDictNotRequiredAccess] (every line has it)
        for event in events
        if event["event"] in {"started", *STATUSES} and event.get("trial") == trial and "time" in event
    ]
    return round(1000 * datetime.fromisoformat(times[0]).timestamp()) if times else 0


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=dict).encode()).hexdigest()[:16]
