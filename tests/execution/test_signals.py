"""Signals at any moment of a command's start: its exit code is theirs, one message says so, and nothing hangs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytrain.execution import signals
from raytrain.execution.signals import code_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is handled"),
]

PATIENCE_S = 100.0


def handles(process: subprocess.Popen[str], number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def signalled(words: list[str], number: signal.Signals, *, after: float) -> tuple[int, str]:
    """Return exit code and messages of a Python command that gets a signal some seconds after it handles signals."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE_S
    while not handles(process, signal.SIGHUP):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(after)
    process.send_signal(number)
    try:
        _, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, stderr


@pytest.mark.parametrize(
    ("after", "number"),
    [
        (0.0, signal.SIGTERM),
        (0.05, signal.SIGINT),
        (0.2, signal.SIGHUP),
        (0.5, signal.SIGTERM),
        (1.0, signal.SIGINT),
        (1.5, signal.SIGTERM),
        (2.5, signal.SIGHUP),
    ],
)
def test_a_signal_while_a_command_starts_ends_it_with_its_code_and_a_message(
    tmp_path: Path, tiny_images: str, after: float, number: signal.Signals
) -> None:
    sets = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 100_000}
    words = ["-m", "raytrain", "train", "--local", "--out", str(tmp_path), "--name", "x"]
    words += [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    code, stderr = signalled(words, number, after=after)
    assert code == code_of(number), stderr
    assert stderr.lower().count("interrupted") >= 1
    assert "Traceback" not in stderr.partition("Exception ignored in")[0]  # Python writes that where a callback got it


STUBBORN = """
import time
from raytrain import __main__ as command
from raytrain.execution import signals
signals.END_TIMEOUT_S = 0.2
def swallow(**options):
    signals.process.begin()
    {doing}
import raytrain.cli.app
raytrain.cli.app.app = swallow
command.main()
"""
DOING = {
    "swallows it and goes on": "try:\n        time.sleep(60)\n    except BaseException: time.sleep(60)",
    "makes another error of it": "try:\n        time.sleep(60)\n    except BaseException: raise ImportError from None",
    "exits with a code of its own": "try:\n        time.sleep(60)\n    except BaseException: exit(15)",
    "has exit handlers that wait": "import atexit; atexit.register(time.sleep, 60)\n    time.sleep(60)",
}


@pytest.mark.parametrize("doing", DOING)
def test_a_library_cannot_lose_a_signal(doing: str) -> None:
    code, stderr = signalled(["-c", STUBBORN.format(doing=DOING[doing])], signal.SIGTERM, after=0.5)
    assert code == 143, stderr
    assert "Traceback" not in stderr.partition("Exception ignored in")[0]  # Python writes that where a callback got it
    assert stderr == "raytrain: interrupted\n"


def test_what_is_to_be_ended_is_ended_where_the_main_thread_does_not_come_back() -> None:
    doing = (
        "from raytrain.background import before_exit\n"
        "    import os\n"
        "    with before_exit(lambda: 1 / 0), before_exit(lambda: os.write(2, b'ended\\n')):\n"
        "        try:\n"
        "            time.sleep(60)\n"
        "        except BaseException: time.sleep(60)"
    )
    code, stderr = signalled(["-c", STUBBORN.format(doing=doing)], signal.SIGTERM, after=0.5)
    assert (code, stderr) == (143, "raytrain: interrupted\nended\n")


def test_nohup_keeps_a_command_running() -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + (
        "from raytrain.execution import signals\n"
        "signals.process.watch()\n"
        "signal.raise_signal(signal.SIGHUP)\n"
        "print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


def test_the_first_signals_of_a_process_need_no_import_of_a_library() -> None:
    code = "import sys, raytrain.__main__; print(sorted({'typer', 'numpy', 'pydantic', 'rich'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_a_first_signal_of_which_the_listener_heard_sooner_is_still_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail(f"ended with {code}"))
    process = signals.Process()
    process.begin()
    process.arrived = signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        process._handle(signal.SIGINT, None)  # pyright: ignore[reportPrivateUsage]
