"""Trials that hang: their progress stands still, step by step, for longer than anything may take.

Each worker reports its progress once a second, and the driver reads it for the live table and for this check. Losing
such a report loses no result.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain.ray_backend.internals import head
from raytrain.runs.writing.journal import RunJournal

log = logging.getLogger(__name__)

KILL_TIMEOUT_S = 10.0
"""Seconds within which another node must kill one of its processes."""


@dataclass
class _LastChange:
    progress: object
    at: float


class Watchdog:
    """Watches the progress that workers report, and ends the process of a trial that makes none.

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
            timeout_s: Seconds for which a trial may show no progress.
            kill: Function that kills a process, by the node's id and the process id, and raises ProcessLookupError for
                one that is gone; None for `os.kill` on that node.
            clock: Function that returns a time in seconds.
        """
        self._timeout_s = timeout_s
        self._kill = kill or _kill
        self._clock = clock
        self._changes: dict[str, _LastChange] = {}
        self._hung: set[str] = set()

    def look(self, journal: RunJournal) -> None:
        """Show how far running trials are within their epoch, and end those that have stood still for too long."""
        for trial_id, progress in journal.state.progress.items():
            if progress.status != "running":
                self._changes.pop(trial_id, None)
                continue
            if reported := reported_progress(trial_id):
                progress.within_epoch = reported["within_epoch"]
                progress.gpu_bytes = reported.get("gpu_bytes", 0)
                if self.stands_still(trial_id, (progress.epoch, progress.attempts, reported)):
                    self._end(trial_id, reported, journal)

    def _end(self, trial_id: str, reported: Mapping[str, Any], journal: RunJournal) -> None:
        """Kill the process that has reported; one that is gone has workers that wait for room, and no others hang."""
        self._hung.add(trial_id)  # its death may be noticed at once
        self.forget(trial_id)
        try:
            self._kill(reported["node"], reported["pid"])
        except (ProcessLookupError, NodeDiedError, TaskUnschedulableError):
            self._hung.discard(trial_id)
            return
        log.warning("%s has made no progress for %.0f s: its process was killed", trial_id, self._timeout_s)
        journal.note({"event": "hung", "trial": trial_id, "seconds": self._timeout_s})

    def stands_still(self, trial_id: str, progress: Any) -> bool:
        """Return whether the progress of a trial has been the same for longer than it may."""
        last = self._changes.get(trial_id)
        if last is None or last.progress != progress:
            self._changes[trial_id] = _LastChange(progress, self._clock())
            return False
        return self._clock() - last.at > self._timeout_s

    def forget(self, trial_id: str) -> None:
        """Wait for what the trial's next process reports."""
        self._changes.pop(trial_id, None)
        head.put_value(_key(trial_id), None)  # its process id may soon be another's

    def why(self, trial_id: str) -> str | None:
        """Return why a trial's process was ended, if it was ended here; asked once for each death."""
        if trial_id not in self._hung:
            return None
        self._hung.remove(trial_id)  # its next process may die of something else
        return f"no progress for {self._timeout_s:.0f} s"


def report_progress(trial_id: str, *, within_epoch: float, evaluated: int, gpu_bytes: int = 0) -> None:
    """Report from a trial's process how far it is within its epoch.

    Args:
        trial_id: The trial.
        within_epoch: Share of the epoch that is done, in [0, 1].
        evaluated: Number of batches that have been evaluated: what moves while no step is done.
        gpu_bytes: Most bytes of GPU memory that the process has held; 0 without a GPU.
    """
    here = {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id(), "gpu_bytes": gpu_bytes}
    head.put_value(_key(trial_id), {"within_epoch": within_epoch, "evaluated": evaluated, **here})


def reported_progress(trial_id: str) -> Any:
    """Return the last report of a trial's process, as `report_progress` makes it; None where there is none."""
    return head.get_value(_key(trial_id))


def _key(trial_id: str) -> str:
    """Return the key of a trial's reports: of this command's, because others on the cluster may have equal recipes."""
    return f"progress/{_job()}/{trial_id}"


def _job() -> str:
    return ray.get_runtime_context().get_job_id()


def _kill(node: str, pid: int) -> None:
    if node == ray.get_runtime_context().get_node_id():
        os.kill(pid, signal.SIGKILL)
        return
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    ray.get(_kill_there.options(scheduling_strategy=there).remote(pid), timeout=KILL_TIMEOUT_S)


@ray.remote(num_cpus=0, max_retries=0)
def _kill_there(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
