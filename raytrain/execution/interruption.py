"""Ctrl-C, SIGTERM and a time limit: the first of them ends a run in good order, a second signal at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
TERMINATED = 143
OUT_OF_TIME = 8
_WAKE = signal.SIGUSR2
"""Sent by a thread of this process to the main thread, which nothing but a signal wakes up. SIGUSR1 is Tune's."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it ends a run as Ctrl-C does."""


class OutOfTime(KeyboardInterrupt):
    """The run has lasted as long as it may; it ends as by Ctrl-C."""


class Woken(KeyboardInterrupt):
    """The main thread waits for what will never come."""


def wake_main_thread() -> None:
    """Raise Woken in the main thread, from another one, unless a signal is ending the run already."""
    handled = callable(signal.getsignal(_WAKE))
    os.kill(os.getpid(), _WAKE if handled else signal.SIGINT)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a command that `interrupt` has ended."""
    if isinstance(interrupt, OutOfTime):
        return OUT_OF_TIME
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


class Interruption:
    """What SIGINT and SIGTERM do while a run is on.

    The first raises KeyboardInterrupt in the main thread. Whoever sends a second one does not want to wait for what
    the first has set off: `before_exit` is called and the process is gone.

    Attributes:
        before_exit: What must not be left undone even then.
    """

    def __init__(self, *, limit_s: float | None = None) -> None:
        """Start the clock.

        Args:
            limit_s: After how long `limited` work is interrupted; None never does it.
        """
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self.before_exit: Callable[[], object] = lambda: None
        self._caught = False
        self._out_of_time = False
        self._raised: KeyboardInterrupt | None = None

    def cause_of(self, caught: KeyboardInterrupt) -> KeyboardInterrupt:
        """Return what was raised where `caught` has been caught: within Ray a signal becomes a plain KeyboardInterrupt.

        Its Cython swallows what a handler raises while it waits, and raises one of its own.
        """
        return self._raised or caught

    @contextmanager
    def handled(self) -> Generator[None]:
        """Handle the signals for as long as the context lasts; in a thread that takes none, nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, _WAKE)}
        self.install()
        try:
            yield
        except KeyboardInterrupt as caught:
            raise self.cause_of(caught) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def limited(self) -> Generator[None]:
        """Raise OutOfTime in the main thread when the limit is reached while the context lasts."""
        if self._deadline is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, max(self._deadline - time.monotonic(), 0.001))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def install(self) -> None:
        """Handle the signals, again after somebody else has taken them: `ray.init` answers SIGTERM by an abort."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handle)
            signal.signal(signal.SIGTERM, self._handle)
            signal.signal(_WAKE, self._wake)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        interrupt = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self._caught:
            self.before_exit()
            os._exit(exit_code(interrupt))
        self._caught = True
        if self._out_of_time:  # the run is ending already, in good order
            return
        self._raised = interrupt
        raise interrupt

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        if not self._caught:
            self._out_of_time = True
            self._raised = OutOfTime()
            raise self._raised

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        if not (self._caught or self._out_of_time):
            self._raised = Woken()
            raise self._raised
