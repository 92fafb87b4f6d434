"""A bank of trained networks for the referee: four recipes of a small network on CIFAR-10, 50 seeds of each.

python benchmarks/seed_bank.py --data data/cifar10 --time-limit 45m    # the same command goes on with what is left
python benchmarks/seed_bank.py --data data/cifar10 --collect           # trains nothing: writes what is there so far

The bank is a run of raytrain in the folder runs/seed-bank, through Ray, a network on each core at a time. The recipe
that takes longest comes first, so a bank that is not complete lacks seeds of the others. What is kept is in
experiments/records/: seed-bank.parquet has a row for each trained network (recipe, seed, test accuracy, seconds, and
whether it is right on each test image, a bit an image), and bench-seed_bank.json says how many there are, on which
machine and with which versions.

The network is narrow, its images have 16 px, and it sees the first 10,000 training images for eight epochs. A training
takes about half a minute of one core. The test set is whole: 10,000 images. There is no validation split: a recipe is
judged after its last epoch. The learning rate was chosen by the training accuracy of one seed. With three epochs, as in
an earlier bank, seeds differed by 1.6 points (standard deviation), and half a point took hundreds of seeds. The four
recipes were fixed before any test accuracy was seen:

- base;
- layout: another order of the activations in memory. The arithmetic is the same but for rounding;
- hard labels: no label smoothing, which may help or harm a network that is too small for its data;
- wider: a quarter more channels, which should help.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from comparison import RECORDS, Record, arguments
from image_parts import first, write_part

import raytrain
from raytrain.analysis.record import RunRecord, read_record
from raytrain.cli.options import seconds_of
from raytrain.errors import RaytrainError
from raytrain.storage.folder import Folder

RUN = "seed-bank"
BANK = RECORDS / "seed-bank.parquet"
BASE = {
    "arch": "airbench",
    "width": 8,
    "image_size": 16,
    "val_size": 0,
    "epochs": 8,
    "batch_size": 128,
    "augment": [{"crop": {"padding": 2}}, "flip"],
    "label_smoothing": 0.1,
    "optimizer": "sgd",
    "lr": 0.5,
    "nesterov": True,
    "schedule": "onecycle",
    "final_train_accuracy": False,
}
RECIPES = {
    "base": {},
    "layout": {"channels_last": False},
    "hard labels": {"label_smoothing": 0.0},
    "wider": {"width": 10},
}
"""What each recipe changes of `BASE`."""
SEEDS = 50
IMAGES = 10_000


def experiment(images: Path, *, seeds: int) -> raytrain.Experiment:
    """Return the four recipes with their seeds; its trials are listed seed after seed."""
    recipe = raytrain.Recipe.model_validate({**BASE, "dataset": str(images)})
    return raytrain.Experiment(name=RUN, recipe=recipe, include=tuple(RECIPES.values()), seeds=tuple(range(seeds)))


def rows(record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield a row for each network that has been trained."""
    recipes = {name: described({**BASE, **changes}) for name, changes in RECIPES.items()}
    for result in record.results:
        if result.status == "finished":
            yield {
                "recipe": next(name for name, recipe in recipes.items() if recipe == described(result.recipe)),
                "seed": result.recipe["seed"],
                "test_accuracy": result.test_accuracy,
                "seconds": result.seconds,
                "correct": np.packbits(record.predictions[result.trial].correct).tobytes(),
            }


def described(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field of a recipe but its seed and where its images lie."""
    return raytrain.Recipe.model_validate(fields).model_dump(mode="json", exclude={"seed", "dataset"})


def write(found: list[dict[str, Any]], record: Record, *, planned: int) -> None:
    """Write the networks, and the record that says what they are."""
    pq.write_table(pa.Table.from_pylist(found), BANK, compression="zstd")
    table: dict[str, dict[str, Any]] = {}
    for name, changes in RECIPES.items():
        mine = [row for row in found if row["recipe"] == name]
        accuracies = np.array([row["test_accuracy"] for row in mine])
        table[name] = {
            "changes": changes,
            "seeds": len(mine),
            "mean_test_accuracy": float(accuracies.mean()) if mine else None,
            "deviation_over_seeds": float(accuracies.std(ddof=1)) if len(mine) > 1 else None,
            "median_seconds": median(row["seconds"] for row in mine) if mine else None,
        }
    record.details |= {
        "base": BASE,
        "training_images": IMAGES,
        "test_images": 10_000,
        "seeds_planned": planned,
        "recipes": table,
    }
    record.write()


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10 as Parquet files")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the run")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--time-limit", type=seconds_of, help="such as 45m: save and end; the same command goes on")
    parser.add_argument("--collect", action="store_true", help="train nothing, write what is there")
    options = parser.parse_args()
    record = Record("seed_bank")
    try:
        images = write_part(options.data, (options.out / f"{RUN}-images").absolute(), train=first(IMAGES))
        bank = experiment(images, seeds=options.seeds)
        if not options.collect:
            raytrain.run(bank, out=options.out, time_limit_s=options.time_limit)
        found = list(rows(read_record(Folder.at(options.out) / RUN)))
    except RaytrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write(found, record, planned=options.seeds)
    print(f"{len(found)} of {options.seeds * len(RECIPES)} networks are in {BANK}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
