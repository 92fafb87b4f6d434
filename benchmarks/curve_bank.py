"""A bank of complete learning curves for replays of early stopping: 96 narrow networks on CIFAR-10, 27 epochs each.

python benchmarks/curve_bank.py --data data/cifar10 --time-limit 90m   # the same command goes on with what is left
python benchmarks/curve_bank.py --data data/cifar10 --collect          # trains nothing: writes what is there so far

The bank is a run of raytrain in the folder runs/curve-bank: two networks, two optimizers with four learning rates each,
three schedules, two seeds. All trials of seed 0 come first, so that half a bank has one curve of each combination. What
is kept is in experiments/records/: curve-bank.parquet has a row for each epoch of each trial that ran to its end (what
it varies, its seed, the epoch, the validation accuracy, the seconds of training so far), and bench-curve_bank.json says
how many there are, on which machine and with which versions. benchmarks/replay.py replays them.

The images are the first 1,500 training images of each class, brought to 16 px; a third of them is the validation split.
An epoch took 3.5 s on average, on one of two cores of an AMD EPYC. 27 epochs have rungs at 1, 3 and 9.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from comparison import RECORDS, Record, arguments
from image_parts import first_of_each_class, write_part

import raytrain
from raytrain.analysis.record import RunRecord, read_record
from raytrain.cli.options import seconds_of
from raytrain.errors import PreflightError, RaytrainError
from raytrain.storage.folder import Folder

RUN = "curve-bank"
BANK = RECORDS / "curve-bank.parquet"
IMAGES_PER_CLASS = 1500
RECIPE = {
    "image_size": 16,
    "val_size": 5000,
    "epochs": 27,
    "batch_size": 128,
    "augment": [{"crop": {"padding": 2}}, "flip"],
    "precision": "fp32",
    "final_train_accuracy": False,
}
GRID = {
    "arch": {"resnet9": {"width": [4]}, "airbench": {"width": [8]}},
    "optimizer": {"sgd": {"lr": [0.01, 0.05, 0.2, 0.8]}, "adamw": {"lr": [0.0005, 0.002, 0.008, 0.03]}},
    "schedule": ["constant", "cosine", "onecycle"],
}
SEEDS = (0, 1)
AXES = ("arch", "width", "optimizer", "lr", "schedule")


def experiment(images: Path) -> raytrain.Experiment:
    """Return the experiment that makes the bank; its trials are listed seed after seed."""
    recipe = raytrain.Recipe.model_validate({**RECIPE, "dataset": str(images)})
    grid: Any = GRID
    return raytrain.Experiment(name=RUN, recipe=recipe, grid=grid, seeds=SEEDS)


def rows(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield a row for each epoch of each trial that ran to its end."""
    for result in record.results:
        if result.status != "finished":
            continue
        seconds = 0.0
        for epoch in record.epochs[result.trial]:
            seconds += epoch["seconds"]
            yield {
                "trial": result.trial,
                **{axis: result.recipe[axis] for axis in AXES},
                "seed": result.recipe["seed"],
                "epoch": epoch["epoch"],
                "val_accuracy": epoch["val_accuracy"],
                "seconds": seconds,
            }


def write(found: list[dict[str, Any]], record: Record, *, planned: int) -> int:
    """Write the curves, and the record that says what they are; return their number."""
    pq.write_table(pa.Table.from_pylist(found), BANK, compression="zstd")
    ends = [row for row in found if row["epoch"] == RECIPE["epochs"]]
    record.details |= {
        "recipe": RECIPE,
        "grid": GRID,
        "seeds": SEEDS,
        "training_images_per_class": IMAGES_PER_CLASS,
        "curves_planned": planned,
        "curves": len(ends),
        "training_seconds": sum(row["seconds"] for row in ends),
    }
    record.write()
    return len(ends)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10 as Parquet files")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run")
    parser.add_argument("--time-limit", type=seconds_of, help="such as 90m: save and end; the same command goes on")
    parser.add_argument("--local", action="store_true", help="train on one core, without Ray")
    parser.add_argument("--collect", action="store_true", help="train nothing, write what is there")
    options = parser.parse_args()
    record = Record("curve_bank")
    try:
        images = (options.out / f"{RUN}-images").absolute()
        bank = experiment(write_part(options.data, images, train=first_of_each_class(IMAGES_PER_CLASS)))
        if not options.collect:
            raytrain.run(bank, out=options.out, local=options.local, time_limit_s=options.time_limit)
        found = list(rows(read_record(Folder.at(options.out) / RUN)))
        if not found:
            raise PreflightError("no trial has run to its end yet; give the same command again")
    except RaytrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    planned = len(bank.trials())
    print(f"{write(found, record, planned=planned)} of {planned} curves are in {BANK}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
