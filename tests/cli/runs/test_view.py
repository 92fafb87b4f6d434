"""Tests of `raytrain view` as a command: what it prints, and how it ends."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app

pytestmark = pytest.mark.slow


@pytest.mark.timeout(240)
def test_it_prints_its_address_and_ends_quietly_after_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raytrain", "view", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stderr
        address, said = server.stdout.readline(), server.stderr.readline()
        server.send_signal(signal.SIGINT)
        rest, more = server.communicate()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/\n", address)
    assert (server.returncode, rest) == (0, "")
    assert said.startswith("Ctrl-C ends the server.")
    assert more == ""


def test_a_run_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["view", "absent", "--out", str(tmp_path)])
    assert (ended.exit_code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "there is no run 'absent'" in ended.stderr


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = CliRunner().invoke(app, ["view", "--out", str(tmp_path), "--port", str(port)])
    assert ended.exit_code == 3
    assert f"port {port} of 127.0.0.1 cannot be listened on" in ended.stderr
