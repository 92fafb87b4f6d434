"""Ctrl-C, SIGTERM and SIGKILL, and that nothing of ours lives on."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

GONE_S = 20.0
PATIENCE_S = 270.0
Start = Callable[..., Any]  # of a Command, as conftest.py has it


def folders() -> set[Path]:
    """Return the private folders of the commands that this test started: its temporary folder is its own."""
    return set(Path(tempfile.gettempdir()).glob("rt-*"))


def alive(processes: list[psutil.Process]) -> list[str]:
    return [f"{one.pid} {one.name()}" for one in processes if one.is_running() and one.status() != "zombie"]


def gone(processes: list[psutil.Process]) -> list[str]:
    """Wait for the end of processes; return those that are still there after `GONE_S`."""
    deadline = time.monotonic() + GONE_S
    while (left := alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def children(command: Any) -> list[psutil.Process]:
    return psutil.Process(command.process.pid).children(recursive=True)


def test_ctrl_c_in_a_terminal_saves_and_leaves_nothing_behind(start: Start) -> None:
    before = folders()
    command = start(group=True, epochs=2000)  # as a terminal sends it: to Ray's processes too
    command.wait_until(lambda: command.epochs() >= 3)
    processes = children(command)
    os.killpg(command.process.pid, signal.SIGINT)
    assert command.end() == 130, command.stderr
    assert "The same command continues the run" in command.stderr
    assert "Traceback" not in command.stderr
    assert (command.folder / "README.md").exists()
    assert command.events()[-1]["event"] == "interrupted"
    assert gone(processes) == []
    assert folders() <= before


def test_sigterm_to_all_processes_leaves_nothing_behind_and_the_same_command_goes_on(
    start: Start, undisturbed: Callable[..., list[dict[str, object]]]
) -> None:
    before = folders()
    command = start(group=True, lr=(0.05, 0.01, 1e9))  # as SLURM sends it; one trial diverges
    command.wait_until(lambda: command.epochs() >= 5)
    processes = children(command)
    os.killpg(command.process.pid, signal.SIGTERM)
    assert command.end() == 143, command.stderr
    assert "The same command continues the run" in command.stderr
    assert "Traceback" not in command.stderr
    assert (command.folder / "README.md").exists()
    assert gone(processes) == []
    assert folders() <= before
    assert command.continued().exit_code == 4
    assert command.numbers() == undisturbed(lr=(0.05, 0.01, 1e9), code=4)
    assert command.contiguous()


def test_sighup_while_trials_run_saves_and_the_same_command_goes_on(
    start: Start, undisturbed: Callable[..., list[dict[str, object]]]
) -> None:
    command = start("--local")
    command.wait_until(lambda: command.epochs() >= 5)
    command.process.send_signal(signal.SIGHUP)
    assert command.end() == 143, command.stderr
    assert "The same command continues the run" in command.stderr
    assert "Traceback" not in command.stderr
    assert (command.folder / "README.md").exists()
    assert (command.events()[-1]["event"], command.events()[-1]["exit_code"]) == ("interrupted", 143)
    assert command.epochs() < 120
    assert command.continued().exit_code == 0
    assert command.numbers() == undisturbed()
    assert command.contiguous()


ON_A_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # the terminal of this session, which has none yet
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.executable, [sys.executable, "-m", "raytrain", *sys.argv[2:]])
"""


@pytest.mark.parametrize("options", [("--local",), ()], ids=["local", "ray"])
def test_a_terminal_that_goes_away_ends_the_run_as_a_signal_does(
    options: tuple[str, ...], write: Callable[..., Path], tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    words = ["tune", "--grid", str(write(epochs=2000)), "--out", str(tmp_path / "out"), *options]
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, os.ttyname(theirs), *words], start_new_session=True
    )
    folder, shown = tmp_path / "out" / "x", b""
    deadline = time.monotonic() + PATIENCE_S
    try:
        while sum(path.read_text().count("\n") for path in folder.glob("trials/*/metrics.jsonl")) < 3:
            assert process.poll() is None, shown.decode(errors="replace")
            assert time.monotonic() < deadline, shown.decode(errors="replace")
            while select.select([ours], [], [], 0.05)[0]:
                shown += os.read(ours, 65_536)
        processes = psutil.Process(process.pid).children(recursive=True)
        os.close(theirs)
        os.close(ours)  # what is written to the terminal is an error from here on
        assert process.wait(PATIENCE_S) == 143
    finally:
        process.kill()
    assert (folder / "README.md").exists()
    last = list(read_lines(Folder.at(folder), "events.jsonl"))[-1]
    assert (last["event"], last["exit_code"]) == ("interrupted", 143)
    assert gone(processes) == []


