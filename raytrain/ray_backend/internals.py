"""Every private or internal symbol of Ray that raytrain uses, each with its reason.

Ray has no public way to do these things. Each function says why it is needed, in which versions of Ray the symbol
exists as it is used here, and which upstream issue asks for a public way, where there is one.
`tests/ray_backend/test_internals.py` has a canary test for each, so that a new version of Ray fails there first.
"""

# Ray is imported inside the functions: `private_ray` has to set Ray's environment before the first import of Ray.

import json
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

import raytrain

HEAD_NODE = "node:__internal_head__"
"""Resource that only the head node of a cluster has. Ray 2.57 to 2.60; Ray documents no public name for it."""
_NAMESPACE = b"raytrain"


# Values in the key-value store of Ray's head (`ray.experimental.internal_kv`, Ray 2.57 to 2.60). The driver shows how
# far each worker is within its epoch. A named actor would do it publicly, but it costs a process of 300 MB; a write
# here takes under a millisecond. No upstream issue is known.


def put_value(key: str, value: Any) -> None:
    """Store a JSON value under a key in the head's memory, over the one that was there.

    Args:
        key: Key that is unique in the cluster.
        value: Value that JSON can represent.
    """
    from ray.experimental.internal_kv import _internal_kv_put  # pyright: ignore[reportPrivateUsage]

    _internal_kv_put(key.encode(), json.dumps(value).encode(), overwrite=True, namespace=_NAMESPACE)


def get_value(key: str) -> Any:
    """Return the JSON value that was stored last under a key, or None."""
    from ray.experimental.internal_kv import _internal_kv_get  # pyright: ignore[reportPrivateUsage]

    value = _internal_kv_get(key.encode(), namespace=_NAMESPACE)
    return json.loads(value) if value else None


def head_answers(*, timeout_s: float) -> bool:
    """Return whether the head of the cluster answers within a time.

    Public calls such as `ray.nodes` have no time limit and wait for a minute for a head that is gone. The client of
    the global worker takes one (`global_worker.gcs_client.internal_kv_exists`, Ray 2.57 to 2.60; no upstream issue).
    """
    from ray._private import worker

    try:
        client: Any = worker.global_worker
        client.gcs_client.internal_kv_exists(b"", _NAMESPACE, timeout=timeout_s)
    except Exception:  # noqa: BLE001 (Ray raises many kinds of errors; each means that it has not answered)
        return False
    return True


