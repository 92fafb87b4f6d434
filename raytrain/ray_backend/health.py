"""Whether Ray is still there: without its head, or its local node, a driver would wait for a minute and then abort."""

import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ray._private import worker as ray_worker

from raytrain.background import repeating
from raytrain.errors import ClusterError

log = logging.getLogger(__name__)

NEEDED = ("gcs_server", "raylet")
"""Processes of a Ray that was started here without which nothing goes on."""
SILENT_S = 30.0
"""How long the head of another cluster may leave us without an answer."""
ANSWER_S = 5.0
"""What it has for one answer."""
END_S = 20.0
"""What the main thread has to end the run in good order once Ray is gone."""


class Lifeline:
    """Looks after Ray, and interrupts the main thread when it is gone.

    Attributes:
        lost: Why it is gone, or None.
    """

    def __init__(self, *, wake: Callable[[], object]) -> None:
        """Look after the Ray that this process is connected to.

        Args:
            wake: Interrupts the main thread, which may wait for an answer that will not come.
        """
        self.lost: str | None = None
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
        return self.lost or _died()

    def _look(self) -> None:
        if self.lost:
            return
        self.lost = _died() or self._silent()
        if self.lost:
            self._wake()
            threading.Thread(target=self._end, args=(self.lost,), daemon=True).start()

    def _silent(self) -> str | None:
        if _started_here() or _answers():
            self._answered = time.monotonic()
            return None
        silent = time.monotonic() - self._answered
        return f"its head has not answered for {silent:.0f} s" if silent > SILENT_S else None

    def _end(self, why: str) -> None:
        """End the process if the main thread does not come back from Ray."""
        if not self._left.wait(END_S):
            log.error("Ray is gone: %s. The same command goes on where this one stopped.", why)
            os._exit(ClusterError.exit_code)


def _started_here() -> bool:
    return bool(_processes())


def _died() -> str | None:
    for name in NEEDED:
        for info in _processes().get(name, ()):
            if (code := info.process.poll()) is not None:
                return f"its {name} has died ({code})"
    return None


def _processes() -> dict[str, Any]:
    """Return the processes of a Ray that was started here, by their names; none of another cluster's."""
    node: Any = ray_worker._global_node  # pyright: ignore[reportPrivateUsage]
    return node.all_processes if node else {}


def _answers() -> bool:
    try:
        worker: Any = ray_worker.global_worker
        worker.gcs_client.internal_kv_exists(b"", b"raytrain", timeout=ANSWER_S)
    except Exception:  # noqa: BLE001 (whatever Ray raises, it has not answered)
        return False
    return True
