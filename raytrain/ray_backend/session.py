"""A connection to a Ray cluster: one that is there, or one of our own on this machine while we run."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytrain.errors import ClusterError
from raytrain.ray_backend import leftovers, private_ray

if TYPE_CHECKING:
    from raytrain.ray_backend.health import Lifeline

SETTINGS = {
    # Tune and Train print tables and advice of their own; raytrain shows one table
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # a trial that diverged reports no accuracy
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # interrupts are handled by who started the run
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "10",
    # Ray starts a process per core in advance and then none of them is taken: the first trial came 0.7 s later
    "RAY_prestart_worker_first_driver": "0",
    # a nested trainer takes reports when it looks after its workers: every 2 s would be the least length of an epoch
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
}


HEAD = "node:__internal_head__"
"""A resource that only the head node has."""
MOST_NODES = 1000
"""Nodes of a type where its number is not limited."""
KNOCK_TIMEOUT_S = 5.0
"""How long a cluster may take to accept a connection."""


@dataclass(frozen=True)
class Session:
    """A connection to Ray.

    Attributes:
        private: Folder of a Ray that was started here, or None.
        lifeline: Looks after it.
    """

    private: Path | None
    lifeline: "Lifeline"

    def abandon(self) -> None:
        """End at once what was started here."""
        if self.private:
            leftovers.end_processes(self.private)


@contextmanager
def ray_session(
    address: str | None,
    *,
    dashboard: bool,
    meanwhile: Callable[[], object] = lambda: None,
    wake: Callable[[], object] = lambda: None,
) -> Generator[Session]:
    """Connect to Ray for as long as the context lasts.

    Args:
        address: Of a running cluster, or "auto"; None starts Ray on this machine's cores and GPUs, guarded by a
            token that only this process and its children know, and ends it afterwards.
        dashboard: Whether a Ray that is started here gets its dashboard, which Ray Train's own clean-up of
            trials with several workers asks.
        meanwhile: Called in another thread while Ray starts: nearly all of those 4 s are waiting. Its error is
            raised when Ray is up.
        wake: Interrupts the main thread; called from another one when Ray is lost.

    Raises:
        ClusterError: There is no cluster at `address`, it refused us, or it runs other versions.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    from raytrain.ray_backend.health import Lifeline

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what goes wrong with a trial is in its error.txt
    if address:
        with _errors_explained(
            f"the Ray cluster at {address}", advice="Check the address and the token, or leave --address out."
        ):
            _knock(address)
            doing = _Thread(meanwhile)
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                runtime_env={"env_vars": {name: os.environ[name] for name in SETTINGS}},
            )
        with _shut_down(session := Session(None, Lifeline(wake=wake))):
            doing.result()
            yield session
        return
    leftovers.reap()
    port = _free_port()
    # Train finds the dashboard by this when another Ray cluster runs on the host
    found_at = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
    with (
        leftovers.private_folder() as private,
        private_ray.own_token(),
        private_ray.loopback_only(),
        private_ray.environment(found_at),
    ):
        doing = _Thread(meanwhile)
        advice = "Free memory or disk space, or run with --local."
        with _errors_explained("Ray on this machine", advice=advice), private_ray.deaf_to_sigterm():
            ray.init(
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                dashboard_port=port,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=f"{private}/r",  # Ray opens this one to everybody
            )
        with _shut_down(session := Session(private, Lifeline(wake=wake))):
            doing.result()
            yield session


@contextmanager
def _shut_down(session: Session) -> Generator[None]:
    """Look after Ray, and leave it; one that is gone is not asked to shut down, for that would wait for it."""
    import ray

    try:
        with session.lifeline.watched():
            yield
    finally:
        if session.lifeline.why_lost() is None:
            _end_without_asking()
            ray.shutdown()
        session.abandon()


class _Thread:
    """A call in another thread, which does not keep the process alive."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (raised again where it is waited for)
            self._error = error

    def result(self) -> None:
        """Wait for the end of the call, and raise what it raised."""
        self._thread.join()
        if self._error:
            raise self._error


def _end_without_asking() -> None:
    """Have `ray.shutdown` kill the processes that it started; it would give each a second to answer SIGTERM."""
    from ray._private import worker as ray_worker

    node: Any = ray_worker._global_node  # pyright: ignore[reportPrivateUsage]
    if node:  # none where the cluster is another's
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **options: kill(**options | {"allow_graceful": False})


@contextmanager
def _errors_explained(what: str, *, advice: str) -> Generator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ClusterError(f"{what} cannot be used: {lines[0]}\n{advice}") from error


def _knock(address: str) -> None:
    """Raise ConnectionError when nobody listens at host:port: Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdigit()):
        return  # "auto", which Ray looks up itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nobody answers there ({error})") from error


def nodes() -> list[dict[str, float]]:
    """Return the resources of each node that is up, or that the cluster's autoscaler may add.

    An autoscaling cluster may well be a head without CPUs: its workers come when trials wait for them.
    """
    import ray

    up = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    addable = _addable()
    # the workers that are up are among those that it may have
    return [node for node in up if HEAD in node] + addable if addable else up


def may_grow() -> bool:
    """Return whether an autoscaler may add nodes to those that are up."""
    import ray

    workers = sum(HEAD not in node["Resources"] for node in ray.nodes() if node["Alive"])
    return len(_addable()) > workers


def _addable() -> list[dict[str, float]]:
    from ray._private.state import state

    config: Any = state.get_cluster_config()  # None where there is no autoscaler
    return [
        dict(group.resources)
        for group in (config.node_group_configs if config else ())
        for _ in range(MOST_NODES if group.max_count < 0 else min(group.max_count, MOST_NODES))
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
