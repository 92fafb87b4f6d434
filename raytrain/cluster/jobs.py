"""Commands that run on a cluster as Ray Jobs: submit, follow, list and stop them, and fetch what they wrote."""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import tenacity

from raytrain.cluster import dashboard
from raytrain.cluster.package import FILES, Package
from raytrain.cluster.transfer import received
from raytrain.errors import ClusterError, ExitCode, JobError, first_line

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
"""Seconds between two requests for a job's status, and before a lost connection is tried again."""
RECONNECT_TIMEOUT_S = 300.0
"""Seconds for which a lost connection to the cluster is tried again."""
STOP_TIMEOUT_S = 30.0
"""Seconds that a stopped job has to save its trials before Ray kills it; Ray's default is 3 s."""
AGENT_TIMEOUT_S = 60.0
"""Seconds for which a job is submitted again while the head has no agent yet that starts it."""
NO_AGENT = "No available agent to submit job"
"""Part of the head's message while the agent that starts jobs is still starting, as on a busy machine."""
TERMINAL = {"SUCCEEDED", "FAILED", "STOPPED"}
REMOTE_RUNS = '"${RAYTRAIN_OUT:-$HOME/raytrain-runs}"'
"""Folder of runs on the cluster for a command without --out, as shell text: shared storage, or the head's disk."""
PYTHON = f"mkdir -p {FILES} && cd {FILES} && exec python -P -m"
"""How a module of the package is run among the files of the user's, which are not on the import path; as shell text."""


@dataclass(frozen=True)
class Job:
    """What a cluster says about a job.

    Attributes:
        id: Name of the job on the cluster.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        command: The raytrain command, or the whole entry point of a job that is not raytrain's.
        run: Name of the run folder; None for a job that is not raytrain's.
        message: Message of the cluster about the status.
        started: Start time in seconds since 1970; None before it.
        seconds: Seconds from the start to the end, or until now; None before the start.
        exit_code: Exit code of the command; None if it has not ended or never ran.
    """

    id: str
    status: str
    command: str
    run: str | None
    message: str
    started: float | None
    seconds: float | None
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL

    @property
    def end_code(self) -> int:
        """Exit code of a command that waited for it: the job's own; 7 if it was stopped, 6 if it never ran."""
        if self.status == "SUCCEEDED":
            return ExitCode.DONE
        if self.status == "STOPPED":
            return ExitCode.JOB_STOPPED
        if self.exit_code is None:
            return ClusterError.exit_code
        return self.exit_code if self.exit_code > 0 else 128 - self.exit_code  # -9: killed by signal 9

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


