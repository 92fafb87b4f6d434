"""A sweep whose workers are killed at random, for half an hour: every trial ends, as it would have undisturbed.

python benchmarks/soak.py [--minutes 30] [--every 20] [--seed 0] [--compared 20]

Small trials run through `raytrain tune`, two at a time. Every so many seconds one of the processes that train is killed
(SIGKILL), chosen by a seeded generator; none of the same trial more than twice, because a third time it is given up by
design. Then the first trials are run again in one process with nothing going wrong, and must give the same numbers bit
for bit. Memory and files that the driver has open are looked at all the while, and what is left when it has ended.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from comparison import Record, arguments

from raytrain.runs.results import TrialResult, read_results
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

TRIALS_PER_MINUTE = 4
"""On two cores, with the kills: what makes the sweep about as long as was asked for."""
MOST_KILLS = 2
LOOK_S = 1.0
RECIPE = {
    "dataset": "digits",
    "image_size": 8,
    "width": 4,
    "epochs": 60,
    "batch_size": 64,
    "precision": "fp32",
}


def experiment(folder: Path, *, trials: int) -> Path:
    file = folder / f"soak-{trials}.yaml"
    values = {"name": "soak", "recipe": RECIPE, "seeds": list(range(trials)), "resources": {"cpus_per_worker": 1}}
    file.write_text(json.dumps(values))
    return file


def command(file: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "raytrain", "tune", "--grid", str(file), "--out", str(out), "--quiet", *options]


def numbers(result: TrialResult) -> dict[str, Any]:
    return {name: value for name, value in vars(result).items() if name not in {"seconds", "attempts"}}


def workers(driver: psutil.Process) -> dict[int, psutil.Process]:
    """Return the processes that train, by their ids."""
    found: dict[int, psutil.Process] = {}
    for process in driver.children(recursive=True):
        try:
            if any("ImplicitFunc.train" in word for word in process.cmdline()):
                found[process.pid] = process
        except psutil.Error:
            continue
    return found


def attempts(folder: Folder) -> Counter[str]:
    """Return how often each running trial was started."""
    events = list(read_lines(folder, "events.jsonl"))
    ended = {event["trial"] for event in events if event["event"] in {"finished", "failed", "diverged", "stopped"}}
    return Counter(e["trial"] for e in events if e["event"] == "started" and e["trial"] not in ended)


def soak(file: Path, out: Path, *, every: float, draw: random.Random) -> dict[str, Any]:
    """Run the sweep and hurt it; return what was seen."""
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(file, out), env=environment, stdout=subprocess.DEVNULL)
    driver = psutil.Process(process.pid)
    folder = Folder.at(out / "soak")
    memory: list[int] = []
    files: list[int] = []
    seen: set[psutil.Process] = set()
    kills = 0
    next_kill = time.monotonic() + every
    while process.poll() is None:
        time.sleep(LOOK_S)
        try:
            memory.append(driver.memory_info().rss)
            files.append(driver.num_fds())
            seen |= set(driver.children(recursive=True))
            if time.monotonic() < next_kill:
                continue
            training = workers(driver)
        except psutil.Error:
            break
        if training and max(attempts(folder).values(), default=0) <= MOST_KILLS:
            training[draw.choice(sorted(training))].kill()
            kills += 1
            next_kill = time.monotonic() + every
    code = process.wait()
    time.sleep(20)
    left = [one for one in seen if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    return {
        "exit_code": code,
        "seconds": time.monotonic() - began - 20,
        "kills": kills,
        "memory_bytes": memory,
        "files_open": files,
        "left_after_20_s": len(left),
    }


def growth(values: list[int]) -> float:
    """Return the median of the last tenth over that of the second: the first is the start."""
    tenth = max(1, len(values) // 10)
    return median(values[-tenth:]) / median(values[tenth : 2 * tenth])


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=20, help="seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compared", type=int, default=20, help="trials that are run again undisturbed")
    options = parser.parse_args()
    record = Record("soak")
    trials = max(4, round(options.minutes * TRIALS_PER_MINUTE))
    with tempfile.TemporaryDirectory(prefix="raytrain-soak-") as scratch:
        place = Path(scratch)
        seen = soak(
            experiment(place, trials=trials), place / "hurt", every=options.every, draw=random.Random(options.seed)
        )
        calm = experiment(place, trials=min(trials, options.compared))
        subprocess.run(
            command(calm, place / "calm", "--local"),
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        hurt = {result.trial: result for result in read_results(Folder.at(place / "hurt" / "soak"))}
        expected = read_results(Folder.at(place / "calm" / "soak"))
        lines = {
            path.parent.name: path.read_text().splitlines() for path in place.glob("hurt/soak/trials/*/metrics.jsonl")
        }
    finished = sum(result.status == "finished" for result in hurt.values())
    differing = sum(numbers(hurt[one.trial]) != numbers(one) if one.trial in hurt else True for one in expected)
    broken = sum([json.loads(row)["epoch"] for row in rows] != list(range(1, len(rows) + 1)) for rows in lines.values())
    again = sum(result.attempts - 1 for result in hurt.values())
    record.details |= {name: value for name, value in seen.items() if name not in {"memory_bytes", "files_open"}}
    record.details |= {"trials": trials, "restarts": again, "compared": len(expected), "seed": options.seed}
    record.details |= {
        "memory_mib": [
            round(value / 2**20) for value in seen["memory_bytes"][:: max(1, len(seen["memory_bytes"]) // 60)]
        ]
    }
    record.target(
        f"of {trials} trials finished, workers killed {seen['kills']} times",
        finished,
        f"{trials}",
        met=finished == trials,
    )
    record.target(f"of {len(expected)} trials run again undisturbed: other numbers", differing, "0", met=differing == 0)
    record.target("trials whose epochs are not 1, 2, 3, ...", broken, "0", met=broken == 0)
    record.target(
        "driver memory, last tenth over the second",
        growth(seen["memory_bytes"]),
        "≤ 1.2",
        met=growth(seen["memory_bytes"]) <= 1.2,
    )
    record.target(
        "files the driver has open, last tenth over the second",
        growth(seen["files_open"]),
        "≤ 1.2",
        met=growth(seen["files_open"]) <= 1.2,
    )
    record.target("processes left 20 s after its end", seen["left_after_20_s"], "0", met=seen["left_after_20_s"] == 0)
    record.write(options.output)
    return 0 if all(target["met"] for target in record.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
