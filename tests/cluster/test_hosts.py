"""A cluster of three hosts, started over ssh: the whole way from `raytrain cluster up` to `raytrain cluster down`.

The tests stand in the order of a cluster's life and share one.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raytrain.runs.results import read_results
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
MISSING = [
    tool for tool in ("ip", "ssh", "sshd", "rsync", "unshare") if not shutil.which(tool, path="/usr/sbin:/usr/bin")
]

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}; `make test-cluster` installs them"),
]

CLUSTER = """\
cluster_name: raytrain-hosts
provider: {{type: local, head_ip: {h0}, worker_ips: [{h1}, {h2}]}}
auth: {{ssh_user: root, ssh_private_key: {state}/key}}
file_mounts: {{/root/.ray/auth_token: {state}/home/.ray/auth_token}}
setup_commands: [chmod 600 ~/.ray/auth_token]
# `ray stop` ends every Ray process that it sees: only where sshd is the first process, which is inside a host
head_start_ray_commands:
  - test "$(readlink /proc/1/exe)" = /usr/sbin/sshd && ray stop
  - >-
    ulimit -n 65536; RAY_AUTH_MODE=token RAY_UP_enable_autoscaler_v2=0 RAYTRAIN_OUT={state}/shared
    GLOO_SOCKET_IFNAME=eth0 ray start --head --port=6379 --node-ip-address={h0} --dashboard-host={h0} --num-cpus=1
    --object-store-memory=100000000 --autoscaling-config=~/ray_bootstrap_config.yaml
worker_start_ray_commands:
  - test "$(readlink /proc/1/exe)" = /usr/sbin/sshd && ray stop
  - >-
    RAY_AUTH_MODE=token GLOO_SOCKET_IFNAME=eth0 ray start --address=$RAY_HEAD_IP:6379 --num-cpus=1
    --object-store-memory=100000000
"""
EXPERIMENT = """\
recipe: {dataset: digits, image_size: 16, width: 4, batch_size: 64, epochs: 3, precision: fp32}
grid: {lr: [0.02, 0.05, 0.1]}
"""


@dataclass(frozen=True)
class Laptop:
    """Where the user sits: a machine in the network of the hosts, with a home and a folder of its own."""

    hosts: Any
    folder: Path
    file: Path

    def raytrain(self, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        state = self.hosts.state
        given = {"HOME": f"{state}/home", "TMPDIR": f"{state}/tmp", "XDG_STATE_HOME": f"{state}/home"}
        given |= {"RAY_API_SERVER_ADDRESS": f"http://{self.hosts.address(0)}:8265"}
        # Ray reads the token's place when it starts, and the home that the system knows is another one
        given |= {"RAY_AUTH_TOKEN_PATH": f"{state}/home/.ray/auth_token"}
        return subprocess.run(
            self.hosts.command(sys.executable, "-m", "raytrain", *words),
            env=kept | given,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def events(self, run: str) -> list[dict[str, Any]]:
        path = self.hosts.state / "shared" / run / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def hosts_of(self, run: str) -> set[str]:
        """Return the hosts that trained trials of a run, but for the head, on which its driver is."""
        return {host for event in self.events(run) if event["event"] == "elsewhere" for host in event["hosts"]}


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(1)


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    sys.path.insert(0, str(Path(__file__).parent))
    from hosts import Hosts, can_be_made

    if not can_be_made():
        pytest.skip("no namespaces, bridges or mounts may be made here")
    # sockets of Ray lie in it, whose paths are short
    state = Path(tempfile.mkdtemp(prefix="rh-", dir="/tmp"))
    for name in ("home", "tmp", "shared", "folder"):
        (state / name).mkdir()
    hosts = Hosts(state, Path(sys.executable).parent, (Path(sys.prefix), Path(sys.base_prefix), ROOT))
    file = state / "cluster.yaml"
    file.write_text(CLUSTER.format(state=state, **{f"h{host}": hosts.address(host) for host in range(3)}))
    (state / "folder" / "grid.yaml").write_text(EXPERIMENT)
    try:
        hosts.up()
        yield Laptop(hosts, state / "folder", file)
    finally:
        hosts.down()
        shutil.rmtree(state, ignore_errors=True)


@pytest.mark.timeout(900)
def test_the_cluster_comes_up_and_trains_on_several_hosts(laptop: Laptop) -> None:
    began = datetime.now(UTC)
    up = laptop.raytrain("cluster", "up", "--yes", str(laptop.file))
    assert up.returncode == 0, up.stdout + up.stderr
    wait_until(lambda: "\n 3 local" in laptop.hosts.ssh(0, "RAY_AUTH_MODE=token ray status").stdout, seconds=270)
    # long enough that no host has trained all three before the others have started a worker
    done = laptop.raytrain("submit", "--", "tune", "--grid", "grid.yaml", "--set", "epochs=40")
    assert done.returncode == 0, done.stderr
    assert "3 at a time, each on 1 CPU" in done.stderr
    assert laptop.hosts_of("grid") & {"h1", "h2"}
    first = next(event for event in laptop.events("grid") if event["event"] == "elsewhere")  # comes with an epoch
    log.info("from `cluster up` to the first epoch: %s", datetime.fromisoformat(first["time"]) - began)
    results = read_results(Folder.at(laptop.folder / "runs" / "grid"))
    assert [result.status for result in results] == ["finished"] * 3


@pytest.mark.timeout(900)
def test_two_workers_of_a_trial_sit_on_two_hosts(laptop: Laptop) -> None:
    fields = ("dataset=digits", "image_size=16", "width=4", "epochs=2", "precision=fp32")
    words = [word for field in fields for word in ("--set", field)]
    done = laptop.raytrain("submit", "--", "train", *words, "--workers", "2", "--name", "ddp")
    assert done.returncode == 0, done.stderr
    assert len(laptop.hosts_of("ddp")) == 2


@pytest.mark.timeout(1200)
def test_a_host_that_is_cut_off_costs_no_trial(laptop: Laptop) -> None:
    words = ("tune", "--grid", "grid.yaml", "--set", "epochs=30", "--seeds", "0,1", "--name", "cut")
    assert laptop.raytrain("submit", "--detach", "--name", "cut", "--", *words).returncode == 0
    wait_until(lambda: "h2" in laptop.hosts_of("cut"), seconds=360)
    laptop.hosts.cut_off(2)
    done = laptop.raytrain("logs", "-f", "cut", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert laptop.raytrain("pull", "cut").returncode == 0
    results = read_results(Folder.at(laptop.folder / "runs" / "cut"))
    assert [result.status for result in results] == ["finished"] * 6
    assert any(event["event"] == "worker lost" for event in laptop.events("cut"))


@pytest.mark.timeout(600)
def test_a_job_is_stopped_and_the_cluster_goes_down_and_leaves_nothing(laptop: Laptop) -> None:
    words = ("tune", "--grid", "grid.yaml", "--set", "epochs=10000", "--name", "long")
    assert laptop.raytrain("submit", "--detach", "--name", "long", "--", *words).returncode == 0
    wait_until(lambda: len(laptop.events("long")) > 0, seconds=180)
    assert "STOPPED" in laptop.raytrain("stop", "long").stdout
    down = laptop.raytrain("cluster", "down", str(laptop.file))
    assert down.returncode == 0, down.stdout + down.stderr
    assert "the cluster is down; it ran for" in down.stderr
    assert f"the worker {laptop.hosts.address(2)} could not be reached" in down.stderr  # its cable is out
    for host in (0, 1):
        wait_until(lambda host=host: not laptop.hosts.processes(host), seconds=20)
