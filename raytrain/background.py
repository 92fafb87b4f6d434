"""Calls in another thread, once or again and again; before this process ends at once; after a swallowed interrupt."""

import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Generic, NoReturn, TypeVar, cast

log = logging.getLogger(__name__)

Result = TypeVar("Result")

JOIN_TIMEOUT_S = 5.0
"""Seconds for which the end of the context waits for a running call; a call that hangs must not block the process."""


_LAST: list[Callable[[], object]] = []
_SWALLOWED: list[Callable[[], object]] = []


@contextmanager
def _among(calls: list[Callable[[], object]], act: Callable[[], object]) -> Generator[None]:
    calls.append(act)
    try:
        yield
    finally:
        calls.remove(act)


def before_exit(act: Callable[[], object]) -> AbstractContextManager[None]:
    """Have `exit_at_once` call `act` in whatever thread ends the process, for as long as the context lasts."""
    return _among(_LAST, act)


def exit_at_once(code: int) -> NoReturn:
    """End this process with an exit code, whatever its main thread does, after what `before_exit` names."""
    for act in reversed(_LAST):
        with suppress(Exception):
            act()
    os._exit(code)


def swallowed_interrupts_raised(by: Callable[[], object]) -> AbstractContextManager[None]:
    """Have `raise_swallowed` call `by` for as long as the context lasts."""
    return _among(_SWALLOWED, by)


def raise_swallowed() -> None:
    """Raise an interrupt again that a library has swallowed: that of a signal or of the time limit.

    Code in C may clear an error without a word. The loops over trials call this often, in the main thread. If they
    still run after an interrupt, it was swallowed. This is a function of a module, because Ray pickles the callback
    that calls it.
    """
    for act in reversed(_SWALLOWED):
        act()


@contextmanager
def repeating(act: Callable[[], None], *, every: float) -> Generator[None]:
    """Call `act` from another thread, every so many seconds, for as long as the context lasts.

    An error in it is logged, and it is called again: one failed call must not end the watching. Of errors that follow
    each other, only the first is logged.
    """
    stop = threading.Event()

    def loop() -> None:
        failing = False
        while not stop.wait(every):
            try:
                act()
                failing = False
            except Exception:
                if not failing:
                    log.warning("a call in the background failed and is tried again each %g s", every, exc_info=True)
                failing = True

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(JOIN_TIMEOUT_S)


class InThread(Generic[Result]):
    """A call in another thread, which does not keep the process alive."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """Start the call.

        Args:
            work: Function to call.
        """
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], Result]) -> None:
        try:
            self._results.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            self._error = error

    def has_ended(self, *, within_s: float) -> bool:
        """Wait for the end of the call for some seconds, and return whether it has come."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """Wait for the end of the call, and return what it returned, or raise what it raised."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._results[0]


def undisturbed(work: Callable[[], Result]) -> Result:
    """Call `work` in another thread, where no signal is raised, and wait for its end; return what it returned.

    What a signal raises here meanwhile is raised after the end of the call: it is done whole, or was not begun.

    Args:
        work: Function to call.

    Raises:
        BaseException: The error that `work` raised, or what a signal raised here.
    """
    begun, ended = threading.Lock(), threading.Event()

    def run() -> Result | None:
        if not begun.acquire(blocking=False):
            return None  # given up before it began
        try:
            return work()
        finally:
            ended.set()

    try:
        call = InThread(run)
        return cast(Result, call.result())
    except BaseException:
        if not begun.acquire(blocking=False):
            ended.wait()
        raise
