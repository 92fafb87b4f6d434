"""Where Ray comes from: started for us alone, or a cluster that is there."""

import contextlib
import http.client
import ipaddress
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from raytrain.errors import ClusterError
from raytrain.ray_backend import private_ray, session
from raytrain.ray_backend.session import nodes, ray_session, refuse_unsupported_ray

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("address", [None, "", "local", " Local "])
def test_local_is_no_address(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes it for a Ray to start here: without our token, on all interfaces."""
    started: list[str] = []

    @contextlib.contextmanager
    def start(*_: object) -> Iterator[None]:
        started.append("here")
        yield

    monkeypatch.setattr(session, "_started", start)
    monkeypatch.setattr(session, "_joined", lambda *_: pytest.fail("it is taken for a cluster"))
    with ray_session(address):
        pass
    assert started == ["here"]


def test_a_ray_of_our_own_is_started_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    addresses: list[str] = []
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setattr(ray, "init", lambda address, **_: addresses.append(address))
    private_ray.start(tmp_path)
    assert addresses == ["local"]


def test_only_a_ray_of_our_own_is_waited_for_as_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray sends a wrong token to a cluster as often as that setting has seconds."""
    import ray

    name, waits = "RAY_gcs_server_port_wait_time_s", dict[str, str | None]()

    def start(address: str, **_: object) -> None:
        waits[address] = os.environ.get(name)
        raise ConnectionError("no further")

    monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray, "init", start)
    for address in ("auto", None):
        with pytest.raises(ClusterError, match="no further"), ray_session(address):
            pass
    assert waits == {"auto": None, "local": "120"}


def test_a_worker_that_holds_the_gil_has_as_long_as_ray_itself_gives_it() -> None:
    from ray.train.v2._internal import constants

    usual = constants.DEFAULT_WORKER_HEALTH_CHECK_TIMEOUT_S
    assert float(session.SETTINGS.get(constants.WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, usual)) >= usual >= 600


@pytest.mark.slow
def test_without_a_token_a_cluster_that_wants_one_is_refused_in_words(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    with socket.create_server(("127.0.0.1", 0)) as listening:  # Ray misses the token before it says a word
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "raytrain", "train", "--out", str(tmp_path), "--address", address],
            env=environment,
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )
    assert done.returncode == 6, done.stderr
    assert "cannot be used: Token authentication is enabled but no authentication token was found\n" in done.stderr
    assert "\nCheck the address and the token." in done.stderr
    assert "Traceback" not in done.stderr


def test_what_ray_says_in_a_traceback_is_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def start(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Failed to connect to GCS. Last connection error: Traceback (most recent call last):\n"
            '  File "node.py", line 999, in _init_gcs_client\nUnauthenticated: InvalidAuthToken\n'
        )

    monkeypatch.setattr(ray, "init", start)
    with (
        pytest.raises(ClusterError, match=r"Last connection error: Unauthenticated: InvalidAuthToken\nCheck the"),
        ray_session("auto"),
    ):
        pass


