"""Fine-tuning between CIFAR-10 and digits, both ways: epochs to 95 % of the full accuracy, with and without weights.

python benchmarks/fine_tuning.py --data data/cifar10       # the same command goes on with what is left

For each seed a small network is trained from random weights, on a part of CIFAR-10 and on the digits of scikit-learn.
Then it is trained on each again, from the weights that the same seed has reached on the other. Nothing but `init`
differs between the two. Both sets have ten classes, so the head comes along.

The full accuracy is that of the last epoch from random weights, by seed. Test images are looked at after every epoch,
and choose nothing. The runs are in the folder --out, under names that begin with "fine-tuning". The learning rate is
constant, so that an epoch is as good as it would be at the end of a shorter training.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from comparison import Record
from image_parts import first_of_each_class, write_part

import raytrain
from raytrain.analysis.record import RunRecord, read_record
from raytrain.cli.options import seconds_of
from raytrain.errors import RaytrainError
from raytrain.storage.folder import Folder

SHARE = 0.95
"""Share of the full accuracy that is to be reached."""
RECIPE = {
    "arch": "resnet18",
    "width": 8,
    "image_size": 16,
    "val_size": 0,
    "batch_size": 256,
    "optimizer": "adam",
    "lr": 0.001,
    "schedule": "constant",
    "track_test": True,
    "final_train_accuracy": False,
}
CLASSES = 10


def trained(recipe: dict[str, Any], *, name: str, out: Path, time_limit: float | None) -> RunRecord:
    """Train a recipe, or go on with it, and return what came of it.

    Raises:
        KeyboardInterrupt: A signal or the time limit ended the training; what it has come to is saved.
    """
    experiment = raytrain.Experiment(name=name, recipe=raytrain.Recipe.model_validate(recipe))
    if raytrain.run(experiment, out=out, local=True, time_limit_s=time_limit).interrupted:
        raise KeyboardInterrupt
    return read_record(Folder.at(out) / name)


def curve(run: RunRecord) -> list[float]:
    """Return the test accuracy of the one trial of a run after each epoch."""
    (rows,) = run.epochs.values()
    return [row["test_accuracy"] for row in rows]


def epochs_to(accuracy: float, accuracies: list[float]) -> int | None:
    """Return the first epoch, counted from 1, whose accuracy is at least as high; None where there is none."""
    return next((epoch for epoch, reached in enumerate(accuracies, 1) if reached >= accuracy), None)


def row(target: str, source: str, pairs: Iterable[tuple[list[float], list[float]]]) -> list[str]:
    """Return a row of the table.

    Args:
        target: What was trained on.
        source: Where the weights come from.
        pairs: Accuracies after each epoch by seed: from random weights, and from those of the source.
    """
    pairs = list(pairs)
    wanted = [SHARE * without[-1] for without, _ in pairs]
    without = [epochs_to(one, pair[0]) for one, pair in zip(wanted, pairs, strict=True)]
    tuned = [epochs_to(one, pair[1]) for one, pair in zip(wanted, pairs, strict=True)]
    last = len(pairs[0][0])
    return [
        f"{target}, from {source}",
        str(len(pairs)),
        _spread([100 * pair[0][-1] for pair in pairs], digits=1),
        _spread([100 * pair[1][-1] for pair in pairs], digits=1),
        _epochs(without, last=last),
        _epochs(tuned, last=last),
    ]


COLUMNS = [
    "trained on",
    "n",
    "test accuracy %, from random weights",
    "from given weights",
    "epochs to 95 % of it, from random weights",
    "from given weights",
]


def _spread(values: list[float], *, digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _epochs(found: list[int | None], *, last: int) -> str:
    """Return the median number of epochs, the lowest and the highest; "> 20" stands for one that was not reached."""
    ordered = sorted(one or last + 1 for one in found)
    shown = [f"> {last}" if one > last else str(one) for one in ordered]
    return f"{shown[(len(shown) - 1) // 2]} ({shown[0]}–{shown[-1]})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10 as Parquet files")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=5_000, help="training images of CIFAR-10")
    parser.add_argument("--test-images", type=int, default=2_000, help="test images of CIFAR-10")
    parser.add_argument("--time-limit", type=seconds_of, help="such as 5m, for each training: save and end there")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--output", type=Path, help="write the record here instead of experiments/records/")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = Record("fine_tuning")
    out = options.out.absolute()
    found: dict[tuple[str, str, int], list[float]] = {}
    try:
        images = out / f"fine-tuning-images-{options.images}-{options.test_images}"
        train, test = (first_of_each_class(n // CLASSES) for n in (options.images, options.test_images))
        part = write_part(options.data, images, train=train, test=test)
        datasets = {"CIFAR-10": str(part), "digits": "digits"}
        for seed in range(options.seeds):
            begun: dict[str, str] = {}
            for dataset, path in datasets.items():
                recipe = {**RECIPE, "dataset": path, "epochs": options.epochs, "seed": seed}
                name = f"fine-tuning-{dataset.lower()}-{seed}"
                run = trained(recipe, name=name, out=out, time_limit=options.time_limit)
                found[dataset, "random", seed] = curve(run)
                begun[dataset] = f"{out}/{name}/{run.results[0].trial}"
            for dataset, source in (("digits", "CIFAR-10"), ("CIFAR-10", "digits")):
                recipe = {**RECIPE, "dataset": datasets[dataset], "epochs": options.epochs, "seed": seed}
                tuned = {**recipe, "init": raytrain.weights(begun[source])}
                name = f"fine-tuning-{dataset.lower()}-from-{source.lower()}-{seed}"
                run = trained(tuned, name=name, out=out, time_limit=options.time_limit)
                found[dataset, source, seed] = curve(run)
    except RaytrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left", file=sys.stderr)
        return 130
    rows = [
        row(target, source, [(found[target, "random", n], found[target, source, n]) for n in range(options.seeds)])
        for target, source in (("digits", "CIFAR-10"), ("CIFAR-10", "digits"))
    ]
    record.details |= {
        "recipe": RECIPE,
        "epochs": options.epochs,
        "seeds": options.seeds,
        "training_images_of_cifar10": options.images,
        "test_images_of_cifar10": options.test_images,
        "threads": options.threads,
        "test_accuracies": [
            {"trained on": dataset, "weights": source, "seed": seed, "after each epoch": accuracies}
            for (dataset, source, seed), accuracies in found.items()
        ],
        "tables": [{"columns": COLUMNS, "rows": rows}],
    }
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
