"""SIGINT, SIGTERM and SIGHUP from the first moment of a command: none is lost, and none waits for long.

While the `raytrain` command is imported, such a signal ends the process at once. Then it raises KeyboardInterrupt in
the main thread. A library may swallow that, or not come back to Python for a long time: Ray does both while it starts.
So a thread of its own hears of every signal through a pipe, whatever the main thread does. The process ends
`END_TIMEOUT_S` later if it still runs and does not save a run.

This module imports little, because nothing is handled before it is imported.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from raytrain.background import exit_at_once
from raytrain.errors import ExitCode

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command in good order."""
END_TIMEOUT_S = 5.0
"""Seconds after a signal within which a command that has no run to save must have ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; it ends a run as Ctrl-C does."""


def interrupt_of(number: int) -> KeyboardInterrupt:
    """Return the exception that stands for a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def code_of(number: int) -> ExitCode:
    """Return the exit code of a command that a signal has ended."""
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED


def taken() -> list[int]:
    """Return the signals to handle: those of `ENDING`, without SIGHUP where `nohup` has the process ignore it."""
    return [one for one in ENDING if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


class Process:
    """The signals of this process while it is the `raytrain` command.

    Attributes:
        arrived: The first signal that arrived; None before.
        saving: Whether a run is being trained or saved, which may take as long as it needs.
        watching: Whether this process is the command, and not a notebook or a script that calls the package.
        raise_swallowed: Raises again what a signal has raised, where the training still goes on: it was swallowed then.
    """

    def __init__(self) -> None:
        self.arrived: int | None = None
        self.saving = False
        self.watching = False
        self.raise_swallowed: Callable[[], None] = lambda: None
        self._starting = True
        self._said = False
        self._handled = False

    def watch(self) -> None:
        """Handle the signals from now on, and end the process at once by the first, until `begin` is called."""
        self.watching = True
        for number in taken():
            signal.signal(number, self._handle)
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(heard,), name="signals", daemon=True).start()

    def begin(self) -> None:
        """Have the first signal raise KeyboardInterrupt, because a command begins that may have to clean up."""
        self._starting = False

    def say(self, message: str = "raytrain: interrupted") -> None:
        """Say once that a signal ends the command; directly, since the main thread may hold the stream's lock."""
        if not self._said:
            self._said = True
            with contextlib.suppress(OSError):  # the terminal is gone: that is what SIGHUP says
                os.write(2, f"{message}\n".encode())

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first, self._handled = not self._handled, True  # the listening thread may have heard of this one before
        self.arrived = self.arrived or number
        if self._starting or not first:
            self._end()
        raise interrupt_of(number)

    def _listen(self, heard: int) -> None:
        deadline: float | None = None
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if select.select([heard], [], [], left)[0]:
                ending = [number for number in os.read(heard, 64) if number in ENDING]
                if ending and deadline is None:
                    self.arrived = self.arrived or ending[0]
                    deadline = time.monotonic() + END_TIMEOUT_S
                continue
            deadline = None
            if not self.saving:
                self._end()

    def _end(self) -> None:
        assert self.arrived, "a signal has arrived"
        self.say()
        exit_at_once(code_of(self.arrived))


process = Process()
"""The signals of this process."""
