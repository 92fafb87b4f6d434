"""How far the reading of a data set is: told to whoever shows it, else in a line of the log now and then."""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0
"""Seconds between two lines."""
SHOWN_EVERY_S = 0.1
"""Seconds between two calls of the function that shows the progress."""

Show = Callable[[str, int, int], None]
"""Function of what is done, such as "training images are decoded", how many of it are, and how many will be."""
_show: ContextVar[Show | None] = ContextVar("raytrain_reading", default=None)


@contextmanager
def told_to(show: Show) -> Generator[None]:
    """Have `show` told of all progress for as long as the context lasts; nothing is logged then."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


class Progress:
    """The progress of one thing that takes long."""

    def __init__(self, what: str, total: int) -> None:
        """Begin now.

        Args:
            what: What is done, in words that a number goes before: "training images are decoded".
            total: How many there will be.
        """
        self._what = what
        self._total = total
        self._done = 0
        self._tell = _show.get()
        self._started = self._told = time.monotonic()
        if self._tell:
            self._tell(what, 0, total)

    def add(self, count: int) -> None:
        """Count some that are done."""
        self._done += count
        now = time.monotonic()
        waited = now - self._told
        if self._tell:
            if waited >= SHOWN_EVERY_S or self._done >= self._total:
                self._told = now
                self._tell(self._what, self._done, self._total)
        elif waited >= LINE_EVERY_S and self._done < self._total:
            self._told = now
            left = (now - self._started) / self._done * (self._total - self._done)
            log.info("%s of %s %s, %.0f s left", f"{self._done:,}", f"{self._total:,}", self._what, left)
