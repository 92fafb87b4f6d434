"""`ray up` and `ray down`, with a check of the cluster file and a record of the start time."""

import contextlib
import copy
import json
import logging
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import platformdirs

from raytrain.cluster.file import ClusterFile, Finding, findings
from raytrain.errors import ClusterError, ExperimentError
from raytrain.storage.typed_path import expanded

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 120.0
"""Seconds within which Ray must say whether the head of a cluster is there."""
STOP_TIMEOUT_S = 20
"""Seconds within which `ray stop` must end on a worker."""
TOKEN = Path("~/.ray/auth_token")
"""File with Ray's token, here and on the nodes."""


def check(file: ClusterFile) -> None:
    """Check a cluster file by our rules, then by Ray's own validation; nothing leaves this machine.

    Raises:
        ExperimentError: Something is wrong with it; all of our findings, or Ray's first, with their places.
    """
    if found := findings(file) or list(_rays(file)):
        raise ExperimentError("\n".join(map(str, found)))


def _refuse_template(file: ClusterFile) -> None:
    """Raise ExperimentError for a file from which no cluster can have been started."""
    if found := findings(file, template_only=True):
        raise ExperimentError("\n".join(map(str, found)))


def _rays(file: ClusterFile) -> list[Finding]:
    """Return what Ray's own schema of cluster files refuses, after Ray has filled in its defaults."""
    from ray.autoscaler import sdk

    schema = json.loads(files("ray.autoscaler").joinpath("ray-schema.json").read_text(encoding="utf-8"))
    try:
        jsonschema.validate(sdk.fillout_defaults(copy.deepcopy(file.values)), schema)
    except jsonschema.ValidationError as error:
        return [Finding(file.source.where(tuple(error.absolute_path)), f"Ray refuses it: {error.message}")]
    except Exception as error:  # noqa: BLE001 (Ray raises anything from KeyError to ValueError)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Finding(file.source.where(()), f"Ray refuses it: {reason}")]
    return []


def up(file: ClusterFile, path: Path) -> None:
    """Start the cluster, or bring it to what the file says.

    Raises:
        ClusterError: `ray up` failed; what it printed says why.
    """
    make_token()
    is_up = _is_up(path, provider=file.provider)
    state, now = _read_state(), time.time()
    if not is_up:  # written before `ray up`, which may fail with machines running
        _write_state(state | {file.name: state.get(file.name, now) if is_up is None else now})
    _ray("up", "--yes", "--no-config-cache", str(path), provider=file.provider)


def down(file: ClusterFile, path: Path) -> float | None:
    """End the cluster.

    Returns:
        Seconds since its start; None where that is not known, as of a cluster that was started elsewhere.

    Raises:
        ExperimentError: The file is a template that is not filled in.
        ClusterError: `ray down` failed; what it printed says why.
    """
    _refuse_template(file)
    _ray("down", "--yes", str(path), provider=file.provider)
    if file.provider == "local":
        _stop_workers(file)
    state = _read_state()
    started = state.pop(file.name, None)
    _write_state(state)
    return time.time() - started if isinstance(started, float | int) else None


def status(file: ClusterFile, path: Path) -> None:
    """Print what the head says about its nodes.

    Raises:
        ExperimentError: The file is a template that is not filled in.
        ClusterError: The head does not answer.
    """
    _refuse_template(file)
    _ray("exec", str(path), "RAY_AUTH_MODE=token ray status", provider=file.provider)


def make_token() -> None:
    """Write a token that only this user can read, unless there is one.

    Raises:
        ClusterError: The user has no home folder.
    """
    try:
        token = TOKEN.expanduser()
    except RuntimeError:
        raise ClusterError(f"{TOKEN}: has no home folder here, and Ray looks for its token there; set HOME") from None
    token.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token.chmod(0o600)  # Ray leaves it readable by all
        return
    with os.fdopen(handle, "w") as stream:
        stream.write(secrets.token_hex(32))


def _stop_workers(file: ClusterFile) -> None:
    """Run `ray stop` on each worker over ssh: of machines that stay, `ray down` stops the head only.

    One that does not answer is left to itself: its Ray ends when it has missed the head for a minute.
    """

    def stop(address: str) -> None:
        command = ssh_command(file.values, address, "ray stop")
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STOP_TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError):
            log.warning("the worker %s could not be reached; its Ray will end within about a minute", address)

    with ThreadPoolExecutor() as pool:
        list(pool.map(stop, file.values["provider"].get("worker_ips", ())))


def ssh_command(cluster: Mapping[str, Any], address: str, command: str) -> list[str]:
    """Return the words that run a command on a machine of a cluster, with the keys and the shell that Ray uses there.

    Args:
        cluster: The content of the cluster file.
        address: Address of the machine.
        command: Command for the machine's shell.
    """
    auth = cluster["auth"]
    options = ["BatchMode=yes", "LogLevel=ERROR", f"ConnectTimeout={STOP_TIMEOUT_S}"]
    options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]  # as Ray's own connections
    if proxy := auth.get("ssh_proxy_command"):
        options.append(f"ProxyCommand={proxy}")
    key = ["-i", str(expanded(auth["ssh_private_key"]))] if auth.get("ssh_private_key") else []
    remote = shlex.join(["bash", "--login", "-i", "-c", command])  # a login shell: .bashrc has the PATH of Ray
    if container := (cluster.get("docker") or {}).get("container_name"):
        remote = f"docker exec {shlex.quote(container)} {remote}"
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", *words, *key, f"{auth['ssh_user']}@{address}", remote]


def _is_up(path: Path, *, provider: str) -> bool | None:
    """Return whether the head of a cluster is there, be it ready or not; None where Ray cannot say."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        asked = _run("get-head-ip", str(path), provider=provider, timeout=HEAD_TIMEOUT_S, **pipes)
    except subprocess.TimeoutExpired:
        return None
    if asked.returncode == 0 or b" is in state " in asked.stdout:  # so Ray says of a head that is not ready
        return True
    return False if b"not found!" in asked.stdout else None


def _run(*arguments: str, provider: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    if provider == "local":
        environment.setdefault("RAY_UP_enable_autoscaler_v2", "0")  # the other one starts only one worker
    command = [sys.executable, "-m", "ray.scripts.scripts", *arguments]
    return subprocess.run(command, env=environment, check=False, **options)


def _ray(*arguments: str, provider: str) -> None:
    done = _run(*arguments, provider=provider)
    if done.returncode:
        raise ClusterError(f"`ray {' '.join(arguments)}` failed with exit code {done.returncode}; see its output")


def _state_file() -> Path | None:
    """Return the file with the start times of clusters; None for a user without a home folder."""
    try:
        return platformdirs.user_state_path("raytrain").expanduser() / "clusters.json"
    except RuntimeError:
        return None


def _read_state() -> dict[str, Any]:
    try:
        state = json.loads(path.read_text()) if (path := _state_file()) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(state: dict[str, Any]) -> None:
    if (path := _state_file()) is None:
        return
    with contextlib.suppress(OSError):  # the cluster is there; only how long it was up is lost
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(state))
