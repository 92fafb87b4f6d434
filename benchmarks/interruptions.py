"""Signals while a run starts, at random moments: each ends the command, soon and with its exit code.

python benchmarks/interruptions.py [--signals 50] [--seed 0]

`raytrain train` starts Ray, and its process group gets SIGINT, SIGTERM or SIGHUP in turn: at a moment between 0.2 s,
when Python itself is up, and the first trial's start, which an undisturbed run is timed for. The moments are drawn by a
seeded generator, one in each of as many equal parts of that time. A signal is lost when the command ends with another
code than 130 or 143, or does not end within a minute.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from comparison import Record, arguments

EXPECTED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
FIRST_S = 0.2
"""Seconds that Python needs to start; a signal before ends it as it ends any program."""
LATEST_S = 10.0
"""Seconds within which a command should end after a signal."""
LOST_S = 60.0
"""Seconds after which a signal counts as lost."""
LEFT_S = 20.0
"""Seconds that Ray's processes have to end after the command."""
SAID = "stderr"
"""File with what a command has printed."""
RECIPE = ("dataset=digits", "image_size=8", "width=4", "epochs=2000")


@contextmanager
def started() -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a run with a folder and a process group of its own, and kill what is left of the group at the end."""
    with tempfile.TemporaryDirectory(prefix="rtb-", ignore_cleanup_errors=True) as out:
        words = [sys.executable, "-m", "raytrain", "train", "--name", "x", "--out", out]
        words += [word for field in RECIPE for word in ("--set", field)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYTRAIN_"))}
        with Path(out, SAID).open("wb") as said:
            process = subprocess.Popen(
                words,
                env={**kept, "TMPDIR": out, "RAY_TMPDIR": out},
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        try:
            yield process, Path(out)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def seconds_to_first_trial() -> float:
    """Return the seconds from the command to the start of its first trial, undisturbed."""
    began = time.monotonic()
    with started() as (process, out):
        events = out / "x" / "events.jsonl"
        while not (events.exists() and '"started"' in events.read_text()):
            if process.poll() is not None:
                raise RuntimeError(f"no trial started: {(out / SAID).read_text()}")
            time.sleep(0.05)
        seconds = time.monotonic() - began
        os.killpg(process.pid, signal.SIGINT)
        process.wait(LOST_S)
    return seconds


def interrupted(number: signal.Signals, *, after: float) -> dict[str, Any]:
    """Send a signal to a command that starts; return what came of it."""
    with started() as (process, out):
        time.sleep(after)
        processes = psutil.Process(process.pid).children(recursive=True)
        said = {one.pid: cmdline(one) for one in processes}
        os.killpg(process.pid, number)
        sent = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOST_S)
        code, seconds = process.poll(), time.monotonic() - sent
        _, left = psutil.wait_procs(processes, timeout=LEFT_S)
        names = [" ".join(said.get(one.pid, [one.name()]))[:200] for one in left]
        for one in left:
            one.kill()
        return {
            "signal": number.name,
            "after_seconds": round(after, 2),
            "exit_code": code,
            "expected": EXPECTED[number],
            "seconds": round(seconds, 2),
            "traceback": "Traceback" in (out / SAID).read_text(),
            "processes_left": names,
        }


def cmdline(process: psutil.Process) -> list[str]:
    """Return the words by which a process was started; none where it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record, draw, count = Record("interruptions"), random.Random(options.seed), options.signals
    seconds_to_first_trial()  # the first start reads everything from the disk
    start = seconds_to_first_trial()
    part = (start - FIRST_S) / count
    rows: list[dict[str, Any]] = []
    for index in draw.sample(range(count), count):
        number = list(EXPECTED)[index % len(EXPECTED)]
        rows.append(interrupted(number, after=FIRST_S + part * (index + draw.random())))
        print(*rows[-1].values(), flush=True)
    lost = sum(row["exit_code"] != row["expected"] for row in rows)
    latest = max(row["seconds"] for row in rows)
    left = sum(len(row["processes_left"]) for row in rows)
    record.target(f"of {count} signals in the {start:.0f} s of a start: lost", lost, "0", met=lost == 0)
    record.target("s from a signal to the end of the command, at most", latest, "≤ 10", met=latest <= LATEST_S)
    tracebacks = sum(row["traceback"] for row in rows)
    record.target("of these commands: with a traceback", tracebacks, "0", met=tracebacks == 0)
    record.target(f"processes left {LEFT_S:.0f} s after them", left, "0", met=left == 0)
    record.details |= {"seconds to the first trial": start, "seed": options.seed, "signals": rows}
    record.write(options.output)
    return 0 if all(target["met"] for target in record.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
