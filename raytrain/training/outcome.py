"""How a trial ended without a result, and why, in one line, with what to do about it where we know."""

import re
import traceback
from collections.abc import Mapping
from typing import Literal, TypedDict

from raytrain.errors import DivergenceError
from raytrain.user_code.modules import line_in_user_code

OUT_OF_MEMORY = "out of memory"
"""The beginning of the line when memory ran out."""
ADVICE = "try a smaller batch_size or width, fewer trials at one time (--max-concurrent), or a larger machine"
UNUSED = (
    "the network did not use some of its trainable parameters for a batch. With several workers, each of them needs a "
    "gradient in every step: let the network use all of them for every batch, or train with one worker"
)
"""The line when DistributedDataParallel has waited in vain for the gradient of a parameter."""
LONGEST = 300
"""Most characters of an error's own words."""
_SAID_IN_PROCESS = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|Unable to allocate")
_SAID_OF_UNUSED = "Expected to have finished reduction in the prior iteration"
_SAID_BY_RAY = re.compile(r"low on memory|memory usage threshold|OutOfMemory")
_KILLED = re.compile(r"SIGKILL|connection error code|exit code -?9\b|unexpected(?:ly)? ", re.IGNORECASE)


class Outcome(TypedDict):
    """The end of a trial that did not finish: plain values, so that it travels between processes."""

    status: Literal["diverged", "failed"]
    error: str
    """Why, in one line."""
    details: str
    """A traceback, or ""."""


class RankFailedError(Exception):
    """The error of one of several processes that train a trial, in plain values.

    The error itself may not reach another process: its traceback never does, and its class may stand in code of the
    user's.

    Attributes:
        outcome: The end that it means for the trial.
        in_user_code: Whether code of the user's was running.
    """

    def __init__(self, outcome: Outcome, in_user_code: bool) -> None:  # noqa: FBT001 (pickle passes by position)
        super().__init__(outcome, in_user_code)
        self.outcome = outcome
        self.in_user_code = in_user_code

    def __str__(self) -> str:
        return self.outcome["error"]

    @classmethod
    def of(cls, error: BaseException) -> "RankFailedError":
        """Return what another process is told of an error. Call it while the error is handled."""
        return cls(outcome_of(error), line_in_user_code(error) is not None)


def outcome_of_ranks(error: BaseException, failures: Mapping[int, BaseException]) -> Outcome:
    """Return the end of a trial that several processes trained.

    Args:
        error: What Ray Train raised about them.
        failures: Error of each process that failed, by its rank. Where one fails, the others lose their connection to
            it, and fail too.
    """
    ended = [one for _, one in sorted(failures.items()) if isinstance(one, RankFailedError)]
    if not ended or len(ended) < len(failures):  # a process died, which is why the others failed
        return outcome_of(error)
    return min(ended, key=lambda one: not (one.in_user_code or one.outcome["error"] == UNUSED)).outcome


def ends_its_trial(error: BaseException) -> bool:
    """Return whether an error ends a trial and nothing else: any but an interruption.

    `sys.exit` in code of the user's is such an error. Ray and raytrain use SystemExit to end a process.
    """
    return isinstance(error, Exception) or (isinstance(error, SystemExit) and line_in_user_code(error) is not None)


def outcome_of(error: BaseException) -> Outcome:
    """Return the end that an error means for the trial in which it was raised.

    Call it while the error is handled: `details` is the traceback of then.
    """
    if isinstance(error, DivergenceError):
        return {
            "status": "diverged",
            "error": f"the {error.of} loss was not finite in epoch {error.epoch}",
            "details": "",
        }
    return {"status": "failed", "error": described(error), "details": traceback.format_exc()}


def described(error: BaseException) -> str:
    """Return why a trial failed with `error`, in one line, with the file and the line where code of the user's ran."""
    name = type(error).__name__
    # Train puts the cause on the second line
    lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
    line = line_in_user_code(error)
    said = _shortened(" ".join([*([f"{line}:"] if line else []), f"{name}:" if lines else name, *lines]))
    if isinstance(error, MemoryError) or "OutOfMemory" in name or _SAID_IN_PROCESS.search(str(error)):
        return f"{OUT_OF_MEMORY}: {ADVICE} ({said})"
    return UNUSED if _SAID_OF_UNUSED in str(error) else said


def described_death(said: str) -> str:
    """Return what it means that a trial's process died.

    Args:
        said: Ray's message about the death.
    """
    if _SAID_BY_RAY.search(said):
        return f"{OUT_OF_MEMORY}: its process was ended because the machine ran low on memory; {ADVICE}"
    if _KILLED.search(said) or not said.strip():
        return (
            "its process died, killed from outside or by the system; the kernel's log (dmesg) says if memory was short"
        )
    return _shortened(said.strip().splitlines()[-1])


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
