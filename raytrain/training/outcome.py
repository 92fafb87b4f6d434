"""How a trial ended without a result, and why, in one line, with what to do about it where we know."""

import re
import traceback
from typing import Literal, TypedDict

from raytrain.errors import DivergenceError
from raytrain.user_code.modules import place_in_user_code

OUT_OF_MEMORY = "out of memory"
"""The beginning of the line when memory ran out."""
ADVICE = "try a smaller batch_size or width, fewer trials at one time (--max-concurrent), or a larger machine"
_SAID_IN_PROCESS = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc|Unable to allocate")
_SAID_BY_RAY = re.compile(r"low on memory|memory usage threshold|OutOfMemory")
_KILLED = re.compile(r"SIGKILL|connection error code|exit code -?9\b|unexpected(?:ly)? ", re.IGNORECASE)


class Outcome(TypedDict):
    """The end of a trial that did not finish: plain values, so that it travels between processes."""

    status: Literal["diverged", "failed"]
    error: str
    """Why, in one line."""
    details: str
    """A traceback, or ""."""


def ends_its_trial(error: BaseException) -> bool:
    """Return whether an error ends a trial and nothing else: any but an interruption.

    `sys.exit` in code of the user's is such an error. Ray and raytrain use SystemExit to end a process.
    """
    return isinstance(error, Exception) or (isinstance(error, SystemExit) and place_in_user_code(error) is not None)


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
    place = place_in_user_code(error)
    said = _shortened(" ".join([*([f"{place}:"] if place else []), f"{name}:" if lines else name, *lines]))
    if isinstance(error, MemoryError) or "OutOfMemory" in name or _SAID_IN_PROCESS.search(str(error)):
        return f"{OUT_OF_MEMORY}: {ADVICE} ({said})"
    return said


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


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
