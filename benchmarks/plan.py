"""What `raytrain plan` says a run will take, against what it takes.

python benchmarks/plan.py                          # nine runs of about ten minutes, on the digits
python benchmarks/plan.py --data data/cifar10      # on CIFAR-10; the same command goes on with what is left

Of CIFAR-10, the first 300 training and 100 test images of each class are taken, so that ten minutes of two cores are
several epochs, and ASHA has rungs. The machine should do nothing else meanwhile. The plan and the run take turns, each
by its command. As many epochs are trained as take the minutes that are asked for, by a first plan. The time of a run is
that from its first start to its last end, as the plan counts it, and not that of starting Ray. Each run that has ended
is a line of runs/plan.jsonl, so an interrupted benchmark loses one run.
"""

import datetime
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from comparison import Record, arguments
from image_parts import first_of_each_class, write_part

from raytrain.report.text.quantities import duration
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines

RUNS = {
    "five networks to their end": ["quick", "--no-asha"],
    "five networks with ASHA": ["quick"],
    "a grid of 12 trials of one network": ["grid.yaml"],
}
GRID = {
    "recipe": {"dataset": "digits", "width": 8, "batch_size": 64, "epochs": 8, "augment": ["crop"]},
    "grid": {"lr": [0.01, 0.03, 0.1, 0.3], "schedule": ["constant", "cosine", "onecycle"]},
}
TRAINING_IMAGES = 300
"""Training images of each class of CIFAR-10 that are taken."""
TEST_IMAGES = 100
"""Test images of each class of CIFAR-10 that are taken."""
COLUMNS = ["run", "epochs", "planned", "range of the plan", "taken", "planned over taken"]
FIRST_EPOCHS = 8
"""Epochs of the first plan, from which the number of epochs follows."""
NEAR = 1.15
"""Times too long or too short that a prediction may be."""
INSIDE = 0.8
"""Share of the runs that the range of a plan should hold."""


def raytrain(*words: str, folder: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "raytrain", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def planned(words: list[str], *, folder: str) -> dict[str, float]:
    """Return the seconds that a plan names: low, median and high."""
    return json.loads(raytrain("plan", *words, "--json", folder=folder))["seconds"]


def took(run: Path) -> float:
    """Return the seconds from the first start to the last end."""
    times = {"started": list[float](), "ended": list[float]()}
    for event in read_lines(Folder.at(run), "events.jsonl"):
        if event["event"] in {"started", "finished", "stopped"}:
            kind = "started" if event["event"] == "started" else "ended"
            times[kind].append(datetime.datetime.fromisoformat(event["time"]).timestamp())
    return max(times["ended"]) - min(times["started"])


def cells_of(row: dict[str, Any]) -> list[str]:
    """Return a row of the table: what was planned, and what it took."""
    plan, taken = row["planned"], row["taken"]
    low, median, high = (duration(plan[name]) for name in ("low", "median", "high"))
    return [
        row["run"],
        str(row["epochs"]),
        median,
        f"{low} to {high}",
        duration(taken),
        f"{plan['median'] / taken:.2f}",
    ]


def measured(words: list[str], *, epochs: int | None, minutes: float) -> dict[str, Any]:
    """Return how many epochs were trained, what was planned, in seconds, and how many seconds it took.

    Args:
        words: Words after `raytrain plan` and `raytrain compare`.
        epochs: Number of epochs; None for as many as take the minutes.
        minutes: Length that a run should have.
    """
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as folder:
        (Path(folder) / "grid.yaml").write_text(json.dumps(GRID))  # JSON is YAML
        if epochs is None:
            first = planned([*words, "--set", f"epochs={FIRST_EPOCHS}"], folder=folder)["median"]
            epochs = max(1, math.ceil(FIRST_EPOCHS * 60 * minutes / first))
        words = [*words, "--set", f"epochs={epochs}"]
        plan = planned(words, folder=folder)
        raytrain("compare", *words, "--quiet", folder=folder)
        return {"epochs": epochs, "planned": plan, "taken": took(next((Path(folder) / "runs").iterdir()))}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10 as Parquet files; the digits without it")
    parser.add_argument("--minutes", type=float, default=10.0, help="length that a run should have")
    parser.add_argument("--rows", type=Path, default=Path("runs/plan.jsonl"), help="what has been measured so far")
    parser.set_defaults(pairs=3)
    options = parser.parse_args()
    record = Record("plan")
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    about: dict[str, Any] = {"data": options.data.name if options.data else "digits", "minutes": options.minutes}
    data: list[str] = []
    if options.data:
        train, test = first_of_each_class(TRAINING_IMAGES), first_of_each_class(TEST_IMAGES)
        images = write_part(options.data, options.rows.parent / "plan-images", train=train, test=test)
        about |= {"training images of each class": TRAINING_IMAGES, "test images of each class": TEST_IMAGES}
        data = ["--set", f"dataset={images.absolute()}"]
    kept: list[dict[str, Any]] = [json.loads(line) for line in lines]
    rows = [row for row in kept if about.items() <= row.items()]
    inside = 0
    cells: list[list[str]] = []
    for what, words in RUNS.items():
        mine = [row for row in rows if row["run"] == what][: options.pairs]
        while len(mine) < options.pairs:
            epochs = mine[0]["epochs"] if mine else None
            row: dict[str, Any] = {
                "run": what,
                **about,
                **measured([*words, *data], epochs=epochs, minutes=options.minutes),
            }
            mine.append(row)
            with options.rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            plan = row["planned"]
            print(
                f"{what}: {plan['median']:.1f} s ({plan['low']:.1f} to {plan['high']:.1f}) planned, "
                f"{row['taken']:.1f} s taken",
                flush=True,
            )
        cells += [cells_of(row) for row in mine]
        ratios = [row["planned"]["median"] / row["taken"] for row in mine]
        held = sum(row["planned"]["low"] <= row["taken"] <= row["planned"]["high"] for row in mine)
        inside += held
        record.details[what] = {"planned over taken": ratios, "within the range": held, "rows": mine}
        worst = max(ratios, key=lambda ratio: max(ratio, 1 / ratio))
        about_it = f"planned over taken, {what}, the worst of {options.pairs}"
        record.target(about_it, worst, f"{1 / NEAR:.2f} to {NEAR:g}", met=max(worst, 1 / worst) <= NEAR)
    share = inside / (options.pairs * len(RUNS))
    record.target("runs within the range of their plan", share, f"≥ {INSIDE:g}", met=share >= INSIDE)
    record.details |= {**about, "tables": [{"columns": COLUMNS, "rows": cells}]}
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
