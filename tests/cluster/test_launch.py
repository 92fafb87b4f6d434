"""`raytrain cluster`: what it runs, what it says, and what it refuses; Ray's commands themselves are stood in for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.cluster import launch

pytestmark = pytest.mark.slow  # imports Ray, which takes seconds

ROOT = Path(__file__).parents[2]
LOCAL = """\
cluster_name: ours
provider: {type: local, head_ip: 192.168.0.10, worker_ips: []}
auth: {ssh_user: me}
file_mounts: {~/.ray/auth_token: ~/.ray/auth_token}
head_start_ray_commands: ["RAY_AUTH_MODE=token ray start --head --autoscaling-config=~/ray_bootstrap_config.yaml"]
worker_start_ray_commands: ["RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379"]
"""


HEAD = {
    "up-to-date": b"192.168.0.10\n",
    "update-failed": b"Head node (192.168.0.10) is in state update-failed.\nRuntimeError: Head node not found!\n",
    None: b"RuntimeError: Head node of cluster (ours) not found!\n",
}
"""What `ray get-head-ip` prints, by the state of the head."""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of Ray's that were run, in a home and with a state of its own; one that asks for the head is not listed.

    A cluster is there from `up`, also one that fails on the way, to `down`.
    """
    commands: list[list[str]] = []
    there: dict[str, str] = {}  # by file

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert options["env"]["RAY_AUTH_MODE"] == "token"
        assert command[:3] == [sys.executable, "-m", "ray.scripts.scripts"]
        name, *words = command[3:]
        if name == "get-head-ip":
            state = there.get(words[-1])
            return subprocess.CompletedProcess(command, 0 if state == "up-to-date" else 1, HEAD[state])
        commands.append(command[3:])
        code = 1 if "broken" in str(command) else 0
        if name == "up":
            there[words[-1]] = "update-failed" if code else "up-to-date"
        if name == "down":
            there.pop(words[-1], None)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(launch.subprocess, "run", run)
    monkeypatch.setattr(launch, "TOKEN", tmp_path / ".ray" / "auth_token")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return commands


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ours.yaml"
    path.write_text(LOCAL)
    return path


def raytrain(*words: object, answer: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def test_the_template_says_what_is_to_be_filled_in_and_nothing_is_started(ran: list[list[str]]) -> None:
    for command in (("check",), ("up", "--yes"), ("status",), ("down",)):
        done = raytrain("cluster", *command, ROOT / "cluster.yaml")
        assert done.exit_code == 2
        assert "ami-REPLACE-ME' is a placeholder" in done.stderr
    assert ran == []


def test_what_our_rules_do_not_know_ray_refuses_with_the_place(file: Path) -> None:
    file.write_text(LOCAL + "idle_timeout_minute: 5\n")
    done = raytrain("cluster", "check", file)
    assert done.exit_code == 2
    assert "Ray refuses it" in done.stderr
    assert "idle_timeout_minute" in done.stderr
    assert f"{file}:" in done.stderr


def test_up_makes_a_token_that_only_its_owner_reads_and_down_says_how_long_it_ran(
    ran: list[list[str]], file: Path, tmp_path: Path
) -> None:
    assert raytrain("cluster", "up", file, answer="n\n").exit_code == 0
    assert ran == []
    done = raytrain("cluster", "up", "--yes", file)
    assert done.exit_code == 0, done.stderr
    assert ran == [["up", "--yes", "--no-config-cache", str(file)]]
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert len(token.read_text()) == 64
    before = token.read_text()
    assert raytrain("cluster", "up", "--yes", file).exit_code == 0
    assert token.read_text() == before
    done = raytrain("cluster", "down", file)
    assert ran[-1] == ["down", "--yes", str(file)]
    assert "the cluster is down; it ran for 0:00:0" in done.stderr
    assert "the cluster is down; its start is not known" in raytrain("cluster", "down", file).stderr


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the time."""
    times = [0.0]
    monkeypatch.setattr(launch, "time", SimpleNamespace(time=lambda: times[-1]))
    return times.append


def test_a_cluster_that_did_not_come_up_whole_has_run_since_it_was_started(
    ran: list[list[str]], tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(LOCAL)
    clock(1000.0)
    assert raytrain("cluster", "up", "--yes", broken).exit_code == 6
    clock(1600.0)
    assert raytrain("cluster", "up", "--yes", broken).exit_code == 6  # its head is there
    clock(4600.0)
    monkeypatch.setattr(launch, "_ray", lambda *_, **__: None)
    assert "it ran for 1:00:00" in raytrain("cluster", "down", broken).stderr
    assert [words[0] for words in ran] == ["up", "up"]


@pytest.mark.usefixtures("ran")
def test_a_cluster_that_was_ended_without_raytrain_is_started_anew(file: Path, clock: Callable[[float], None]) -> None:
    clock(1000.0)
    raytrain("cluster", "up", "--yes", file)
    ended_by_hand = [sys.executable, "-m", "ray.scripts.scripts", "down", str(file)]
    subprocess.run(ended_by_hand, env={"RAY_AUTH_MODE": "token"}, check=True)
    clock(901_000.0)
    raytrain("cluster", "up", "--yes", file)
    clock(901_060.0)
    assert "it ran for 0:01:00" in raytrain("cluster", "down", file).stderr


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("said", [b"NoCredentialsError: Unable to locate credentials\n", None], ids=["error", "late"])
def test_a_start_stays_on_record_where_ray_cannot_say_whether_the_head_is_up(
    said: bytes | None, file: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = launch._run

    def run(*words: str, **options: Any) -> Any:
        if words[0] != "get-head-ip":
            return answered(*words, **options)
        if said is None:
            raise subprocess.TimeoutExpired("ray", 120)
        return subprocess.CompletedProcess("ray", 1, said)

    monkeypatch.setattr(launch, "_run", run)
    for time in (1000.0, 4000.0):
        clock(time)
        raytrain("cluster", "up", "--yes", file)
    clock(4600.0)
    assert "it ran for 1:00:00" in raytrain("cluster", "down", file).stderr


@pytest.mark.usefixtures("ran")
def test_the_start_of_a_cluster_that_was_started_elsewhere_is_not_known(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_is_up", lambda *_, **__: True)
    raytrain("cluster", "up", "--yes", file)
    assert "its start is not known" in raytrain("cluster", "down", file).stderr


def test_where_nobody_answers_nothing_is_started(ran: list[list[str]], file: Path) -> None:
    done = raytrain("cluster", "up", file)
    assert done.exit_code == 2
    assert "the cluster was not started, because nobody answered; --yes starts it without asking" in done.stderr
    assert ran == []


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000])
def test_start_times_that_cannot_be_read_are_none_and_are_written_anew(content: str, tmp_path: Path) -> None:
    kept = tmp_path / "state" / "raytrain" / "clusters.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    assert launch._read_state() == {}
    launch._write_state({"ours": 1.0})
    assert launch._read_state() == {"ours": 1.0}


def test_a_failure_of_rays_is_one_line_and_no_traceback(ran: list[list[str]], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(LOCAL)
    done = raytrain("cluster", "up", "--yes", broken)
    assert done.exit_code == 6
    assert "failed with exit code 1; see its output" in done.stderr
    assert "Traceback" not in done.stderr
    assert raytrain("cluster", "status", broken).exit_code == 6
    assert ran[-1][0] == "exec"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    done = raytrain("cluster", "check", tmp_path / "nowhere.yaml")
    assert done.exit_code == 2
    assert "no such file" in done.stderr
