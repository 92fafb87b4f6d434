"""How long it takes from Enter to the first epoch through Ray, beside what PyTorch and an empty Ray take alone.

python benchmarks/start.py

Ours: from starting `raytrain compare` as a process of its own, with two trials of a tiny network on the digits, until
the first line of a trial's metrics is on the disk. Beside it, in turns: a process that imports PyTorch, starts Ray on
this machine as Ray does by itself but for the dashboard, and ends.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from comparison import Comparison, Record, arguments, interleaved

TARGET_S = 8.0
TINY: dict[str, Any] = {"arch": "resnet18", "width": 4, "epochs": 1, "batch_size": 64, "warmup_epochs": 0}
EMPTY = "import torch, ray; ray.init(include_dashboard=False, log_to_driver=False); print('up', flush=True)"


def first_epoch() -> float:
    """Return the seconds from starting `raytrain compare` to the first epoch of its first trial."""
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out:
        assignments = [f"--set={name}={value}" for name, value in {"dataset": "digits", **TINY}.items()]
        command = [sys.executable, "-m", "raytrain", "compare", "quick", *assignments, "--no-asha", "--out", out]
        started = time.perf_counter()
        process = subprocess.Popen([*command, "--seeds", "0,1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(path.stat().st_size for path in Path(out).glob("*/trials/*/metrics.jsonl")):
            assert process.poll() is None, "the command ended before its first epoch"
            time.sleep(0.02)
        took = time.perf_counter() - started
        assert process.wait() == 0
        return took


def empty_ray() -> float:
    """Return the seconds from starting Python until PyTorch is imported and Ray is up."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", EMPTY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline() == b"up\n", "Ray did not start"
    took = time.perf_counter() - started
    assert process.wait() == 0
    return took


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(pairs=10)
    options = parser.parse_args()
    record = Record("start")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, each process compiles anew what it imports
    for start in (first_epoch, empty_ray):
        start()  # compiles, and reads from the disk, what is not there yet
    ours, theirs = interleaved(first_epoch, empty_ray, pairs=options.pairs)
    row = Comparison(
        "from Enter to the first epoch, through Ray", "`import torch` and an empty `ray.init`", "s", ours, theirs
    )
    record.add(row)
    took = statistics.median(ours)
    record.target(
        f"s from Enter to the first epoch of the first trial ({min(ours):.1f}–{max(ours):.1f}, n = {len(ours)})",
        took,
        f"≤ {TARGET_S:g} s",
        met=took <= TARGET_S,
    )
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
