"""A connection to a Ray cluster: one that is there, or one of our own on this machine while we run."""

# Ray is imported inside the functions: its settings must be in the environment before the first import of Ray.

import logging
import os
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytrain.background import InThread, before_exit
from raytrain.errors import ClusterError, first_line
from raytrain.machine import without_proxy
from raytrain.ray_backend import private_ray
from raytrain.ray_backend.internals import autoscaler, driver, head
from raytrain.storage.credentials import refuse_credentials

if TYPE_CHECKING:
    from raytrain.ray_backend.health import Health

OLDEST, NEWEST = (2, 57), (2, 60)
"""First and last version of Ray that raytrain is tested with; `internals` lists what depends on the version."""
SETTINGS = {
    # Tune and Train print tables and advice of their own; raytrain shows one table
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # under `uv run` Ray would ship the working folder to its workers and start them by `uv run` too: this ends in an
    # error from a sub-folder of the project, and may wait for ever from its root
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # a trial that diverged reports no accuracy
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # interrupts are handled by who started the run
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "10",
    # Ray starts a process per core in advance and then none of them is used: the first trial came 0.7 s later
    "RAY_prestart_worker_first_driver": "0",
    # a nested trainer takes reports when it looks after its workers: every 2 s would be the least length of an epoch
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
}
ON_ONE_MACHINE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""Settings of a Ray on this machine alone, which no cloud takes away: a process less beside each worker group."""
TRACEBACK = "Traceback (most recent call last):"
MAX_NODES = 1000
"""Number of nodes to count for a node type without a limit."""
MEANWHILE_S = 60.0
"""Seconds in which what is done while Ray starts, mostly importing PyTorch, has to end where Ray does not start."""
CONNECT_TIMEOUT_S = 5.0
"""Seconds within which a cluster must accept a connection."""


@dataclass(frozen=True)
class Session:
    """A connection to Ray.

    Attributes:
        private: Folder of a Ray that this process started; None for another cluster.
        health: Watcher of that Ray.
    """

    private: Path | None
    health: "Health"

    def abandon(self) -> None:
        """End at once what was started here."""
        if self.private:
            private_ray.end_processes(self.private)


def cluster_address(address: str | None) -> str | None:
    """Return the address of a cluster, or None where Ray is to be started on this machine.

    Ray takes "local" for the latter, and would then start without our token, on all interfaces.

    Raises:
        ClusterError: It is the URL of a dashboard.
        PreflightError: It has a password in it.
    """
    given = (address or "").strip()
    refuse_credentials(given if "://" in given else f"ray://{given}", instead="RAY_AUTH_TOKEN")
    if given.lower().startswith(("http://", "https://")):
        raise ClusterError(
            f"{given} is the URL of a dashboard, which submit, jobs and logs take; trials need the address of the "
            f"cluster itself, host:6379, or auto on one of its nodes.\n{_without(given)}"
        )
    return None if given.lower() in {"", "local"} else given


def _without(address: str) -> str:
    """Return how to start Ray on this machine instead: by where the address came from."""
    if (os.environ.get("RAY_ADDRESS") or "").strip() == address:
        return "It comes from the environment variable RAY_ADDRESS; unset it to start Ray on this machine."
    return "Leave --address out to start Ray on this machine."


@contextmanager
def ray_session(
    address: str | None,
    *,
    meanwhile: Callable[[], object] = lambda: None,
    wake: Callable[[], object] = lambda: None,
) -> Generator[Session]:
    """Connect to Ray for as long as the context lasts.

    Args:
        address: Address of a running cluster, or "auto"; None or "local" starts Ray on this machine's cores and GPUs,
            protected by a token that only this process and its children know, and ends it afterwards.
        meanwhile: Function that is called in another thread while Ray starts, since nearly all of those 4 s are
            waiting. Its error is raised when Ray is up.
        wake: Function that interrupts the main thread; another thread calls it when Ray is lost.

    Raises:
        ClusterError: There is no cluster at `address`, it refused us, it runs other versions, or the Ray that is
            installed here is one that raytrain does not work with.
    """
    refuse_unsupported_ray(metadata.version("ray"))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "ray" in sys.modules:
        driver.reread_uv_setting()
    address = cluster_address(address)
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what goes wrong with a trial is in its error.txt
    with _joined(address, meanwhile, wake) if address else _started(meanwhile, wake) as session:
        yield session


def refuse_unsupported_ray(version: str) -> None:
    """Refuse a version of Ray that raytrain is not tried on.

    Args:
        version: Version of Ray, such as 2.60.0.

    Raises:
        ClusterError: It is older or newer than those that are supported.
    """
    release = tuple(int(part) for part in version.split(".")[:2])
    if not OLDEST <= release <= NEWEST:
        first, last = (".".join(map(str, one)) for one in (OLDEST, NEWEST))
        raise ClusterError(
            f"Ray {version} is installed, but raytrain needs Ray {first} to {last}.\n"
            f"Install another one: pip install 'ray[default,train,tune]=={last}.*'. Or run without Ray: --local."
        )


@contextmanager
def _joined(address: str, meanwhile: Callable[[], object], wake: Callable[[], object]) -> Generator[Session]:
    import ray

    advice = f"Check the address and the token. {_without(address)}"
    with _errors_explained(f"the Ray cluster at {address}", advice=advice):
        _refuse_closed_port(address)
        with _beside(meanwhile) as work, driver.sigterm_handler_kept():
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                job_config=_configuration(address),
                runtime_env={"env_vars": {name: os.environ[name] for name in SETTINGS}},
            )
    with _watched(None, work, wake) as session:
        yield session


def _configuration(address: str) -> Any:
    """Return how our job is configured; None for a submitted one, or one over Ray Client, which bring their own."""
    own = driver.in_job() or address.startswith("ray://")
    return None if own else driver.job_without_working_folder()


@contextmanager
def _started(meanwhile: Callable[[], object], wake: Callable[[], object]) -> Generator[Session]:
    private_ray.remove_abandoned()
    private_ray.warn_of_others()
    with (
        private_ray.private_folder() as folder,
        private_ray.private_settings(),
        private_ray.environment({name: os.environ.get(name, value) for name, value in driver.STARTING.items()}),
        private_ray.environment({**ON_ONE_MACHINE, **without_proxy()}),
    ):
        advice = "Free memory, disk space or processor time, or run with --local."
        explained = _errors_explained("Ray on this machine", advice=advice)
        with explained, _beside(meanwhile) as work, private_ray.endings_blocked():
            end = partial(private_ray.end_processes, folder)
            try:
                with before_exit(end):  # `ray.init` may swallow a signal, or not come back for long
                    private_ray.start(folder)
            except BaseException:  # also a signal's: nothing of Ray stays
                end()
                raise
        with _watched(folder, work, wake) as session:
            yield session


@contextmanager
def _beside(meanwhile: Callable[[], object]) -> Generator[InThread[object]]:
    """Call a function in another thread beside the block, and wait for its end where the block fails.

    A thread that is within PyTorch when Python ends aborts the process: its exit code would be lost.
    """
    work = InThread(meanwhile)
    try:
        yield work
    except Exception:  # a signal ends the process at once, without the end of Python
        work.has_ended(within_s=MEANWHILE_S)
        raise


@contextmanager
def _watched(folder: Path | None, work: InThread[object], wake: Callable[[], object]) -> Generator[Session]:
    """Watch Ray, and leave it; one that is gone is not asked to shut down, because that would wait for it."""
    from raytrain.ray_backend.health import Health

    session = Session(folder, Health(folder=folder, wake=wake))
    try:
        with session.health.watched():
            work.result()
            yield session
    finally:
        if session.health.why_lost() is None:
            driver.shut_down_at_once()
        session.abandon()


@contextmanager
def _errors_explained(what: str, *, advice: str) -> Generator[None]:
    from ray.exceptions import AuthenticationError

    try:
        yield
    except Exception as error:
        known = ConnectionError | RuntimeError | ValueError | AuthenticationError
        # a node that does not come up is a bare Exception
        if not isinstance(error, known) and type(error) is not Exception:
            raise
        raise ClusterError(f"{what} cannot be used: {_said(error)}\n{advice}") from error


def _said(error: Exception) -> str:
    """Return what an error of Ray's says in one line; where that ends in a traceback, with its last line instead."""
    first = first_line(error)
    if not first.endswith(TRACEBACK):
        return getattr(error, "message", first)  # the text of an AuthenticationError goes on with five hints
    last = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
    return first.removesuffix(TRACEBACK) + last


def _refuse_closed_port(address: str) -> None:
    """Raise ConnectionError when nobody listens at host:port: Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # "auto", which Ray looks up itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers at this address ({error})") from error


def nodes(*, autoscaled: bool = True) -> list[dict[str, float]]:
    """Return the resources of each node that is up, or that the cluster's autoscaler may add.

    An autoscaling cluster may well be a head without CPUs: its workers come when trials wait for them.

    Args:
        autoscaled: Whether the cluster may have an autoscaler; a Ray that was started here has none.

    Raises:
        PreflightError: RAYTRAIN_NODES cannot be read.
    """
    import ray

    up = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    addable = autoscaler.addable_nodes(most=MAX_NODES) if autoscaled else []
    # the workers that are up are among those that it may have
    return [node for node in up if head.HEAD_NODE in node] + addable if addable else up


def may_grow() -> bool:
    """Return whether an autoscaler may add nodes to those that are up."""
    import ray

    workers = sum(head.HEAD_NODE not in node["Resources"] for node in ray.nodes() if node["Alive"])
    return len(autoscaler.addable_nodes(most=MAX_NODES)) > workers
