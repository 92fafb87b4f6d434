"""A run sent to a tracker while it trains, by a thread of the process that drives the run.

The thread reads the run folder and the state of the run, as pages do, and tells the tracker what it lacks. So nothing
of the run ever waits for a tracker, and nothing is lost by one that is slow or away: what was not sent is on record,
and the next look, the end of the run or `raytrain log` sends it.
"""

import logging
import shlex
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from raytrain.analysis.record import RunRecord
from raytrain.errors import counted
from raytrain.runs.state import RunState
from raytrain.storage.credentials import refuse_credentials
from raytrain.storage.folder import Folder
from raytrain.trackers.content import Common, content_so_far
from raytrain.trackers.sending import Sent, send
from raytrain.trackers.tracker import CREDENTIALS, Tracker, check_tracker, open_tracker, reason_of

log = logging.getLogger(__name__)

EVERY_S = 10.0
"""Seconds between two looks at the run."""
FINISH_S = 30.0
"""Longest time in seconds for which a command waits at its end for what is left to send."""

Shown = Callable[[RunState], AbstractContextManager[None]]
"""Function that returns a context in which the progress of a run is shown."""


class LiveLog:
    """Tells a tracker of a run while it trains; a tracker that does not answer neither slows nor ends the run."""

    def __init__(
        self,
        target: str,
        folder: Folder,
        *,
        every_s: float = EVERY_S,
        opened: Callable[..., Tracker] = open_tracker,
    ) -> None:
        """Refuse a tracker that there is not; nothing is asked of it yet.

        Args:
            target: Name of a tracker, or name and address, such as "mlflow" or "mlflow=http://127.0.0.1:5000".
            folder: The run folder.
            every_s: Seconds between two looks at the run.
            opened: Function that opens a tracker.

        Raises:
            ExperimentError: There is no such tracker, or its package is not installed.
            PreflightError: The address has a password in it.
        """
        self._name, _, uri = target.partition("=")
        check_tracker(self._name)
        # the run folder keeps the command
        refuse_credentials(uri, instead=CREDENTIALS)
        self._uri = uri or None
        self._folder = folder
        self._every_s = every_s
        self._opened = opened
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._abandoned = False
        self._state: RunState | None = None
        self._record: RunRecord | None = None
        self._sent: Sent | None = None
        self._seen: dict[str, tuple[object, ...]] = {}
        self._why = "it takes too long"

    def beside(self, shown: Shown) -> Shown:
        """Return a function that shows a run as `shown` does, and tells the tracker of it at the same time."""

        @contextmanager
        def both(state: RunState) -> Generator[None]:
            self._state = state
            self._start()
            try:
                with shown(state):
                    yield
            except BaseException:
                self._abandoned = True
                self._woken.set()
                raise

        return both

    def finish(self, record: RunRecord, *, wait_s: float = FINISH_S) -> Sent | None:
        """Send what is left of a run that has ended, with its report, and say how much the tracker has.

        Args:
            record: Record of the run.
            wait_s: Longest time to wait in seconds.

        Returns:
            What the tracker has; None where it was not told everything.
        """
        self._record = record
        self._woken.set()
        self._start().join(wait_s)
        if self._sent:
            log.info("%s has all trials of this run", self._sent.where)
            return self._sent
        started = [one for one in record.state.progress.values() if one.attempts or one.result]
        told = sum(self._seen.get(one.trial.id) == _mark(record.state, one.trial.id) for one in started)
        uri = f" --tracking-uri {shlex.quote(self._uri)}" if self._uri else ""
        trials = counted(len(started), "trial")
        log.warning(
            "%s has %d of %s in full (%s). Nothing of the run is lost; send it with: raytrain log %s --to %s%s",
            *(self._name, told, trials, self._why, shlex.quote(str(self._folder)), self._name, uri),
        )
        return None

    def _start(self) -> threading.Thread:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="raytrain-log", daemon=True)
            self._thread.start()
        return self._thread

    def _work(self) -> None:
        tracker: Tracker | None = None
        failing = False
        while True:
            self._woken.wait(self._every_s)
            if self._abandoned:
                return
            record = self._record
            try:
                tracker = tracker or self._opened(self._name, uri=self._uri, project=self._folder.name)
                if record:
                    self._sent = send(record, tracker)
                elif self._state:
                    self._look(tracker, self._state)
                failing = False
            except Exception as error:  # whatever a tracker does, the run goes on
                self._why = reason_of(error)
                if not failing and not self._record:  # `finish` has the last word
                    log.warning("%s: %s; the run goes on, and raytrain tries the tracker again", self._name, self._why)
                log.debug("%s failed", self._name, exc_info=True)
                failing = True
            if record:
                return

    def _look(self, tracker: Tracker, state: RunState) -> None:
        common = Common.of(state, self._folder)
        for trial, progress in list(state.progress.items()):
            mark = _mark(state, trial)
            if (progress.attempts or progress.result) and self._seen.get(trial) != mark and not self._record:
                tracker.write(content_so_far(progress, self._folder, common=common))
                self._seen[trial] = mark


def _mark(state: RunState, trial: str) -> tuple[object, ...]:
    progress = state.progress[trial]
    return progress.epoch, progress.status, progress.attempts
