"""What every tracker can do, and how long one may take to answer."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, Protocol, TypeVar, get_args

from raytrain.background import InThread
from raytrain.errors import ExperimentError, TrackerError, did_you_mean, first_line
from raytrain.machine import without_proxy
from raytrain.storage.credentials import without_credentials
from raytrain.trackers.content import Attachment, TrialContent

ANSWER_S = 30.0
"""Seconds in which a tracker must give its first answer."""
LOCAL_ANSWER_S = 300.0
"""Seconds in which a database on this machine must give its first answer: it cannot be away, and a busy machine takes a
while to make its tables."""

MOST_OF_A_REASON = 300
"""Most characters that are told of an error."""
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, WANDB_API_KEY"
"""Names of the variables that hold the credentials of trackers in the environment."""

TrackerName = Literal["mlflow", "wandb", "trackio"]
Written = Literal["new", "updated", "unchanged"]
"""What `Tracker.write` did: made a tracker run, told a known one what it did not have, or had nothing to tell."""

Answer = TypeVar("Answer")


def reason_of(error: BaseException) -> str:
    """Return what an error says in a line, without passwords; a server may answer with a page in a single one."""
    return without_credentials(first_line(error))[:MOST_OF_A_REASON]


class Tracker(Protocol):
    """A place that keeps runs for a team: one of its own runs for each trial.

    Writing is idempotent: what a tracker was told before, by whichever command, is not told again. Entries of other
    runs with the same name are left as they are.
    """

    @property
    def where(self) -> str:
        """The tracker's address, and what the trials are under there."""
        ...

    def write(self, content: TrialContent, attachments: Sequence[Attachment] = ()) -> Written:
        """Tell the tracker what it does not have of a trial.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        ...

    def disown(self, run: Mapping[str, str], trial: str) -> None:
        """Tell the tracker of a trial, if it has it, that its run does not list it any more, and so has not chosen it.

        Args:
            run: `owner.owner_tags` of the run.
            trial: Id of the trial.

        Raises:
            TrackerError: It does not answer, or refuses.
        """
        ...

    def close(self) -> None:
        """Bring what is buffered to where it belongs.

        Raises:
            TrackerError: It does not answer.
        """
        ...


def identities(project: str, run: str, digest: str, *, length: int) -> Iterator[str]:
    """Yield the ids of a trial's runs at a tracker that takes any id: the first, and further ones.

    A further one is for a trial that began again, or for one of another run of this name.

    Args:
        project: Name of the tracker's project.
        run: Name of the run.
        digest: Digest of the trial.
        length: Number of characters of an id.
    """
    for again in itertools.count():
        name = json.dumps([project, run, digest, *([again] if again else [])])
        yield hashlib.sha256(name.encode()).hexdigest()[:length]


def open_tracker(name: str, *, uri: str | None, project: str) -> Tracker:
    """Return a tracker that has answered.

    Args:
        name: A `TrackerName`.
        uri: Address of the tracker, or Trackio's folder; None for that of its environment variable, or its default.
        project: What the trials are to be under: an experiment of MLflow, a project of the others.

    Raises:
        ExperimentError: There is no such tracker, or its package is not installed.
        TrackerError: It does not answer in time, or refuses.
    """
    check_tracker(name)
    os.environ.update(without_proxy())
    if name == "mlflow":
        from raytrain.trackers.mlflow_tracker import MlflowTracker, answer_limit_s, mlflow_at, tracking_uri

        address = tracking_uri(uri)
        return answer_within(
            answer_limit_s(address), lambda: MlflowTracker(address, experiment=project), of=mlflow_at(address)
        )
    if name == "trackio":
        from raytrain.trackers.trackio_tracker import TrackioTracker

        return TrackioTracker(uri, project=project)
    from raytrain.trackers.wandb_tracker import WandbTracker

    return WandbTracker(uri, project=project)


def check_tracker(name: str) -> None:
    """Refuse a tracker that is unknown, or whose package is not installed; the package is not imported yet.

    Raises:
        ExperimentError: It is so.
    """
    if name not in get_args(TrackerName):
        instead = did_you_mean(name, get_args(TrackerName)) or "choose mlflow, wandb or trackio"
        raise ExperimentError(f"{name!r} is not a tracker that raytrain knows; {instead}")
    if find_spec(name) is None:
        raise ExperimentError(
            f"the package of {name} is not installed; in the checkout of raytrain: pip install '.[{name}]'"
        )


def answer_within(limit_s: float, ask: Callable[[], Answer], *, of: str) -> Answer:
    """Return what a function returns, and give it up if it takes too long: it then goes on in a thread of its own.

    Args:
        limit_s: Longest time in seconds.
        ask: Function that asks a tracker.
        of: What is asked, for the message.

    Raises:
        TrackerError: It took longer.
    """
    call = InThread(ask)
    if not call.has_ended(within_s=limit_s):
        raise TrackerError(f"{of} did not answer within {limit_s:g} s; check the address, and whether the server runs")
    return call.result()


@contextmanager
def answering(where: str, *, reason: Callable[[Exception], str] = reason_of) -> Generator[None]:
    """Raise TrackerError for whatever the package of a tracker raises.

    Args:
        where: Address of the tracker.
        reason: Function that returns why it does not answer, in a line.
    """
    try:
        yield
    except TrackerError:
        raise
    except Exception as error:  # the package's own, or of what it uses: requests, SQLAlchemy
        raise TrackerError(f"{where}: {reason(error)}") from error