def test_a_signal_while_ray_starts_is_neither_lost_nor_late_and_leaves_nothing_behind(start: Start) -> None:
    before = folders()
    command = start(group=True, epochs=2000)
    command.wait_until(lambda: "gcs_server" in {child.name() for child in children(command)})
    processes = children(command)
    os.killpg(command.process.pid, signal.SIGTERM)
    assert command.end() == 143, command.stderr
    assert command.stderr.endswith("raytrain: interrupted\n")
    assert "Traceback" not in command.stderr
    assert not command.folder.exists()
    assert gone(processes) == []
    assert folders() <= before


def test_a_second_ctrl_c_ends_at_once(start: Start) -> None:
    command = start(epochs=2000)
    command.wait_until(lambda: command.epochs() >= 3)
    processes = children(command)
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    command.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert command.end() == 130, command.stderr
    assert time.monotonic() - began < 5
    assert "Traceback" not in command.stderr
    assert gone(processes) == []


def run_out_of_time(command: Any, *, after: int) -> int:
    """Let the clock of `--time-limit` strike once `after` epochs are on record, however slow the machine is.

    The limit is a timer whose signal is SIGALRM; that it is set, and for how long, test_interruption.py tests.
    """
    command.wait_until(lambda: command.epochs() >= after)
    command.process.send_signal(signal.SIGALRM)
    return command.end()


def test_a_run_that_is_out_of_time_saves_and_the_same_command_goes_on(start: Start) -> None:
    command = start("--time-limit", "1h", lr=(0.05,), epochs=20000)
    command.wait_until(lambda: command.epochs() >= 1)
    processes = children(command)
    assert run_out_of_time(command, after=1) == 8, command.stderr
    assert "the time limit is reached: saving the run" in command.stderr
    assert "Time limit reached with 1 trial unfinished. The same command continues" in command.stderr
    assert (command.folder / "README.md").exists()
    assert command.events()[-1]["exit_code"] == 8
    assert gone(processes) == []
    before = command.epochs()
    again = start("--local", "--time-limit", "1h", lr=(0.05,), epochs=20000)
    assert run_out_of_time(again, after=before + 1) == 8, again.stderr
    assert again.contiguous()


def test_what_outlives_a_killed_driver_is_ended_by_the_next_start_and_nothing_else_is(start: Start) -> None:
    before = folders()
    command = start(epochs=2000)
    command.wait_until(lambda: command.epochs() >= 3)
    (abandoned,) = folders() - before
    os.utime(abandoned, (0, 0))  # as after a while
    processes = children(command)
    command.process.kill()
    command.process.wait()
    starts = len(command.events("started"))
    bystander = subprocess.Popen(["sleep", "300"])  # longer than the next start takes on a busy machine
    again = start(epochs=2000)
    again.wait_until(lambda: len(again.events("started")) > starts)
    assert alive(processes) == []
    assert not abandoned.exists()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    again.process.send_signal(signal.SIGINT)
    assert again.end() == 130
    assert folders() <= before


def test_a_run_that_is_killed_before_its_first_epoch_or_between_trials_goes_on(
    start: Start, undisturbed: Callable[..., list[dict[str, object]]]
) -> None:
    first = start("--max-concurrent", "1", lr=(0.05, 0.01, 0.02))
    first.wait_until(lambda: first.folder.exists() and first.events("started"))
    first.process.kill()
    first.process.wait()
    second = start("--local", lr=(0.05, 0.01, 0.02))
    second.wait_until(lambda: second.events("finished"))
    second.process.kill()
    second.process.wait()
    ended = second.results()
    third = second.continued()
    assert third.exit_code == 0, third.output
    assert second.numbers() == undisturbed(lr=(0.05, 0.01, 0.02))
    assert second.contiguous()
    finished = [event["trial"] for event in second.events("finished")]
    assert ended
    assert all(finished.count(result.trial) == 1 for result in ended)
