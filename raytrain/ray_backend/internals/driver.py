"""How Ray starts and ends: its environment, its signals, how long it waits, the job that a driver is."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

import raytrain

STARTING = {
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "120",
}
"""Environment variables, with their values, of a Ray that is started here: how long it waits for its own processes.

On a busy machine the processes of a node take longer to start than Ray's own 30 to 100 s. They are settings of Ray's
C++ core and of `ray._private`, and not documented (Ray 2.57 to 2.60; no upstream issue is known). A cluster that was
started elsewhere is not given them: there, the first one would be how often a wrong token is sent.
"""


def reread_environment() -> None:
    """Have Ray read its settings for the token and for the address it listens on from the environment again.

    Ray reads them when it is imported. raytrain sets them before that; this is for a process, such as a notebook, that
    imported Ray first (`ray._raylet.Config`, `AuthenticationTokenLoader`, `ray_constants.ENABLE_RAY_CLUSTER`, Ray 2.57
    to 2.60; no upstream issue is known).
    """
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    everywhere = "0" if ray_constants.IS_WINDOWS_OR_OSX else "1"
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, everywhere) == "1"


def reread_uv_setting() -> None:
    """Have Ray read from the environment again whether workers are started by `uv run` where the driver was.

    Ray reads `RAY_ENABLE_UV_RUN_RUNTIME_ENV` when it is imported, which may be before raytrain sets it
    (`ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray._private import ray_constants

    read_again: Any = ray_constants.env_bool  # pyright: ignore[reportPrivateImportUsage]
    name = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
    setattr(ray_constants, name, read_again(name, True))  # noqa: FBT003 (Ray passes it by its place)


@contextmanager
def node_awaited(timeout_s: float) -> Generator[None]:
    """Have `ray.init` wait longer than 30 s for the node that it starts, for as long as the context lasts.

    The raylet shows its node when two Python processes of its own are up. On a busy machine that has taken more than
    the 30 s that `ray.init` waits, for which Ray has no setting (`ray._private.services.get_node`, Ray 2.57 to 2.60;
    no upstream issue is known). A raylet that has died is not waited for.

    Args:
        timeout_s: Seconds to wait, from when the raylet has been started.
    """
    from ray._private import services

    original = services.get_node

    def awaited(gcs_address: str, node_id: str) -> Any:
        deadline = time.monotonic() + timeout_s  # from when Ray asks first: what it starts before has other limits
        while True:
            try:
                return original(gcs_address, node_id)
            except RuntimeError:
                if time.monotonic() > deadline or not _raylet_lives():
                    raise
                time.sleep(0.1)

    services.get_node = awaited
    try:
        yield
    finally:
        services.get_node = original


def _raylet_lives() -> bool:
    """Return whether a raylet that this process has started is there."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name() == "raylet" and child.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def job_without_working_folder() -> Any:
    """Return a configuration of a job (`ray.job_config.JobConfig`) whose workers do not import from the working folder.

    Ray puts the driver's working folder, and that of its script, before everything else on the import path of each
    worker: a `torch.py` in a folder in which a run was started would run there. Workers need raytrain alone, where it
    is not installed (`JobConfig._py_driver_sys_path`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray.job_config import JobConfig

    class _Config(JobConfig):
        def _serialize(self) -> str:
            root = Path(raytrain.__file__).parents[1]
            installed = root.name in {"site-packages", "dist-packages"}
            self._py_driver_sys_path = [] if installed else [str(root)]
            return super()._serialize()

    return _Config()


def in_job() -> bool:
    """Return whether this process is the command of a submitted job.

    `RAY_JOB_CONFIG_JSON_ENV_VAR`, Ray 2.57 to 2.60; no upstream issue is known.
    """
    from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

    return RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ


@contextmanager
def sigterm_handler_kept() -> Generator[None]:
    """Have `ray.init` leave the handler of SIGTERM as it is, for as long as the context lasts.

    It installs two of its own, which end the process with exit code 15 or 1 and without a word, and Ray has no option
    against it (`ray._private.utils.set_sigterm_handler`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray._private import utils

    original = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _handler: None  # Ray passes it by its place
    try:
        yield
    finally:
        utils.set_sigterm_handler = original


def shut_down_at_once() -> None:
    """Shut down the Ray that this process started or is connected to, without giving its processes time to end.

    `ray.shutdown` sends each of them SIGTERM and waits a second for it; they block that signal here, so every run would
    end seconds later (`Node.kill_all_processes`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    import ray
    from ray._private import worker

    node: Any = worker._global_node  # pyright: ignore[reportPrivateUsage]
    if node:  # none where the cluster is another's
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **options: kill(**options | {"allow_graceful": False})
    ray.shutdown()
