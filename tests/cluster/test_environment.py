"""The environments that people start raytrain in: a proxy, no home folder, the URL of a dashboard in RAY_ADDRESS."""

import json
import os
import pwd
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cluster import dashboard, launch
from raytrain.cluster.file import read_cluster_file
from raytrain.cluster.prices import price_list, user_table
from raytrain.data import data_home
from raytrain.errors import ClusterError, PreflightError
from raytrain.ray_backend.session import cluster_address
from raytrain.storage.folder import Folder
from raytrain.trackers.tracker import open_tracker
from raytrain.training.doctor import check_machine


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the user be one without home folder, as a numeric user of a container is."""

    def unknown(user: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("HOME", "RAYTRAIN_DATA", *(f"XDG_{kind}_HOME" for kind in ("CACHE", "CONFIG", "DATA", "STATE"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_the_folder_of_data_sets_is_asked_for() -> None:
    with pytest.raises(PreflightError, match="Set HOME or RAYTRAIN_DATA to a folder that can be written"):
        data_home()


@pytest.mark.usefixtures("no_home")
def test_doctor_finds_that_there_is_no_home_folder(tmp_path: Path) -> None:
    checks = {check.name: check for check in check_machine(out="~/runs", dataset="digits")}
    assert {name for name, check in checks.items() if not check.ok} == {"storage", "disk", "memory", "data"}
    assert "HOME is not set" in checks["data"].found
    checks = {check.name: check for check in check_machine(out=str(tmp_path), dataset="digits")}
    assert (checks["storage"].ok, checks["data"].ok) == (True, False)


@pytest.mark.usefixtures("empty_report", "no_home")  # the report first: it imports matplotlib, which asks for a home
def test_raytrain_data_is_enough_to_plan_and_to_train(
    tmp_path: Path, tiny_images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    recipe = (
        f"{{dataset: {tiny_images}, val_size: 8, image_size: 8, arch: resnet9, width: 4, batch_size: 8, epochs: 1}}"
    )
    file.write_text(f"recipe: {recipe}\ngrid: {{lr: [0.01]}}\n")
    for command in ("plan", "compare"):
        ended = CliRunner().invoke(app, [command, str(file), "--local", "--out", str(tmp_path / "runs")])
        assert (ended.exit_code, ended.exception) == (0, None), ended.output
    assert (tmp_path / "runs" / "mine" / "trials.parquet").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.slow  # imports Ray
@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_prices_are_the_shipped_ones_and_no_start_time_is_kept() -> None:
    file = read_cluster_file(Path(__file__).parents[2] / "cluster.yaml")
    said = price_list(file)
    assert "an hour (list prices)" in said
    assert user_table() is None
    launch._write_state({"ours": 1.0})
    assert launch._read_state() == {}


def test_a_folder_at_home_is_not_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder.at("~/runs").local_path == tmp_path / "runs"
    assert Folder.at("runs/~").local_path == Path.cwd() / "runs" / "~"
    monkeypatch.setenv("RAYTRAIN_OUT", "~/runs")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "experiment.yaml").write_text("name: mine\n")
    assert "mine" in CliRunner().invoke(app, ["results"]).output


def test_doctor_does_not_approve_data_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "photos")
    ended = CliRunner().invoke(app, ["doctor", "--local", "--out", str(tmp_path), "--dataset", missing])
    assert ended.exit_code == 3
    assert f"✗ data: unknown data set '{missing}'; choose one of cifar10" in ended.output
    Path(missing).mkdir()
    ended = CliRunner().invoke(app, ["doctor", "--local", "--out", str(tmp_path), "--dataset", missing])
    assert f"✗ data: '{missing}' holds no data set" in ended.output


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "HTTPS://head:8265"])
def test_the_url_of_a_dashboard_is_told_from_the_address_of_a_cluster(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=r"is the URL of a dashboard.*\nLeave --address out"):
        cluster_address(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match="It comes from the environment variable RAY_ADDRESS; unset it"):
        cluster_address(address)


@pytest.mark.parametrize("address", [None, "", "local", " LOCAL "])
def test_no_address_starts_ray_here(address: str | None) -> None:
    assert cluster_address(address) is None


@pytest.fixture
def served() -> Iterator[str]:
    """Return the URL of what answers as a dashboard of the Ray that is here does."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"ray_version": metadata.version("ray")}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow  # imports Ray
def test_a_proxy_is_not_asked_for_this_machine(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")  # is put back, as no_proxy is
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("urllib.request._opener", None)  # which keeps the proxy for all tests after this one
    monkeypatch.setenv("no_proxy", "intern.example")
    assert dashboard.find(served, insecure=False) == served
    assert os.environ["no_proxy"] == "intern.example,127.0.0.1,localhost,::1"


def test_a_tracker_on_this_machine_is_reached_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def opened(*_: object, **__: object) -> None:
        seen.append(os.environ["no_proxy"])

    monkeypatch.setenv("NO_PROXY", "")  # is put back, as no_proxy is
    monkeypatch.setenv("no_proxy", "intern.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("raytrain.trackers.tracker.answer_within", opened)
    monkeypatch.setattr("raytrain.trackers.tracker.check_tracker", lambda _: None)
    open_tracker("mlflow", uri="http://127.0.0.1:5000", project="made")
    assert seen == ["intern.example,127.0.0.1,localhost,::1"]


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_there_is_no_token_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert dashboard._authorization() == {}


@pytest.mark.slow  # imports Ray
@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("host", ["192.0.2.1", "127.evil.invalid", "localhost.evil.invalid"])
def test_another_host_is_not_talked_to_without_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match="is another host, and there is no token"):
        dashboard.find(f"http://{host}:8265", insecure=False)


@pytest.mark.parametrize("address", ["http://u:hunter2@h:8265", "u:a/hunter2@h:8265", "ray://u:hunter2@h:10001"])
def test_an_address_of_a_cluster_with_a_password_is_refused_and_not_repeated(address: str) -> None:
    for find in (cluster_address, partial(dashboard.find, insecure=True)):
        with pytest.raises(PreflightError, match="RAY_AUTH_TOKEN") as refused:
            find(address)
        assert "hunter2" not in str(refused.value)
