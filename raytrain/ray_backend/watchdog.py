"""Trials that hang: whose progress stands still, step by step, for longer than anything may take."""

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain.ray_backend import board
from raytrain.runs.folder import RunFolder

log = logging.getLogger(__name__)

KILL_TIMEOUT_S = 10.0
"""What another node has to end a process there."""


@dataclass
class _Sign:
    seen: object
    at: float


class Silence:
    """Watches the signs of life that workers give, and ends the process of a trial that gives none.

    Its death is then what any process's death is: the trial goes on from its checkpoint, a bounded number of times.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        kill: Callable[[str, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to watch.

        Args:
            timeout_s: How long progress may stand still.
            kill: Ends a process by its node's id and its own.
            clock: Seconds.
        """
        self._timeout_s = timeout_s
        self._kill = kill or _kill
        self._clock = clock
        self._signs: dict[str, _Sign] = {}
        self._hung: dict[str, int] = {}

    def look(self, run: RunFolder) -> None:
        """Show how far running trials are within their epoch, and end those that have stood still for too long."""
        for trial_id, progress in run.progress.items():
            if progress.status != "running":
                self._signs.pop(trial_id, None)
                continue
            if seen := board.get(trial_id, "progress"):
                progress.show(seen["within_epoch"])
                if self.stands_still(trial_id, (progress.epoch, progress.attempts, seen)):
                    log.warning("%s shows no progress for %.0f s: ending its process", trial_id, self._timeout_s)
                    run.note("hung", trial=trial_id, seconds=self._timeout_s)
                    self._hung[trial_id] = self._hung.get(trial_id, 0) + 1
                    self.forget(trial_id)
                    self._kill(seen["node"], seen["pid"])

    def stands_still(self, trial_id: str, seen: Any) -> bool:
        """Return whether a trial has given the same sign for longer than it may."""
        sign = self._signs.get(trial_id)
        if sign is None or sign.seen != seen:
            self._signs[trial_id] = _Sign(seen, self._clock())
            return False
        return self._clock() - sign.at > self._timeout_s

    def forget(self, trial_id: str) -> None:
        """Wait for the signs of the trial's next process."""
        self._signs.pop(trial_id, None)
        board.put(trial_id, "progress", None)  # its process id may soon be another's

    def why(self, trial_id: str) -> str | None:
        """Return why a trial's process was ended, if it was ended here."""
        return f"no progress for {self._timeout_s:.0f} s" if trial_id in self._hung else None


def _kill(node: str, pid: int) -> None:
    if node == ray.get_runtime_context().get_node_id():
        os.kill(pid, signal.SIGKILL)
        return
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    ray.get(_kill_there.options(scheduling_strategy=there).remote(pid), timeout=KILL_TIMEOUT_S)


@ray.remote(num_cpus=0, max_retries=0)
def _kill_there(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
