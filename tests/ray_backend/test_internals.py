"""A canary for each private symbol of Ray that raytrain uses: a new version of Ray fails here first."""

import gc
import inspect
import os
import re
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

import raytrain
from raytrain.ray_backend import session
from raytrain.ray_backend.internals import autoscaler, driver, head, sweeps

PRIVATE = re.compile(r"ray\._private|_raylet|ray\.experimental\.internal_kv|\._internal")
PACKAGE = Path(raytrain.__file__).parent
PATIENCE_S = 90.0


def files_with_private_symbols() -> set[str]:
    """Return the files of the package that name a private module of Ray."""
    files = PACKAGE.rglob("*.py")
    return {path.relative_to(PACKAGE).as_posix() for path in files if PRIVATE.search(path.read_text())}


def test_private_symbols_of_ray_are_named_in_one_package_only() -> None:
    assert {Path(file).parent.as_posix() for file in files_with_private_symbols()} == {"ray_backend/internals"}


def canaries() -> str:
    return Path(__file__).read_text()


def test_each_function_has_its_canary() -> None:
    ours = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (autoscaler, driver, head, sweeps)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == module.__name__
    }
    assert {"head.put_value", "driver.shut_down_at_once", "sweeps.lost_workers_restart"} <= ours
    assert {name for name in ours if f"{name}(" not in canaries()} == set()


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """A Ray of our own without a dashboard, for all tests of this module.

    Not a bare `ray.init`: that one turns token authentication on for every later Ray of this process.
    """
    with session.ray_session(None):
        import ray

        yield ray


