"""Trials in Weights & Biases: a project for each run, a run of W&B for each trial."""

import atexit
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from raytrain.background import JOIN_TIMEOUT_S, InThread
from raytrain.errors import TrackerError
from raytrain.trackers.content import CHOSEN, CURVE, PASSING, Attachment, TrialContent
from raytrain.trackers.owner import RUN, Owners, owner_of
from raytrain.trackers.tracker import (
    ANSWER_S,
    LOCAL_ANSWER_S,
    Answer,
    Written,
    answer_within,
    answering,
    identities,
)
from raytrain.trackers.wandb_settings import has_key, is_offline, refuse_foreign_settings
from raytrain.training.trial_id import trial_digest

_LENGTH = 12
"""Number of characters in the id of a run of W&B."""
_SERVICE = "wandb-core"
"""Name of W&B's own process, which sends what this one tells it."""
_TOLD = "raytrain"
"""What was told of a trial: a key of its configuration in W&B, and offline the folder of a JSON file for each."""
_BYTES_A_SECOND = 1_000_000
"""Slowest upload of files that is waited for."""


class WandbTracker:
    """A project of W&B.

    The id of a trial's run is made of the names of the project and of the run, and of the trial's digest, so the same
    trial always is the same run. What was told is in the run's configuration, or in offline mode in the local folder
    `wandb/raytrain/`. Where W&B has other epochs than the trial, the trial was trained again and gets a new id. It gets
    one too where they are of another run of this name.
    """

    def __init__(self, uri: str | None, *, project: str) -> None:
        """Look whether W&B can be told anything: offline, or with a key.

        Args:
            uri: Address of W&B's server; None for that of the user's settings.
            project: Name of the project.

        Raises:
            TrackerError: There is no key, W&B is disabled, or a file in the folder would have it send all elsewhere.
        """
        import wandb

        self._wandb: Any = wandb
        self._project = project
        self._uri = uri
        self._offline = is_offline()
        self._folder = Path(os.environ.get("WANDB_DIR", ".")) / "wandb"
        self._open: dict[str, Any] = {}
        self._others: set[str] = set()
        self._limit_s = LOCAL_ANSWER_S if self._offline else ANSWER_S
        self._unanswered = False
        self._ends = False
        refuse_foreign_settings(self._folder.parent, server=uri)
        self.where = f"W&B{f' at {uri}' if uri else ''}, project {project}"
        if self._offline:
            self.where += f", offline in {self._folder}"
        self._owners = Owners(self.where)
        if not self._offline and not has_key(wandb):
            raise TrackerError(
                f"{self.where}: there is no API key; log in with: wandb login. Or set WANDB_MODE=offline, and send "
                "what is in the folder wandb/ later with: wandb sync"
            )

    def write(self, content: TrialContent, attachments: Sequence[Attachment] = ()) -> Written:
        """Tell W&B what it does not have of a trial.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        with answering(self.where):
            for identity in self._identities(content.run, content.digest):
                told = self._told(identity, content)
                if not self._is_ours(identity, told, content.tags):
                    continue
                if content.continues(told.get("curve", ""), epochs=told.get("epochs", 0)):
                    return self._add(identity, told, content, attachments)
                self._unchoose(identity, content.run, content.trial, told)
        raise AssertionError("without what was told, a trial continues it")

    def disown(self, run: Mapping[str, str], trial: str) -> None:
        """Say of a trial's runs of W&B, if there are some, that they are not chosen.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        with answering(self.where):
            for identity in self._identities(run[RUN], trial_digest(trial)):
                if not self._offline and self._file(identity).is_file():
                    continue  # it was disowned, and has not been told of since
                try:
                    if not self._offline:
                        self._begin(identity, run[RUN], trial, {}, resume="must")
                except self._wandb.errors.UsageError:  # there is no such run
                    return
                if not (told := self._told_of(identity)):
                    self._finish(identity)
                    return
                if not self._is_ours(identity, told, run):
                    continue
                self._unchoose(identity, run[RUN], trial, told)
                if not self._offline:
                    self._remember(identity, {})

    def close(self) -> None:
        """Send what is buffered, and end the runs of W&B.

        Raises:
            TrackerError: It does not answer.
        """
        with answering(self.where):
            for identity in list(self._open):
                self._finish(identity)

    def _add(
        self, identity: str, told: dict[str, Any], content: TrialContent, attachments: Sequence[Attachment]
    ) -> Written:
        """Tell a run of W&B what it has not been told."""
        missing = [one for one in attachments if one.stamp not in told.get("files", [])]
        done: Written = "updated" if told else "new"
        if told.get("stamp") == content.stamp and not missing:
            done = "unchanged"
        run = None if done == "unchanged" else self._opened(identity, content)
        size = sum(len(one.content) for one in missing)

        def tell() -> None:
            if run:
                self._tell(run, told, content, missing)
            if content.status not in {"running", "waiting"}:
                self._finish_open(identity)

        self._waited(tell, more_s=size / _BYTES_A_SECOND)
        return done

    def _told(self, identity: str, content: TrialContent) -> dict[str, Any]:
        """Return what a run of W&B has been told, such as its epochs; nothing where there is no such run."""
        if not self._offline:
            self._opened(identity, content)
        return self._told_of(identity)

    def _told_of(self, identity: str) -> dict[str, Any]:
        """Return the same of a run of W&B that is open, or of any in offline mode."""
        if self._offline:
            known = self._file(identity)
            return json.loads(known.read_text()) if known.is_file() else {}
        return dict(self._open[identity].config.get(_TOLD) or {})

    def _identities(self, run: str, digest: str) -> Iterator[str]:
        return (one for one in identities(self._project, run, digest, length=_LENGTH) if one not in self._others)

    def _is_ours(self, identity: str, told: Mapping[str, Any], run: Mapping[str, str]) -> bool:
        """Return whether a run of W&B may be told of a trial of this run; one that is another's is ended unchanged."""
        if told and not self._offline:  # an earlier version told its summary alone
            told = {"owner": owner_of(self._open[identity].summary), **told}
        if "owner" not in told or self._owners.is_same(run, told["owner"]):
            return True
        self._others.add(identity)
        self._finish(identity)
        return False

    def _unchoose(self, identity: str, run: str, trial: str, told: dict[str, Any]) -> None:
        if told.get("chosen", True):  # an earlier version did not say
            made = self._open.get(identity) or self._begin(identity, run, trial, {})
            made.summary.update({CHOSEN: "false"})
            made.tags = [tag for tag in told.get("tags") or made.tags or ("raytrain",) if tag != "chosen"]
            # without a stamp it is told again, if it is listed again
            self._keep(made, {**told, "chosen": False, "tags": list(made.tags), "stamp": ""})
        self._finish(identity)

    def _opened(self, identity: str, content: TrialContent) -> Any:
        return self._open.get(identity) or self._begin(identity, content.run, content.trial, dict(content.recipe))

    def _begin(
        self, identity: str, run: str, trial: str, recipe: dict[str, Any], *, resume: str | None = "allow"
    ) -> Any:
        settings = self._wandb.Settings(
            silent=True,
            console="off",
            init_timeout=self._limit_s,
            finish_timeout=LOCAL_ANSWER_S,  # if this process is killed, W&B's own does not go on for ever
            finish_timeout_raises=True,
            x_disable_stats=True,  # the machine's load is that of all trials
            x_disable_meta=True,
            disable_git=True,
            save_code=False,
            **({"base_url": self._uri} if self._uri else {}),
        )
        try:
            made = self._waited(
                lambda: self._wandb.init(
                    project=self._project,
                    dir=str(self._folder.parent),
                    id=identity,
                    name=trial,
                    group=run,
                    config=recipe,
                    resume=None if self._offline else resume,
                    reinit="create_new",
                    settings=settings,
                )
            )
        finally:
            if not self._ends:  # what is registered last is called first: before W&B's own, which waits
                atexit.register(self._end)
                self._ends = True
        self._open[identity] = made
        return made

    def _tell(self, run: Any, told: dict[str, Any], content: TrialContent, attachments: Sequence[Attachment]) -> None:
        for epoch, row in enumerate(content.curve, start=1):
            if epoch > told.get("epochs", 0):
                run.log({f"{CURVE}{name}": value for name, value in row.items()}, step=epoch)
        run.summary.update({**(dict.fromkeys(PASSING, "") if told else {}), **content.metrics, **content.tags})
        run.tags = [tag for tag in ("raytrain", content.status) if tag] + (
            ["chosen"] if content.tags.get(CHOSEN) == "true" else []
        )
        if attachments:
            artifact = self._wandb.Artifact(f"{content.run}-{content.digest}", type="raytrain")
            with tempfile.TemporaryDirectory(prefix="raytrain-wandb-") as scratch:
                for one in attachments:
                    path = Path(scratch) / one.name
                    path.write_bytes(one.content)
                    artifact.add_file(str(path), name=one.name)  # it is copied at once
            run.log_artifact(artifact)
        now = {
            "epochs": len(content.curve),
            "curve": content.curve_stamp(len(content.curve)),
            "files": [*told.get("files", []), *(one.stamp for one in attachments)],
            "stamp": content.stamp,
            "tags": list(run.tags),
            "chosen": "chosen" in run.tags,
            "owner": owner_of(content.tags),
        }
        self._keep(run, now)

    def _keep(self, run: Any, now: dict[str, Any]) -> None:
        """Write down what a run of W&B has been told."""
        run.config.update({_TOLD: now}, allow_val_change=True)
        if self._offline:
            self._remember(run.id, now)
        else:
            self._file(run.id).unlink(missing_ok=True)

    def _remember(self, identity: str, now: dict[str, Any]) -> None:
        known = self._file(identity)
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps(now))

    def _file(self, identity: str) -> Path:
        """Return the file of what a run of W&B was told: offline of each, online of those that were disowned."""
        return self._folder / _TOLD / f"{identity}.json"

    def _finish(self, identity: str) -> None:
        self._waited(lambda: self._finish_open(identity))

    def _finish_open(self, identity: str) -> None:
        if run := self._open.pop(identity, None):
            run.finish()

    def _waited(self, ask: Callable[[], Answer], *, more_s: float = 0.0) -> Answer:
        """Return W&B's answer; where it takes too long, raise TrackerError, and have W&B end with this process."""
        self._unanswered = True
        answer = answer_within(self._limit_s + more_s, ask, of=self.where)
        self._unanswered = False
        return answer

    def _end(self) -> None:
        """End W&B's own process, which W&B would wait for without limit when this one ends; kill it if it must be.

        With a run of W&B of the user's own in this process, it is left to W&B.
        """
        if self._wandb.run is not None:
            return
        if not self._unanswered:
            ended = InThread(self._wandb.teardown)
            if ended.has_ended(within_s=self._limit_s):
                return
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name() == _SERVICE:
                    child.kill()
        # without its process it ends at once, and takes its own exit handler away
        InThread(self._wandb.teardown).has_ended(within_s=JOIN_TIMEOUT_S)