def test_an_error_while_ray_starts_is_raised_when_ray_is_up_which_is_then_shut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    happened: list[object] = []

    def fail() -> None:
        raise RuntimeError("no model of that kind")

    monkeypatch.setattr(ray, "init", lambda *_, _temp_dir, **__: happened.append(Path(_temp_dir).parent))
    monkeypatch.setattr(session.driver, "shut_down_at_once", lambda: happened.append("shut down"))
    monkeypatch.setattr(private_ray, "end_processes", lambda folder: happened.append(("ended", folder)))
    with pytest.raises(RuntimeError, match="no model of that kind"), ray_session(None, meanwhile=fail):
        happened.append("used")
    folder = happened[0]
    assert happened == [folder, "shut down", ("ended", folder)]
    assert isinstance(folder, Path)
    assert not folder.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nobody_listens_is_refused_at_once(address: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else takes it, and not listening
        address = address.format(port=taken.getsockname()[1])
        with (
            pytest.raises(ClusterError, match="nothing answers at this address") as refusal,
            ray_session(address),
        ):
            pass
    assert refusal.value.exit_code == 6
    assert address in str(refusal.value)


@dataclass
class Seen:
    """What was seen of one Ray of our own, while it was up and afterwards."""

    private: Path
    mode: int
    settings: dict[str, str]
    settings_before: dict[str, str]
    settings_after: dict[str, str]
    meanwhile: list[threading.Thread]
    listening: list[tuple[str, str, int]]
    answers: dict[int, tuple[int, str] | None]
    answers_without_token: dict[int, tuple[int, str] | None]
    nodes: list[dict[str, float]]
    nodes_with_autoscaler: list[dict[str, float]]
    is_up_after: bool


def ray_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


def listening() -> list[tuple[str, str, int]]:
    """Return name, address and port of the sockets at which this process and its children listen."""
    this = psutil.Process()
    return [
        (process.name(), connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in (this, *this.children(recursive=True))
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def jobs_at(port: int, token: str | None) -> tuple[int, str] | None:
    """Return status and type of the answer where a dashboard lists its jobs; None where nothing answers in HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/jobs/", headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers.get_content_type()
    except (OSError, http.client.HTTPException):
        return None
    return answer.status, answer.headers.get_content_type()


def add_autoscaler() -> None:
    """Have the head know an autoscaler of a head node and three workers."""
    from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig
    from ray.experimental.internal_kv import _internal_kv_put

    workers = NodeGroupConfig(name="gpu", resources={"CPU": 4, "GPU": 1}, max_count=3)
    head = NodeGroupConfig(name="head", resources={"CPU": 2}, max_count=0)
    _internal_kv_put(
        GCS_AUTOSCALER_CLUSTER_CONFIG_KEY,
        ClusterConfig(node_group_configs=[head, workers]).SerializeToString(),
        namespace=GCS_AUTOSCALER_STATE_NAMESPACE,
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One Ray of our own, looked at from all sides: each start takes ten seconds."""
    import ray

    long = tmp_path_factory.mktemp("a-temporary-folder-with-a-path-too-long-for-a-socket")
    meanwhile: list[threading.Thread] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(long))
        patch.setenv("RAY_AUTH_TOKEN", "that of another cluster")
        before = ray_settings()
        with ray_session(None, meanwhile=lambda: meanwhile.append(threading.current_thread())) as own:
            assert own.private is not None
            up, sockets, settings = nodes(), listening(), ray_settings()
            add_autoscaler()
            what = Seen(
                private=own.private,
                mode=own.private.stat().st_mode,
                settings=settings,
                settings_before=before,
                settings_after={},
                meanwhile=list(meanwhile),
                listening=sockets,
                answers={port: jobs_at(port, settings["RAY_AUTH_TOKEN"]) for _, _, port in sockets},
                answers_without_token={port: jobs_at(port, None) for _, _, port in sockets},
                nodes=up,
                nodes_with_autoscaler=nodes(),
                is_up_after=True,
            )
        what.settings_after, what.is_up_after = ray_settings(), ray.is_initialized()
    return what


@pytest.mark.slow
def test_what_is_done_while_ray_starts_is_done_when_it_is_up(seen: Seen) -> None:
    assert len(seen.meanwhile) == 1
    assert seen.meanwhile != [threading.main_thread()]


@pytest.mark.slow
def test_a_ray_of_our_own_asks_for_a_token_and_leaves_nothing(seen: Seen) -> None:
    assert seen.private.parent == Path("/tmp")
    assert seen.mode & 0o077 == 0
    assert seen.settings["RAY_AUTH_MODE"] == "token"
    assert len(seen.settings["RAY_AUTH_TOKEN"]) == 64
    assert not seen.private.exists()
    assert not seen.is_up_after
    assert seen.settings_before["RAY_AUTH_TOKEN"] == "that of another cluster"
    assert {name: seen.settings_after.get(name) for name in seen.settings_before} == seen.settings_before


@pytest.mark.slow
def test_a_ray_of_our_own_is_reached_from_this_machine_only_and_takes_no_jobs(seen: Seen) -> None:
    assert {"gcs_server", "raylet"} <= {name for name, _, _ in seen.listening}
    assert [one for one in seen.listening if not ipaddress.ip_address(one[1]).is_loopback] == []
    assert len(seen.answers) >= 2
    metrics = (200, "text/plain")  # whatever the path is
    assert {*seen.answers.values()} - {None, metrics} <= {(404, "text/plain")}
    assert {*seen.answers_without_token.values()} - {None, metrics} == {(401, "text/plain")}


@pytest.mark.slow
def test_nodes_that_the_autoscaler_may_add_count_as_nodes(seen: Seen) -> None:
    (this,) = seen.nodes
    assert seen.nodes_with_autoscaler == [this, *[{"CPU": 4, "GPU": 1}] * 3]


@pytest.mark.parametrize("version", ["2.57.0", "2.60.0"])
def test_a_ray_that_raytrain_is_tried_on_is_taken(version: str) -> None:
    refuse_unsupported_ray(version)


@pytest.mark.parametrize("version", ["2.56.1", "2.61.0"])
def test_a_ray_that_raytrain_is_not_tried_on_is_refused_with_what_to_install(version: str) -> None:
    with pytest.raises(ClusterError) as refusal:
        refuse_unsupported_ray(version)
    assert f"Ray {version} is installed, but raytrain needs Ray 2.57 to 2.60" in str(refusal.value)
    assert "pip install 'ray[default,train,tune]==2.60.*'" in str(refusal.value)
    assert refusal.value.exit_code == 6


def test_a_session_looks_at_the_version_before_it_starts_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.metadata, "version", lambda _: "2.61.0")
    monkeypatch.setattr(session.private_ray, "private_folder", lambda: pytest.fail("a Ray is started"))
    with pytest.raises(ClusterError, match=r"Ray 2\.61\.0"), ray_session(None):
        pass


@pytest.mark.parametrize(("failures", "starts"), [(0, 1), (1, 2)])
def test_ray_is_started_once_more_where_its_node_does_not_come_up(
    failures: int, starts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    folders: list[str] = []

    def init(_address: str, *, _temp_dir: str, **_: object) -> None:
        folders.append(_temp_dir)
        if len(folders) <= failures:
            raise Exception("The current node timed out during startup.")  # noqa: TRY002 (as Ray does)

    monkeypatch.setattr(ray, "init", init)
    private_ray.start(tmp_path)
    assert len(folders) == len(set(folders)) == starts


def test_a_ray_that_does_not_start_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(_address: str, **_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 (as Ray does)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="timed out during startup") as refusal, ray_session(None):
        pass
    assert refusal.value.exit_code == 6


def environment_of_ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment that a Ray of our own, and so its processes, would start with."""
    import ray

    seen: dict[str, str] = {}
    monkeypatch.setattr(ray, "init", lambda *_, **__: seen.update(os.environ))
    monkeypatch.setattr(session.driver, "shut_down_at_once", lambda: None)
    with ray_session(None):
        pass
    return seen


def test_ray_reaches_this_machine_without_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "intern.example")
    assert not urllib.request.proxy_bypass_environment("127.0.0.1:8265", {"no": os.environ["NO_PROXY"]})
    seen = environment_of_ray(monkeypatch)
    for name in ("no_proxy", "NO_PROXY"):
        for host in ("127.0.0.1:6379", "localhost:8265", "intern.example"):
            assert urllib.request.proxy_bypass_environment(host, {"no": seen[name]})
        assert not urllib.request.proxy_bypass_environment("pypi.example", {"no": seen[name]})
    assert os.environ["NO_PROXY"] == "intern.example"
    assert "no_proxy" not in os.environ


def test_where_no_proxy_is_named_the_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert not {name for name in environment_of_ray(monkeypatch) if name.lower() == "no_proxy"}


def test_under_uv_run_workers_are_started_as_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants  # as in a notebook that has imported Ray first

    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", raising=False)
    monkeypatch.setattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)
    assert environment_of_ray(monkeypatch)["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    assert ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is False