def wait_until(happened: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {PATIENCE_S:.0f} s"
        time.sleep(0.05)


@pytest.mark.ray
def test_no_head_answers_where_none_is_connected() -> None:
    import ray

    assert not ray.is_initialized(), "this test comes before those that start Ray"
    assert not head.head_answers(timeout_s=0.5)


@pytest.mark.ray
def test_a_token_and_an_address_that_are_set_after_the_import_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader

    assert not ray.is_initialized(), "this test comes before those that start Ray"
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    for token in ("a" * 64, "b" * 64):
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        driver.reread_environment()
        assert token in str(AuthenticationTokenLoader.instance().get_raw_token())
        assert ray_constants.ENABLE_RAY_CLUSTER is False
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    driver.reread_environment()
    assert ray_constants.ENABLE_RAY_CLUSTER is True
    monkeypatch.undo()
    driver.reread_environment()
    assert {name: os.environ.get(name) for name in before} == before


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_a_value_is_stored_over_the_one_before_and_an_unknown_key_has_none() -> None:
    assert head.get_value("canary") is None
    head.put_value("canary", {"within_epoch": 0.5, "node": "ü"})
    assert head.get_value("canary") == {"within_epoch": 0.5, "node": "ü"}
    head.put_value("canary", None)
    assert head.get_value("canary") is None


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_reads_what_the_driver_stored(started: Any) -> None:
    head.put_value("from the driver", [1, 2])
    read = started.remote(num_cpus=0)(lambda: head.get_value("from the driver"))
    assert started.get(read.remote(), timeout=PATIENCE_S) == [1, 2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_the_head_answers() -> None:
    assert head.head_answers(timeout_s=PATIENCE_S)


@pytest.mark.ray
@pytest.mark.slow
def test_the_head_node_has_the_resource_that_names_it(started: Any) -> None:
    (node,) = started.nodes()
    assert head.HEAD_NODE in node["Resources"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_placement_group_is_listed_until_it_is_removed_and_that_of_a_dead_actor_is_orphaned(started: Any) -> None:
    from ray.util.placement_group import placement_group

    @started.remote(num_cpus=0)
    class Maker:
        def make(self) -> str:
            made = placement_group([{"CPU": 1}])
            started.get(made.ready())
            return made.id.hex()

    own = placement_group([{"CPU": 1}])
    started.get(own.ready(), timeout=PATIENCE_S)
    maker = Maker.remote()
    other = started.get(maker.make.remote(), timeout=PATIENCE_S)
    assert dict(head.placement_groups()) == {own.id.hex(): False, other: False}
    started.kill(maker)
    wait_until(lambda: dict(head.placement_groups()) == {own.id.hex(): False, other: True})
    head.remove_group(other)
    wait_until(lambda: dict(head.placement_groups()) == {own.id.hex(): False})
    head.remove_group(own.id.hex())
    wait_until(lambda: dict(head.placement_groups()) == {})
    wait_until(lambda: started.available_resources().get("CPU") == 2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_nodes_that_an_autoscaler_may_add_are_those_that_it_reports() -> None:
    """Written by hand: in open-source Ray nothing reports them (`report_cluster_config` is called nowhere)."""
    from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig
    from ray.experimental.internal_kv import _internal_kv_put

    assert autoscaler.addable_nodes(most=5) == []
    bounded = NodeGroupConfig(name="gpu", resources={"CPU": 4, "GPU": 1}, max_count=2)
    unbounded = NodeGroupConfig(name="cpu", resources={"CPU": 8}, max_count=-1)
    _internal_kv_put(
        GCS_AUTOSCALER_CLUSTER_CONFIG_KEY,
        ClusterConfig(node_group_configs=[bounded, unbounded]).SerializeToString(),
        namespace=GCS_AUTOSCALER_STATE_NAMESPACE,
    )
    assert autoscaler.addable_nodes(most=3) == [{"CPU": 4, "GPU": 1}] * 2 + [{"CPU": 8}] * 3


def test_no_module_of_ray_reports_the_configuration_of_an_autoscaler() -> None:
    """Where one does, in a later version, `autoscaler.addable_nodes` needs the file of `ray up` no longer."""
    from ray import autoscaler as of_ray

    sources = [path.read_text() for path in Path(of_ray.__file__).parent.rglob("*.py")]
    assert len(sources) > 50
    assert not any("report_cluster_config" in text for text in sources)


def test_ray_up_writes_its_file_where_it_is_read() -> None:
    from ray.autoscaler._private import commands

    source = inspect.getsource(commands)
    assert f'"{autoscaler.BOOTSTRAP}": remote_config_file.name' in source
    assert "remote_config_file.write(json.dumps(remote_config))" in source


@pytest.mark.ray
def test_errors_of_rays_own_are_deaths_of_actors_and_others_stay_what_they_are() -> None:
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError

    low = sweeps.as_actor_death(OutOfMemoryError("the node running low on memory"))
    assert isinstance(low, RayActorError)
    assert "OutOfMemoryError: the node running low on memory" in str(low)
    for other in (ActorDiedError(), RayTaskError("f", "traceback", ValueError("x")), ValueError("x")):
        assert sweeps.as_actor_death(other) is other


@pytest.mark.ray
def test_tune_hears_of_a_lost_worker_as_of_a_death_while_the_context_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    parameters = inspect.signature(RayActorManager._actor_task_failed).parameters
    assert list(parameters) == ["self", "tracked_actor_task", "exception"]
    source = inspect.getsource(RayActorManager._actor_task_failed)
    assert "RayActorError" in source, "it tells deaths from other errors"
    heard: list[Exception] = []

    def hear(self: object, tracked_actor_task: object, exception: Exception) -> None:  # noqa: ARG001
        heard.append(exception)

    monkeypatch.setattr(RayActorManager, "_actor_task_failed", hear)
    manager = RayActorManager.__new__(RayActorManager)
    with sweeps.lost_workers_restart():
        manager._actor_task_failed(tracked_actor_task=None, exception=OutOfMemoryError("low"))
    manager._actor_task_failed(tracked_actor_task=None, exception=OutOfMemoryError("low"))
    assert [type(error) for error in heard] == [RayActorError, OutOfMemoryError]


def test_tune_lets_go_of_a_trial_that_has_ended_and_knows_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # else it asks Ray how many CPUs there are
    controller = TuneController(storage=Mock(), resource_manager_factory=Mock())
    ended, other = (Trial("__fake", stub=True, trial_id=name) for name in "ab")
    with sweeps.trials_unsaved():
        for trial in (ended, other):
            trial.create_placement_group_factory = Mock()
            controller.add_trial(trial)
            controller._set_trial_status(trial, Trial.RUNNING)
        controller.stop_trial(ended)
    assert controller.get_trials() == [ended, other]
    sweeps.forget(controller, ended)
    assert controller.get_trials() == [other]
    controller._pending_trials_list.clear()  # Tune does so when it starts the next trial
    known = weakref.ref(ended)
    del ended, trial
    gc.collect()
    assert known() is None


def test_tune_keeps_no_copy_of_its_trials() -> None:
    from ray.tune.execution.tune_controller import TuneController

    trial: Any = Mock(trial_id="a")
    controller = TuneController.__new__(TuneController)
    controller._trials_to_cache, controller._trial_metadata = set(), {}
    with sweeps.trials_unsaved():
        controller._mark_trial_to_checkpoint(trial)
    assert controller._get_trial_checkpoints() == {}
    controller._mark_trial_to_checkpoint(trial)
    assert list(controller._get_trial_checkpoints()) == ["a"]


def test_tune_imports_no_loggers_to_count_callbacks_by(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.tune.tune
    from ray.air._internal import usage
    from ray.tune import Callback

    loggers = [f"ray.air.integrations.{name}" for name in ("mlflow", "wandb", "comet")]
    for name in loggers:
        monkeypatch.delitem(sys.modules, name, raising=False)
    original = usage._count_callbacks
    with sweeps.callbacks_uncounted():
        usage.tag_callbacks([Callback()])
        assert not sys.modules.keys() & set(loggers)
    assert usage._count_callbacks is original
    assert all(f"from {name} import" in inspect.getsource(original) for name in loggers)
    assert "tag_callbacks(" in inspect.getsource(ray.tune.tune)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # Ray copies its own settings
def test_a_worker_group_has_no_process_that_removes_placement_groups_or_hands_out_data() -> None:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(lambda: None, scaling_config=ScalingConfig(num_workers=2))
    before = [type(one).__name__ for one in trainer._create_default_callbacks()]
    assert set(before) > sweeps.SPARED
    assert sweeps.without_helpers(trainer) is trainer
    after = [type(one).__name__ for one in trainer._create_default_callbacks()]
    assert after == [name for name in before if name not in sweeps.SPARED]
    # `fit` asks for them by this name
    assert "self._create_default_callbacks()" in inspect.getsource(TorchTrainer.fit)


def test_workers_import_neither_from_the_working_folder_nor_from_that_of_the_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.core.generated.common_pb2 import JobConfig

    def path(file: str) -> list[str]:
        monkeypatch.setattr(driver.raytrain, "__file__", file)
        configuration = driver.job_without_working_folder()
        configuration._py_driver_sys_path.extend(["/script", "/working"])  # as `ray.init` does
        return list(JobConfig.FromString(configuration._serialize()).py_driver_sys_path)

    assert path("/usr/lib/python3/site-packages/raytrain/__init__.py") == []
    assert path("/checkout/raytrain/__init__.py") == ["/checkout"]


def test_the_command_of_a_job_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not driver.in_job()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert driver.in_job()


@pytest.mark.ray
@pytest.mark.slow
def test_the_ray_of_this_process_is_shut_down_without_giving_its_processes_time(started: Any) -> None:
    from ray._private import worker

    node = worker._global_node
    options: list[dict[str, Any]] = []
    kill = node.kill_all_processes

    def recorded(**given: Any) -> None:
        options.append(given)
        kill(**given)

    node.kill_all_processes = recorded
    below = [one for one in psutil.Process().children() if one.name() in {"raylet", "gcs_server"}]
    assert len(below) == 2
    driver.shut_down_at_once()
    assert not started.is_initialized()
    assert [one["allow_graceful"] for one in options] == [False]
    assert psutil.wait_procs(below, timeout=PATIENCE_S)[1] == []


def test_ray_leaves_the_handler_of_sigterm_where_it_is() -> None:
    from ray._private import utils, worker

    def ours(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with driver.sigterm_handler_kept():
            utils.set_sigterm_handler(print)  # as `ray.init` does: in its module's name, not in one of its own
            assert signal.getsignal(signal.SIGTERM) is ours
        assert "utils.set_sigterm_handler(sigterm_handler)" in inspect.getsource(worker.connect) + inspect.getsource(
            worker.init
        )
        utils.set_sigterm_handler(print)
        assert signal.getsignal(signal.SIGTERM) is print
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_node_that_comes_up_late_is_waited_for_and_a_dead_raylet_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import node, services

    asked: list[str] = []

    def late(gcs_address: str, node_id: str) -> dict[str, Any]:  # noqa: ARG001
        asked.append(node_id)
        if len(asked) < 4:
            raise RuntimeError("no such node")
        return {"node": node_id}

    def ask() -> Any:
        asked.clear()
        with driver.node_awaited(60.0):
            return services.get_node("address", "n")

    # Ray gives up after 30 s, and asks for the node by this name in its module
    source = inspect.getsource(node.Node.__init__)
    assert "ray._private.services.get_node(" in source
    assert "except RuntimeError" in source
    monkeypatch.setattr(services, "get_node", late)
    monkeypatch.setattr(driver, "_raylet_lives", lambda: True)
    assert ask() == {"node": "n"}
    assert len(asked) == 4
    monkeypatch.setattr(driver, "_raylet_lives", lambda: False)
    with pytest.raises(RuntimeError, match="no such node"):
        ask()
    assert len(asked) == 1
    assert services.get_node is late


def test_ray_does_not_start_its_workers_by_uv_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants, worker
    from ray._private.runtime_env import uv_runtime_env_hook

    monkeypatch.setattr(uv_runtime_env_hook, "_get_uv_run_cmdline", lambda: ["uv", "run", "raytrain"])
    monkeypatch.setattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)
    monkeypatch.setattr(uv_runtime_env_hook, "_check_working_dir_files", lambda *_: None)
    assert "uv run" in worker._maybe_modify_runtime_env(None, False)["py_executable"]
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", session.SETTINGS["RAY_ENABLE_UV_RUN_RUNTIME_ENV"])
    driver.reread_uv_setting()
    assert worker._maybe_modify_runtime_env(None, False) is None
