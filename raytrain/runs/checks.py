"""Whether what is read from a run folder is what a run writes there: typed checks, each problem in one line."""

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from raytrain.errors import RunFolderError
from raytrain.runs.events import Event, Share, Status

MOST = 2**63 - 1
"""Largest whole number that is read; the tables hold no larger one."""
Count = Annotated[int, Field(ge=0, le=MOST)]


def _is_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Time = Annotated[str, AfterValidator(_is_time)]


class Dated(TypedDict):
    """What every line of events.jsonl has."""

    time: Time


class EpochRow(TypedDict):
    """A line of metrics.jsonl; losses may be infinite or NaN."""

    epoch: Annotated[int, Field(ge=1, le=MOST)]
    train_loss: float
    train_accuracy: Share
    val_loss: float | None
    val_accuracy: Share | None
    test_loss: float | None
    test_accuracy: Share | None
    lr: float
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ResultRow(TypedDict):
    """A line of trials.jsonl, without the fields that need no check of their own."""

    trial: Annotated[str, Field(pattern=r"^[\w.+-]+$")]
    status: Status
    recipe: dict[str, Any]
    parameters: Count
    epochs: Count
    best_epoch: NotRequired[Count | None]
    train_loss: NotRequired[float | None]
    train_accuracy: NotRequired[Share | None]
    val_loss: NotRequired[float | None]
    val_accuracy: NotRequired[Share | None]
    test_loss: NotRequired[float | None]
    test_accuracy: NotRequired[Share | None]
    test_tta_accuracy: NotRequired[Share | None]
    seconds: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    attempts: NotRequired[Count]
    error: NotRequired[str | None]
    phase: NotRequired[Literal["search", "confirm"]]


class Session(TypedDict):
    """A command that worked on a run, in manifest.json."""

    command: list[str]
    started: Time
    ended: NotRequired[Time]
    code: dict[str, Any]
    machine: dict[str, Any]


class ManifestContent(TypedDict):
    """manifest.json."""

    data: dict[str, str]
    inputs: NotRequired[list[dict[str, Any]]]
    seeds: NotRequired[list[int]]
    user_code: NotRequired[list[dict[str, Any]]]
    initial_weights: NotRequired[list[dict[str, Any]]]
    sessions: list[Session]


_ANY_EVENT: Any = Annotated[Event, Field(discriminator="event")]


def check_event(line: object) -> None:
    """Refuse, by a ValueError, what is no line of events.jsonl."""
    _check(Dated, line)
    _refuse(_of_events(), line)


def check_epoch(line: object) -> None:
    """Refuse, by a ValueError, what is no line of metrics.jsonl."""
    _check(EpochRow, line)


def check_result(line: object) -> None:
    """Refuse, by a ValueError, what is no line of trials.jsonl."""
    _check(ResultRow, line)


def check_manifest(content: object) -> None:
    """Refuse, by a ValueError, what is no manifest."""
    _check(ManifestContent, content)


def damaged(where: str, why: object) -> RunFolderError:
    """Return the error about a file of a run folder that cannot be used."""
    first = (str(why).splitlines() or [type(why).__name__])[0]
    return RunFolderError(f"{where}: is damaged: {first}\n{ADVICE}")


ADVICE = "Restore it from a copy, or have what is left of the run put in order: raytrain resume RUN --repair"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _of_events() -> TypeAdapter[Any]:
    return TypeAdapter(_ANY_EVENT)  # not by `_adapter`: to hash a union of twenty types takes longer than a check


def _check(kind: Any, value: object) -> None:
    _refuse(_adapter(kind), value)


def _refuse(adapter: TypeAdapter[Any], value: object) -> None:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        shown = repr(first["input"])
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where + ': ' if where else ''}{first['msg']}, given {shown}") from None
