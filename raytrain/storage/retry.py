"""Retries while storage over a network does not answer for a while."""

import errno
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import tenacity

log = logging.getLogger(__name__)

Found = TypeVar("Found")

LONGEST_WAIT_S = 15.0
"""Longest wait between two tries, in seconds; the first waits are 0.5 s, 1 s, 2 s, ..."""
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "ESTALE", "EAGAIN", "EINTR", "EPIPE", "ETIMEDOUT", "EREMOTEIO"),
        *("ECONNRESET", "ECONNREFUSED", "ECONNABORTED"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    )
    if hasattr(errno, name)
}
_PASSING_WORDS = re.compile(
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING|INTERNAL_FAILURE|curlCode"
    r"|timed? ?out|connection (?:refused|reset)|HTTP (?:response code|status) (?:429|50\d)",
    re.IGNORECASE,
)
"""Parts of pyarrow's messages about object storage that does not answer; those errors have no number."""


def persistently(act: Callable[[], Found], *, retry_s: float, what: str) -> Found:
    """Return what `act` returns; try again after a passing error, for at most `retry_s`.

    Args:
        act: Does something that may be done twice.
        retry_s: Seconds from the first try until it gives up; 0 tries once.
        what: What is acted on, for the warning.

    Raises:
        OSError: The error of the last try, or at once an error that will not pass.
    """
    if not retry_s:
        return act()  # ten thousand trials have as many files, which are read and never tried again
    import tenacity  # imports asyncio, and Tornado where that is there

    def say(state: "tenacity.RetryCallState") -> None:
        if state.attempt_number == 1 and state.outcome:
            why = (str(state.outcome.exception()).splitlines() or ["no reason given"])[0]
            log.warning("%s does not answer, trying for %.0f s: %s", what, retry_s, why)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        stop=tenacity.stop_after_delay(retry_s),
        wait=tenacity.wait_exponential(multiplier=0.5, max=LONGEST_WAIT_S),
        before_sleep=say,
        reraise=True,
    )(act)


def passes(error: BaseException) -> bool:
    """Return whether an error is of a kind that storage over a network has for a while and then no longer."""
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return False
    return error.errno in _PASSING if error.errno else bool(_PASSING_WORDS.search(str(error)))
