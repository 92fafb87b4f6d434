"""Whether Ray is still there: without its head, or its local node, a driver would wait for a minute and then abort."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

from raytrain.background import repeating
from raytrain.errors import ClusterError
from raytrain.ray_backend.internals import head

log = logging.getLogger(__name__)

ESSENTIAL = ("gcs_server", "raylet")
"""Names of the processes that a Ray on this machine cannot run without."""
HEAD_TIMEOUT_S = 30.0
"""Seconds without an answer after which the head of another cluster counts as lost."""
ANSWER_TIMEOUT_S = 5.0
"""Seconds within which the head must give one answer."""
END_TIMEOUT_S = 20.0
"""Seconds within which the main thread must save the run and end once Ray is gone."""


class Health:
    """Watches Ray, and interrupts the main thread when it is gone.

    Attributes:
        lost: Reason why Ray is gone; None while it is there.
    """

    def __init__(self, *, folder: Path | None, wake: Callable[[], object]) -> None:
        """Remember the processes of the Ray that this process is connected to.

        Args:
            folder: Folder of a Ray that this process started; None for another cluster.
            wake: Function that interrupts the main thread, which may wait for an answer of Ray.
        """
        self.lost: str | None = None
        self._processes = _started_here(folder) if folder else {}
        self._wake = wake
        self._answered = time.monotonic()
        self._left = threading.Event()

    @contextmanager
    def watched(self) -> Generator[None]:
        """Look every second for as long as the context lasts."""
        with repeating(self._look, every=1.0):
            try:
                yield
            finally:
                self._left.set()

    def why_lost(self) -> str | None:
        """Return why Ray is gone, or None; asks now, without waiting for the next look."""
        return self.lost or self._died()

    def _look(self) -> None:
        if self.lost:
            return
        self.lost = self._died() or self._head_lost()
        if self.lost:
            self._wake()
            threading.Thread(target=self._end, args=(self.lost,), daemon=True).start()

    def _died(self) -> str | None:
        return next((f"its {name} has died" for name, process in self._processes.items() if not _lives(process)), None)

    def _head_lost(self) -> str | None:
        if self._processes or head.head_answers(timeout_s=ANSWER_TIMEOUT_S):
            self._answered = time.monotonic()
            return None
        waited = time.monotonic() - self._answered
        return f"its head has not answered for {waited:.0f} s" if waited > HEAD_TIMEOUT_S else None

    def _end(self, why: str) -> None:
        """End the process if the main thread does not come back from Ray."""
        if not self._left.wait(END_TIMEOUT_S):
            log.error("Ray is gone: %s. The same command continues the run.", why)
            os._exit(ClusterError.exit_code)


def _started_here(folder: Path) -> dict[str, psutil.Process]:
    """Return those of the needed processes that this process has started, by their names."""
    found: dict[str, psutil.Process] = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # another child has just ended
            if child.name() in ESSENTIAL and any(f"{folder}/" in word for word in child.cmdline()):
                found[child.name()] = child
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
