"""Ctrl-C and SIGTERM: the first ends a run in good order, the second at once."""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
TERMINATED = 143
_WAKE = signal.SIGUSR2
"""Sent by a thread of this process to the main thread, which nothing but a signal wakes up. SIGUSR1 is Tune's."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; it ends a run as Ctrl-C does."""


class Woken(KeyboardInterrupt):
    """The main thread waits for what will never come."""


def wake_main_thread() -> None:
    """Raise Woken in the main thread, from another one, unless a signal is ending the run already."""
    handled = callable(signal.getsignal(_WAKE))
    os.kill(os.getpid(), _WAKE if handled else signal.SIGINT)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a command that `interrupt` has ended."""
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


class Interruption:
    """What SIGINT and SIGTERM do while a run is on.

    The first raises KeyboardInterrupt in the main thread. Whoever sends a second one does not want to wait for what
    the first has set off: `at_once` is called and the process is gone.

    Attributes:
        at_once: What must not be left undone even then.
    """

    def __init__(self) -> None:
        self.at_once: Callable[[], object] = lambda: None
        self._caught = False
        self._raised: KeyboardInterrupt | None = None

    def meant(self, caught: KeyboardInterrupt) -> KeyboardInterrupt:
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
            raise self.meant(caught) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Handle the signals, again after somebody else has taken them: `ray.init` answers SIGTERM by an abort."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._take)
            signal.signal(signal.SIGTERM, self._take)
            signal.signal(_WAKE, self._wake)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        interrupt = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self._caught:
            self.at_once()
            os._exit(exit_code(interrupt))
        self._caught = True
        self._raised = interrupt
        raise interrupt

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        if not self._caught:
            self._raised = Woken()
            raise self._raised
