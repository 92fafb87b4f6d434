"""A function that is called again and again in the background."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def repeating(act: Callable[[], None], *, every: float) -> Generator[None]:
    """Call `act` from another thread, every so many seconds, for as long as the context lasts."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every):
            act()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
