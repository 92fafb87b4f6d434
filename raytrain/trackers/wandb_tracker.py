"""Trials in Weights & Biases: a project for each run, a run of W&B for each trial."""

import configparser
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raytrain.errors import TrackerError, first_line
from raytrain.storage.bounded import read_bounded
from raytrain.trackers.content import CHOSEN, CURVE, Attachment, TrialContent, digest_of
from raytrain.trackers.tracker import ANSWER_S, Written, answering

_SERVER = "https://api.wandb.ai"
_HARMLESS = {"entity", "project"}
"""Settings that a file in the working folder may have."""
_MAX_SETTINGS = 100_000
"""Largest size in bytes of such a file."""
_TOLD = "raytrain"
"""What was told of a trial: a key of its configuration in W&B, and offline the folder of a JSON file for each."""


class WandbTracker:
    """A project of W&B.

    The id of a trial's run is made of the names of the project and of the run, and of the trial's digest, so the same
    trial always is the same run. What was told is in the run's configuration, or in offline mode in the local folder
    `wandb/raytrain/`. Where W&B has other epochs than the trial, the trial was trained again and gets a new id.
    """

    def __init__(self, uri: str | None, *, project: str) -> None:
        """Look whether W&B can be told anything: offline, or with a key.

        Args:
            uri: Address of W&B's server; None for that of the user's settings.
            project: Name of the project.

        Raises:
            TrackerError: There is no key, or a file in the folder would have W&B send it elsewhere.
        """
        import wandb

        self._wandb: Any = wandb
        self._project = project
        self._uri = uri
        self._offline = os.environ.get("WANDB_MODE") == "offline"
        self._folder = Path(os.environ.get("WANDB_DIR", ".")) / "wandb"
        self._open: dict[str, Any] = {}
        refuse_foreign_settings(self._folder.parent, server=uri)
        self.where = f"W&B{f' at {uri}' if uri else ''}, project {project}"
        if self._offline:
            self.where += f", offline in {self._folder}"
        elif not _has_key(wandb):
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
            again = 0
            while True:
                identity = _identity(self._project, content.run, content.digest, again=again)
                told = self._told(identity, content)
                if content.continues(told.get("curve", ""), epochs=told.get("epochs", 0)):
                    break
                self._unchoose(identity, content.run, content.trial, told)
                again += 1
            missing = [one for one in attachments if one.stamp not in told.get("files", [])]
            done: Written = "updated" if told else "new"
            if told.get("stamp") == content.stamp and not missing:
                done = "unchanged"
            else:
                self._tell(self._opened(identity, content), told, content, missing)
            if content.status not in {"running", "waiting"}:
                self._finish(identity)
            return done

    def disown(self, run: str, trial: str) -> None:
        """Say of a trial's runs of W&B, if there are some, that they are not chosen.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        with answering(self.where):
            for again in itertools.count():
                identity = _identity(self._project, run, digest_of(trial), again=again)
                try:
                    if not self._offline:
                        self._begin(identity, run, trial, {}, resume="must")
                except self._wandb.errors.UsageError:  # there is no such run
                    return
                if not (told := self._told_of(identity)):
                    self._finish(identity)
                    return
                self._unchoose(identity, run, trial, told)

    def close(self) -> None:
        """Send what is buffered, and end the runs of W&B.

        Raises:
            TrackerError: It does not answer.
        """
        with answering(self.where):
            for identity in list(self._open):
                self._finish(identity)

    def _told(self, identity: str, content: TrialContent) -> dict[str, Any]:
        """Return what a run of W&B has been told: epochs, curve, files, stamp; nothing where there is no such run."""
        if not self._offline:
            self._opened(identity, content)
        return self._told_of(identity)

    def _told_of(self, identity: str) -> dict[str, Any]:
        """Return the same of a run of W&B that is open, or of any in offline mode."""
        if self._offline:
            known = self._folder / _TOLD / f"{identity}.json"
            return json.loads(known.read_text()) if known.is_file() else {}
        return dict(self._open[identity].config.get(_TOLD) or {})

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
            init_timeout=ANSWER_S,
            x_disable_stats=True,  # the machine's load is that of all trials
            x_disable_meta=True,
            disable_git=True,
            save_code=False,
            **({"base_url": self._uri} if self._uri else {}),
        )
        made = self._wandb.init(
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
        self._open[identity] = made
        return made

    def _tell(self, run: Any, told: dict[str, Any], content: TrialContent, attachments: Sequence[Attachment]) -> None:
        for epoch, row in enumerate(content.curve, start=1):
            if epoch > told.get("epochs", 0):
                run.log({f"{CURVE}{name}": value for name, value in row.items()}, step=epoch)
        run.summary.update({**content.metrics, **content.tags})
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
        }
        self._keep(run, now)

    def _keep(self, run: Any, now: dict[str, Any]) -> None:
        """Write down what a run of W&B has been told."""
        run.config.update({_TOLD: now}, allow_val_change=True)
        if self._offline:
            known = self._folder / _TOLD / f"{run.id}.json"
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(json.dumps(now))

    def _finish(self, identity: str) -> None:
        if run := self._open.pop(identity, None):
            run.finish()


def refuse_foreign_settings(folder: Path, *, server: str | None) -> None:
    """Refuse a file with settings of W&B, in a folder that may be somebody else's, that names more than a project.

    W&B takes any setting from there, such as another server or a proxy, and would send the user's key to it.

    Args:
        folder: Folder in which W&B keeps its own.
        server: Server that the user has named, which the file may name, too.

    Raises:
        TrackerError: There is one.
    """
    for file in (folder / "wandb" / "settings", folder / ".wandb" / "settings"):
        if not file.is_file():
            continue
        read = configparser.ConfigParser(interpolation=None)
        try:
            read.read_string(read_bounded(file, most=_MAX_SETTINGS).decode())
        except (OSError, ValueError, configparser.Error) as error:
            raise TrackerError(f"{file}: cannot be read ({first_line(error)}); delete it") from error
        for section in read.values():
            for name, value in section.items():
                if name not in _HARMLESS and not (name == "base_url" and value in {server, _SERVER}):
                    raise TrackerError(
                        f"{file}: sets {name} = {value}, and W&B would obey it, with your key; delete the line, and "
                        "name a server of your own by --tracking-uri"
                    )


def _identity(project: str, run: str, digest: str, *, again: int) -> str:
    name = json.dumps([project, run, digest, *([again] if again else [])])
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _has_key(wandb: Any) -> bool:
    return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)
