"""The errors a user can meet, each with the exit code of the command that meets it.

A message says what was given, what is allowed and what to do. Anything that is not a
`RaytrainError` is a bug of ours and ends with exit code 1 and a traceback.
"""

import difflib
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import ClassVar, Self


class ExitCode(IntEnum):
    """The exit code of a command.

    Attributes:
        meaning: What the code says about the command, in words for the documentation.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Return the member `code`, an int, with its meaning as its docstring too."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = member.__doc__ = meaning
        return member

    DONE = 0, "every trial finished or was stopped early"
    BUG = 1, "a bug in raytrain"
    INVALID = 2, "the command, the experiment or the data is invalid"
    REFUSED = 3, "the run cannot start here, or the disk is full"
    SOME_FAILED = 4, "some trials failed or diverged; the rest is written"
    ALL_FAILED = 5, "all trials failed or diverged"
    NO_CLUSTER = (
        6,
        "a cluster or tracker cannot be reached, refuses access or runs other versions, or Ray does not start",
    )
    JOB_STOPPED = 7, "the job was stopped on the cluster"
    OUT_OF_TIME = 8, "the time limit was reached; the same command continues"
    ASSERTION_FAILED = 9, "an assertion or a verification failed, or `judge` says drop"
    UNDECIDED = 10, "`judge` needs more seeds for an answer"
    INTERRUPTED = 130, "the command was interrupted by SIGINT (Ctrl-C)"
    TERMINATED = 143, "the command was ended by SIGTERM or SIGHUP"


def exit_codes_table() -> str:
    """Return the exit codes as a Markdown table, a row for each in ascending order."""
    rows = [f"| {code:d} | {code.meaning} |" for code in sorted(ExitCode)]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows, ""])


def did_you_mean(
    word: str, names: Iterable[str], *, most: int = 1, shown: Callable[[str], str] = repr, between: str = " or "
) -> str:
    """Return the question that a message asks after a wrong word, such as "did you mean 'lr'?"; "" without a near name.

    Args:
        word: What was given.
        names: What is allowed.
        most: Most names to ask for.
        shown: How a name is written.
        between: Text between two names.
    """
    near = difflib.get_close_matches(word, list(dict.fromkeys(names)), n=most)
    return f"did you mean {between.join(map(shown, near))}?" if near else ""


def unknown(key: str, names: Iterable[str], what: str) -> str:
    """Return the message about a key that is none of `names`, with the nearest of them, or all."""
    names = list(names)
    hint = did_you_mean(key, names) or f"choose one of {', '.join(names)}"
    return f"unknown {what} {key!r}; {hint}"


def counted(count: float, one: str, several: str = "") -> str:
    """Return a number of things in words, such as "1 trial", "1,200 trials" or "0.3 points".

    Args:
        count: The number; one with a fraction is rounded to six digits.
        one: Name of one thing.
        several: Name of several, if that is not the name of one with an s.
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {one if number == '1' else several or f'{one}s'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; the name of its class where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class RaytrainError(Exception):
    """Base of every error that raytrain raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG


class ExperimentError(RaytrainError):
    """An experiment, a recipe, an override or an option is invalid."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID


class DataError(RaytrainError):
    """A data set is neither a known name nor a usable path, or its content is not as it must be."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID


class RunFolderError(RaytrainError):
    """A run folder is missing, unreadable, or holds another experiment than the one asked for."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID


class ModelError(RaytrainError):
    """A model file or its description is missing or damaged, or belongs to something else."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID


class VerificationError(RaytrainError):
    """What was made does not do what it was made from does, and was not kept."""

    exit_code: ClassVar[ExitCode] = ExitCode.ASSERTION_FAILED


class JobError(RaytrainError):
    """A job does not exist on the cluster, its name is taken, or it left nothing to fetch."""

    exit_code: ClassVar[ExitCode] = ExitCode.INVALID


class PreflightError(RaytrainError):
    """The run cannot be scheduled, stored or fed, and nothing was started."""

    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class StorageError(RaytrainError, OSError):
    """A run cannot be written any longer: its disk is full, or its storage does not answer.

    It is an OSError too, so that code which probes whether a folder can be written catches both with one clause.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class ClusterError(RaytrainError):
    """The Ray cluster is unreachable, refused us, or runs other versions."""

    exit_code: ClassVar[ExitCode] = ExitCode.NO_CLUSTER


class RayLostError(ClusterError):
    """Ray was lost while trials ran. It must not be called again: the call would wait for an answer without end."""


class TrackerError(RaytrainError):
    """A tracker such as MLflow does not answer, or refuses what it is told."""

    exit_code: ClassVar[ExitCode] = ExitCode.NO_CLUSTER


class DivergenceError(RaytrainError):
    """The loss of a training run is no longer finite: a result of that recipe, not a fault.

    Attributes:
        epoch: The epoch, counted from 1, in which it happened.
        of: What the loss is of, "training" or "validation".
    """

    def __init__(self, epoch: int, *, of: str = "training") -> None:
        super().__init__(f"the {of} loss is not finite in epoch {epoch}")
        self.of = of
        self.epoch = epoch
