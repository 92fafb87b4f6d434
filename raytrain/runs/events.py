"""What can happen in a run, a line of events.jsonl each; `RunState` is what follows from them."""

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

Share = Annotated[float, Ge(0), Le(1)]
"""A fraction in [0, 1]."""
Stage = Literal["search", "rescue", "confirm", "separate"]
"""Reason why a trial is run, in the order of the stages of a run: the experiment lists it, it was stopped early and
runs on, it confirms a choice, or it is a further seed that separates configurations."""

Status = Literal["finished", "stopped", "paused", "diverged", "failed", "unfinished"]

STATUSES: tuple[Status, ...] = ("finished", "stopped", "paused", "diverged", "failed", "unfinished")
"""All statuses of a trial, in the order in which trials are ranked. A paused one has not ended: it may be promoted."""


class Begun(TypedDict):
    """A command began to work on the run, or on trials that were proposed meanwhile."""

    event: Literal["begun"]
    parameters: dict[str, int]
    """Number of trainable parameters of each trial to train, by trial id."""


class Added(TypedDict):
    """A trial was chosen by the results of others."""

    event: Literal["added"]
    trial: str
    stage: Stage
    recipe: dict[str, Any]
    parameters: int


class Proposed(TypedDict):
    """A round of trials was proposed by what the trials before had reached: one line, so that no kill can part it."""

    event: Literal["proposed"]
    values: list[dict[str, Any]]
    """Each combination, as its values by recipe field; it is trained with each seed of the experiment."""


class Withdrawn(TypedDict):
    """A trial that was added is not wanted any more. If it has ended and is added again, its result stands again."""

    event: Literal["withdrawn"]
    trial: str


class Started(TypedDict):
    """A trial's process started, for the first time or again."""

    event: Literal["started"]
    trial: str
    attempt: int
    """Number of starts of the trial so far, including this one; to go on after a pause is no further one."""
    after_epoch: int
    """Number of epochs on record before the start."""
    where: str
    """Host and device of the trial; "" if not known yet."""
    threads: NotRequired[int]
    """Number of CPU threads of each process; absent on a GPU."""
    workers: NotRequired[int]
    """Number of processes; of an elastic trial the largest number."""


class Judged(TypedDict):
    """ASHA judged a trial at a rung."""

    event: Literal["rung"]
    trial: str
    epoch: int
    rung: float
    accuracy: float
    """Value that was compared, of which more is better: an accuracy in [0, 1], or with `select: nll` minus the loss."""
    cut: float | None
    stop: bool
    pause: NotRequired[bool]
    """Whether the trial paused there until it is promoted."""
    epochs: NotRequired[int]
    """Number of epochs of the trial, where its course depends on it: then it is compared with trials of as many."""


class AshaChosen(TypedDict):
    """The setting of ASHA was chosen by `asha.lose_at_most`; it stays until the trials are given more epochs."""

    event: Literal["asha chosen"]
    mode: Literal["stop", "promote"]
    grace_period: float
    reduction_factor: float
    rungs: NotRequired[int | None]
    """Largest number of rungs; absent where there is no limit."""
    epochs: int
    """Epochs of each trial that it was chosen for."""
    curves: int
    """Number of complete learning curves on record."""
    why: str
    """What was chosen and by what, as a sentence."""


class Promoted(TypedDict):
    """A trial that was paused at a rung goes on."""

    event: Literal["promoted"]
    trial: str
    paused_at: int


class Rescued(TypedDict):
    """A trial that was stopped early, or paused, runs on to its end."""

    event: Literal["rescued"]
    trial: str
    stopped_at: int


class Ended(TypedDict):
    """A trial ended; its result is a line of trials.jsonl."""

    event: Literal["finished", "stopped", "diverged", "failed", "unfinished"]
    trial: str
    epoch: int
    device: NotRequired[str]
    precision: NotRequired[str]
    predictions: NotRequired[str]
    """SHA-256 of the content of predictions.npz, in hexadecimal."""
    threads: NotRequired[int]
    workers: NotRequired[int]


class Moved(TypedDict):
    """A trial goes on on other hosts."""

    event: Literal["elsewhere"]
    trial: str
    hosts: list[str]


class Resized(TypedDict):
    """A trial goes on with another number of workers."""

    event: Literal["resized"]
    trial: str
    workers: int


class WorkerLost(TypedDict):
    """A trial's process died, and the trial is started again."""

    event: Literal["worker lost"]
    trial: str
    why: str


TRIAL_TIMEOUT_S = 1800.0
"""Seconds without any progress, not even a step, after which the process of a trial counts as hung."""


class Hung(TypedDict):
    """A trial's process made no progress for too long, and was ended."""

    event: Literal["hung"]
    trial: str
    seconds: float


class EventsLost(TypedDict):
    """A repair found the result of a trial, and not all events before its end: they are not missed again."""

    event: Literal["events lost"]
    trial: str


class Interrupted(TypedDict):
    """A signal or the time limit ended the command."""

    event: Literal["interrupted"]
    exit_code: int


class RayLost(TypedDict):
    """Ray went away while trials ran."""

    event: Literal["ray lost"]
    why: str


Event = (
    Begun
    | Added
    | Proposed
    | Withdrawn
    | Started
    | AshaChosen
    | Judged
    | Promoted
    | Rescued
    | Ended
    | Moved
    | Resized
    | WorkerLost
    | Hung
    | EventsLost
    | Interrupted
    | RayLost
)
"""A line of events.jsonl, without the key "time"."""