class Jobs:
    """The jobs of one cluster, over its dashboard's Jobs API."""

    def __init__(self, address: str | None, *, insecure: bool = False) -> None:
        """Connect.

        Args:
            address: URL of the dashboard; None for RAY_API_SERVER_ADDRESS, RAY_ADDRESS or http://127.0.0.1:8265.
            insecure: Whether to connect to another host without a token.

        Raises:
            ClusterError: Nobody answers there, the token is missing or wrong, or another version runs there.
        """
        self.address = dashboard.find(address, insecure=insecure)
        from ray.job_submission import JobSubmissionClient

        for noisy in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with self._explained(), dashboard.no_address_in_environment():
            self._client = JobSubmissionClient(self.address)

    def submit(
        self, arguments: Sequence[str], package: Package, *, job: str, run: str, out: str | None, install: Sequence[str]
    ) -> None:
        """Start `raytrain ARGUMENTS` on the cluster.

        Args:
            arguments: Words of the command after `raytrain`, with paths as they are in the package.
            package: Files to send with the command.
            job: Name for the job.
            run: Name of the run folder.
            out: Folder or URI of runs in the arguments; None for RAYTRAIN_OUT of the nodes, else the head's home
                directory.
            install: Requirements to install in addition to what the nodes have.

        Raises:
            JobError: There is a job of that name.
            ClusterError: The cluster did not take it.
        """
        if any(other.id == job for other in self.all()):
            raise JobError(f"there is already a job {job!r}; choose another --name")
        environment: dict[str, Any] = {
            "working_dir": str(package.folder),
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": f"{STOP_TIMEOUT_S:.0f}"},
            **({"uv": {"packages": list(install)}} if install else {}),
        }
        self._start(
            f"{PYTHON} raytrain {shlex.join(arguments)}" + ("" if out else f" --out {REMOTE_RUNS}"),
            environment,
            job=job,
            about={"command": shlex.join(["raytrain", *arguments]), "run": run, **({"out": out} if out else {})},
        )

    def get(self, job: str) -> Job:
        """Return a job by its name.

        Raises:
            JobError: There is none of that name.
        """
        for one in (jobs := self.all()):
            if one.id == job:
                return one
        names = ", ".join(one.id for one in jobs[:5]) or "none"
        raise JobError(f"there is no job {job!r} at {self.address}; its latest jobs: {names}")

    def all(self) -> list[Job]:
        """Return all jobs that were submitted, the latest first."""
        with self._explained():
            details = [one for one in self._client.list_jobs() if one.submission_id]
        return [_job(one) for one in sorted(details, key=lambda one: -(one.start_time or 0))]

    def log(self, job: str) -> str:
        """Return what a job has printed so far."""
        self.get(job)
        with self._explained():
            return self._client.get_job_logs(job)

    def follow(self, job: str, show: Callable[[str], object]) -> Job:
        """Show what a job prints until it ends, over lost connections too.

        Args:
            job: Name of the job.
            show: Function that is called with each new piece of the log.

        Returns:
            The job, ended.

        Raises:
            ClusterError: The connection was lost for longer than `RECONNECT_TIMEOUT_S`.
        """
        shown = 0

        async def tail() -> None:
            nonlocal shown
            seen = 0
            async for piece in self._client.tail_job_logs(job):
                seen += len(piece)
                if seen > shown:  # a new connection starts at the beginning of the log
                    show(piece[max(0, len(piece) - (seen - shown)) :])
                    shown = seen

        lost_since: float | None = None
        while True:
            try:
                asyncio.run(tail())
                found = self.get(job)
            except (ClusterError, RuntimeError, OSError, aiohttp.ClientError) as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > RECONNECT_TIMEOUT_S:
                    raise ClusterError(
                        f"{self.address} has not answered for {RECONNECT_TIMEOUT_S:.0f} s ({error})"
                    ) from error
            else:
                lost_since = None
                if found.ended:
                    return found
            time.sleep(POLL_INTERVAL_S)

    def stop(self, job: str) -> Job:
        """Ask a job to save and end, and wait for it.

        Returns:
            The job; not ended if the cluster is still preparing its environment, after which it stops.
        """
        if self.get(job).ended:
            return self.get(job)
        with self._explained():
            self._client.stop_job(job)
        deadline = time.monotonic() + STOP_TIMEOUT_S + 10
        while not (found := self.get(job)).ended and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        return found

    def fetch(self, job: str, *, timeout_s: float = 300.0) -> bytes | str:
        """Return the run folder that a job left on the head's disk, as a tar.gz archive, or its URI in shared storage.

        Raises:
            JobError: It wrote none.
            ClusterError: The archive did not arrive whole.
        """
        self.get(job)
        with self._explained():
            details = self._client.get_job_info(job)
        asked, about = details.runtime_env or {}, details.metadata or {}  # anyone with the token may have written these
        environment = {name: asked[name] for name in ("working_dir", "uv") if name in asked}  # the same code
        fetching = f"{job}-fetch-{os.urandom(3).hex()}"
        there = f"{shlex.quote(about['out']) if 'out' in about else REMOTE_RUNS}/{shlex.quote(about.get('run', ''))}"
        self._start(f"{PYTHON} raytrain.cluster.transfer {there}", environment, job=fetching)
        deadline = time.monotonic() + timeout_s
        while not (found := self.get(fetching)).ended:
            if time.monotonic() > deadline:
                self.stop(fetching)
                raise ClusterError(f"the run folder of {job} did not arrive within {timeout_s:.0f} s")
            time.sleep(POLL_INTERVAL_S / 2)
        text = self.log(fetching)
        with self._explained():
            self._client.delete_job(fetching)
        if found.status != "SUCCEEDED":
            raise JobError(f"the job {job} left no run folder on the cluster")
        if (arrived := received(text, job=job)) is None:
            raise ClusterError(f"the run folder of {job} did not arrive completely; try again")
        return arrived

    def _start(
        self, entrypoint: str, environment: dict[str, Any], *, job: str, about: dict[str, str] | None = None
    ) -> None:
        with self._explained():
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception(lambda error: NO_AGENT in str(error)),
                stop=tenacity.stop_after_delay(AGENT_TIMEOUT_S),
                wait=tenacity.wait_fixed(POLL_INTERVAL_S),
                before_sleep=_say_once,
                reraise=True,
            ):
                # the same message comes where the agent took the job and answered too late
                if attempt.retry_state.attempt_number > 1 and self._has(job):
                    return
                with attempt:
                    self._client.submit_job(
                        entrypoint=entrypoint, runtime_env=environment, submission_id=job, metadata=about or {}
                    )

    def _has(self, job: str) -> bool:
        return any(one.submission_id == job for one in self._client.list_jobs())

    @contextmanager
    def _explained(self) -> Generator[None]:
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(dashboard.REFUSED.format(address=self.address)) from error
        except (RuntimeError, OSError) as error:  # requests' own errors are OSErrors
            raise ClusterError(f"the Ray dashboard at {self.address}: {first_line(error)}") from error


def _say_once(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1:
        log.warning("the head of the cluster cannot start jobs yet; trying again for %.0f s", AGENT_TIMEOUT_S)


def _job(details: Any) -> Job:
    about = details.metadata or {}
    started = details.start_time / 1000 if details.start_time else None
    ended = details.end_time / 1000 if details.end_time else time.time()
    return Job(
        id=details.submission_id,
        status=str(details.status.value),
        command=about.get("command", details.entrypoint),
        run=about.get("run"),
        message=details.message or "",
        started=started,
        seconds=max(0.0, ended - started) if started else None,
        exit_code=details.driver_exit_code,
    )