def placement_groups() -> Iterator[tuple[str, bool]]:
    """Yield the placement groups of this job that hold resources or wait for them.

    When Tune stops a trial early, it kills the trial's process and with it Ray Train's controller, but the group that
    the controller reserved for its workers belongs to the job and stays (ray-project/ray#54305, #65443). Ray records
    whether the actor that made a group is dead; the public `placement_group_table` leaves that out. `GlobalState` and
    `PlacementGroupTableData`, Ray 2.57 to 2.60.

    Yields:
        The id in hexadecimal, and whether an actor made it that is dead now.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]

    job = ray.get_runtime_context().get_job_id()
    driver = ray.ActorID.nil().binary()  # Tune's own groups are made by no actor, and so by none that lives
    for content in state._connect_and_get_accessor().get_placement_group_table():  # pyright: ignore[reportPrivateUsage]
        group: Any = PlacementGroupTableData.FromString(content)
        if group.creator_job_id.hex() == job and group.state != PlacementGroupTableData.REMOVED:
            orphaned = bool(group.creator_actor_dead) and group.creator_actor_id != driver
            yield group.placement_group_id.hex(), orphaned


def remove_group(group: str) -> None:
    """Remove a placement group by its id in hexadecimal.

    Ray has no public constructor of that id (`ray._raylet.PlacementGroupID`, Ray 2.57 to 2.60; no upstream issue).
    """
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def addable_nodes(*, most: int) -> list[dict[str, float]]:
    """Return the resources of each node that the cluster's autoscaler may have, or [] where there is no autoscaler.

    The public API tells of nodes that are up only, and an autoscaling cluster may start as a head without CPUs.
    `GlobalState.get_cluster_config`, Ray 2.57 to 2.60; no upstream issue is known.

    Args:
        most: Number of nodes to count for a node type without a limit.
    """
    from ray._private.state import state

    config: Any = state.get_cluster_config()  # None where there is no autoscaler
    return [
        dict(group.resources)
        for group in (config.node_group_configs if config else ())
        for _ in range(most if group.max_count < 0 else min(group.max_count, most))
    ]


@contextmanager
def lost_workers_restart() -> Generator[None]:
    """Have Tune restart a trial whose process Ray itself has ended, for as long as the context lasts.

    Ray ends a worker when its node runs low on memory or goes away. It reports that by errors which Tune does not
    know, so that Tune ends the whole sweep by a RuntimeError instead of the one trial
    (`RayActorManager._actor_task_failed`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray.air.execution._internal.actor_manager import RayActorManager

    original: Any = RayActorManager._actor_task_failed  # pyright: ignore[reportPrivateUsage]

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        original(self, tracked_actor_task=tracked_actor_task, exception=as_actor_death(exception))

    RayActorManager._actor_task_failed = failed  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original  # pyright: ignore[reportPrivateUsage]


@contextmanager
def trials_unsaved() -> Generator[None]:
    """Have Tune keep no copy of its trials to continue from, for as long as the context lasts.

    It keeps each trial as JSON until the sweep ends, and writes all of them to its folder again and again. raytrain
    continues a run from the run folder, and Tune has no setting against it
    (`TuneController._mark_trial_to_checkpoint`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray.tune.execution.tune_controller import TuneController

    original: Any = TuneController._mark_trial_to_checkpoint  # pyright: ignore[reportPrivateUsage]
    TuneController._mark_trial_to_checkpoint = lambda self, trial: None  # noqa: ARG005 # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        TuneController._mark_trial_to_checkpoint = original  # pyright: ignore[reportPrivateUsage]


def empty(trial: Any, *, like: Any) -> None:
    """Take out of an ended trial of Tune what nobody reads again: of its configuration all but our id, and its results.

    Tune keeps every trial until the sweep ends: two copies of its recipe, a name of all its fields, statistics of each
    number that it has reported, and a copy of the resources that all trials have. It has no setting against it (the
    attributes of `Trial` and of its `run_metadata`, Ray 2.57 to 2.60; no upstream issue is known).

    Args:
        trial: Trial of Tune.
        like: Another one, whose resources it shares from now on if they are equal.
    """
    if trial.placement_group_factory == like.placement_group_factory:
        trial.placement_group_factory = like.placement_group_factory
    trial.experiment_tag = ""
    trial.config = trial._Trial__unresolved_config = {"job": {"trial_id": trial.config["job"]["trial_id"]}}
    trial.evaluated_params = {}
    known = trial.run_metadata
    known.last_result, known.metric_analysis, known.metric_n_steps = {}, {}, {}


def as_actor_death(exception: Exception) -> Exception:
    """Return an error of Ray's own about an actor as the death of that actor, and any other error as it is."""
    from ray.exceptions import RayActorError, RayError, RayTaskError

    if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
        return RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
    return exception


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


def reread_uv_setting() -> None:
    """Have Ray read from the environment again whether workers are started by `uv run` where the driver was.

    Ray reads `RAY_ENABLE_UV_RUN_RUNTIME_ENV` when it is imported, which may be before raytrain sets it
    (`ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV`, Ray 2.57 to 2.60; no upstream issue is known).
    """
    from ray._private import ray_constants

    read_again: Any = ray_constants.env_bool  # pyright: ignore[reportPrivateImportUsage]
    name = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
    setattr(ray_constants, name, read_again(name, True))  # noqa: FBT003 (Ray passes it by its place)


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
