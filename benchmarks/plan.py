"""What `raytrain plan` says a run will take, against what it takes.

python benchmarks/plan.py

The plan and the run take turns, each by its command, on the digits. The time of a run is that from its first start to
its last end, as the plan counts it, and not that of starting Ray.
"""

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from comparison import Record, arguments

from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

RUNS = {
    "five networks to their end": ["quick", "--no-asha", "--set", "epochs=4"],
    "five networks with ASHA": ["quick"],
    "a grid of 12 trials of one network": ["grid.yaml"],
}
GRID = {
    "recipe": {"dataset": "digits", "width": 8, "batch_size": 64, "epochs": 8, "augment": ["crop"]},
    "grid": {"lr": [0.01, 0.03, 0.1, 0.3], "schedule": ["constant", "cosine", "onecycle"]},
}
NEAR = 1.25
"""Times too long or too short that a prediction may be."""


def raytrain(*words: str, folder: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "raytrain", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def took(run: Path) -> float:
    """Return the seconds from the first start to the last end."""
    times = {"started": list[float](), "ended": list[float]()}
    for event in read_lines(Folder.at(run), "events.jsonl"):
        if event["event"] in {"started", "finished", "stopped"}:
            kind = "started" if event["event"] == "started" else "ended"
            times[kind].append(datetime.datetime.fromisoformat(event["time"]).timestamp())
    return max(times["ended"]) - min(times["started"])


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(pairs=3)
    options = parser.parse_args()
    record = Record("plan")
    for what, words in RUNS.items():
        ratios: list[float] = []
        plan: dict[str, float] = {}
        inside = 0
        for _ in range(options.pairs):
            with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as folder:
                (Path(folder) / "grid.yaml").write_text(json.dumps(GRID))  # JSON is YAML
                plan = json.loads(raytrain("plan", *words, "--json", folder=folder))["seconds"]
                raytrain("compare", *words, "--quiet", folder=folder)
                real = took(next((Path(folder) / "runs").iterdir()))
            ratios.append(plan["median"] / real)
            inside += plan["low"] <= real <= plan["high"]
            print(
                f"{what}: {plan['median']:.1f} s ({plan['low']:.1f} to {plan['high']:.1f}) planned, {real:.1f} s taken"
            )
        record.details[what] = {"planned over taken": ratios, "runs": options.pairs}
        if plan["low"] < plan["high"]:
            record.details[what]["within the range"] = inside
        worst = max(ratios, key=lambda ratio: max(ratio, 1 / ratio))
        about = f"planned over taken, {what}, the worst of {options.pairs}"
        record.target(about, worst, f"{1 / NEAR:g} to {NEAR:g}", met=max(worst, 1 / worst) <= NEAR)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
