"""A function that is called again and again in the background."""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LAST_CALL_S = 5.0
"""How long the end of the context waits for a call that has begun: one that hangs must not keep the process alive."""


@contextmanager
def repeating(act: Callable[[], None], *, every: float) -> Generator[None]:
    """Call `act` from another thread, every so many seconds, for as long as the context lasts.

    An error in it is logged and it is called again: a guard that dies of one failed look guards nothing.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every):
            try:
                act()
            except Exception:
                log.warning("%s failed and is tried again in %g s", act, every, exc_info=True)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LAST_CALL_S)
