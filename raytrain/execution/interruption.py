"""Ctrl-C, SIGTERM, SIGHUP and the time limit: the first saves and ends a run, a second signal ends it at once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from raytrain.background import swallowed_interrupts_raised
from raytrain.errors import ExitCode, ExperimentError
from raytrain.execution import signals
from raytrain.execution.signals import Terminated, interrupt_of

_WAKE = signal.SIGUSR2
"""Signal that another thread sends to wake the main thread, which only a signal can do. Tune uses SIGUSR1."""


LONGEST_S = 365 * 24 * 3600
"""Longest time limit in seconds that is counted: a timer takes no infinity."""
_AGAIN_S = 0.05
"""Seconds after which an interrupt that was dropped is raised again."""


class OutOfTime(KeyboardInterrupt):
    """The time limit was reached; the run ends as it does after Ctrl-C."""


class Woken(KeyboardInterrupt):
    """The main thread waits for a Ray that is gone."""


def wake_main_thread() -> None:
    """Raise Woken in the main thread, from another one, unless a signal is ending the run already."""
    handled = callable(signal.getsignal(_WAKE))
    os.kill(os.getpid(), _WAKE if handled else signal.SIGINT)


def exit_code(interrupt: KeyboardInterrupt) -> ExitCode:
    """Return the exit code of a command that `interrupt` has ended."""
    if isinstance(interrupt, OutOfTime):
        return ExitCode.OUT_OF_TIME
    return ExitCode.TERMINATED if isinstance(interrupt, Terminated) else ExitCode.INTERRUPTED


class Interruption:
    """Handles SIGINT, SIGTERM, SIGHUP and the time limit during a run.

    The first raises KeyboardInterrupt in the main thread, which then saves the run. The second calls `before_exit` and
    ends the process without waiting.

    Attributes:
        before_exit: Function that is called before the second signal ends the process.
    """

    def __init__(self, *, limit_s: float | None = None) -> None:
        """Start the clock.

        Args:
            limit_s: Seconds after which `limited` interrupts its context; None for no limit.

        Raises:
            ExperimentError: There is a limit, and this is not the main thread, which alone can be interrupted.
        """
        if limit_s is not None and threading.current_thread() is not threading.main_thread():
            raise ExperimentError(
                f"a time limit of {limit_s:g} s was given in another thread than the main one, which alone can be "
                "interrupted; call it in the main thread, or leave time_limit_s out"
            )
        self._deadline = None if limit_s is None else time.monotonic() + limit_s
        self.before_exit: Callable[[], object] = lambda: None
        self._caught = False
        self._out_of_time = False
        self._ended_by_limit = False
        self._raised: KeyboardInterrupt | None = None
        self._dropped = False

    def cause_of(self, caught: KeyboardInterrupt) -> KeyboardInterrupt:
        """Return the interrupt behind `caught`, such as Terminated: within Ray it becomes a plain KeyboardInterrupt.

        Ray's Cython code drops what a signal handler raises while it waits, and raises its own KeyboardInterrupt.
        """
        return self._raised or caught

    @contextmanager
    def handled(self) -> Generator[None]:
        """Handle the signals for as long as the context lasts; in a thread that takes none, nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (*signals.taken(), _WAKE)}
        self.install()
        try:
            with swallowed_interrupts_raised(self._raise_swallowed), self._raised_again():
                yield
        except KeyboardInterrupt as caught:
            raise self.cause_of(caught) from None
        finally:
            signals.process.saving = False
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _raised_again(self) -> Generator[None]:
        """Raise an interrupt once more that Python has dropped while the context lasts.

        Python reports what is raised in a finalizer or in the callback of a weak reference, such as those of its import
        locks, and goes on. A signal may well arrive in one.
        """
        before = sys.unraisablehook

        def hear(unraisable: "sys.UnraisableHookArgs") -> None:
            if unraisable.exc_value is None or unraisable.exc_value is not self._raised:
                before(unraisable)
                return
            self._dropped = True
            again = threading.Timer(_AGAIN_S, lambda: wake_main_thread() if self._dropped else None)
            again.daemon = True
            again.start()

        sys.unraisablehook = hear
        try:
            yield
        finally:
            self._dropped = False
            sys.unraisablehook = before

    def _raise_swallowed(self) -> None:
        if self._raised:
            self._dropped = False
            raise self._raised

    @contextmanager
    def limited(self) -> Generator[None]:
        """Raise OutOfTime in the main thread when the limit is reached while the context lasts.

        From then on, until the end of `handled`, the run has something to save, and takes the time that it needs.
        """
        signals.process.saving = True
        if self._deadline is None:
            yield
            return
        before = signal.signal(signal.SIGALRM, self._alarm)
        left_s = min(max(self._deadline - time.monotonic(), 0.001), LONGEST_S)
        signal.setitimer(signal.ITIMER_REAL, left_s)
        try:
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
        except KeyboardInterrupt as caught:
            self._ended_by_limit = self._out_of_time
            if isinstance(caught, OutOfTime):
                self._raised = caught  # not a signal that Python has dropped since
            raise

    def install(self) -> None:
        """Install the signal handlers, also again after `ray.init`, which installs its own handler of SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            for number in signals.taken():
                signal.signal(number, self._handle)
            signal.signal(_WAKE, self._wake)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        interrupt = interrupt_of(number)
        if self._caught:
            self.before_exit()
            if signals.process.watching:
                os._exit(exit_code(interrupt))
            raise interrupt  # a notebook or a script goes on
        self._caught = True
        if self._limit_is_ending():  # the run is ending already, in good order
            return
        self._dropped = False
        self._raised = interrupt
        raise interrupt

    def _limit_is_ending(self) -> bool:
        """Return whether the time limit ends the training, or has ended it; False where a library has swallowed it.

        It ends it while a `finally`, an `except` or a context deals with the interrupt.
        """
        dealt_with = sys.exception()
        while dealt_with and not isinstance(dealt_with, KeyboardInterrupt):  # within Ray it is a plain one
            dealt_with = dealt_with.__context__
        return self._ended_by_limit or (self._out_of_time and dealt_with is not None)

    def _alarm(self, _number: int, _frame: FrameType | None) -> None:
        if not self._caught:
            self._out_of_time = True
            self._raised = OutOfTime()
            raise self._raised

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        if self._ended_by_limit:  # the run is being saved
            return
        if self._dropped and self._raised:
            self._dropped = False
            raise self._raised
        if not (self._caught or self._limit_is_ending()):
            self._raised = Woken()
            raise self._raised
