"""Test accuracy against wall-clock: the student's loop and ours, the same network and recipe, the same cores.

python benchmarks/time_to_accuracy.py --data PATH

Each gets the same time; they take turns in thirds of it. Both train ResNet-18 with crop, flip, jitter, CutMix or MixUp,
SGD at a constant learning rate, so what differs is the loop: the student's as in epoch.py, in fp32 with its two
evaluations an epoch, ours in the machine's own precision with its validation. Epochs are cut into slices so that a turn
ends near its time; a slice takes its share of the images and of the evaluations. The clock stands still while test
accuracy is measured: on part of the test set after each slice, on all of it at the end.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator

import torch
from comparison import Record, arguments
from epoch import CPU, StudentLoop, part

from raytrain.data import load, split
from raytrain.training.devices import choose_precision
from raytrain.training.evaluation import TrainingData, evaluate
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

SLICES = 25
"""Of an epoch."""
TURNS = 3
LR = 0.05


class Ours:
    def __init__(self, dataset: str) -> None:
        splits = split(load(dataset, image_size=32), 5000)
        self.recipe = Recipe(
            arch="resnet18",
            dataset=dataset,
            epochs=1_000_000,
            augment=("crop", "flip", "jitter"),
            mix="cutmix_or_mixup",
            lr=LR,
            weight_decay=0.0,
            schedule="constant",
        )
        self.data = TrainingData.on(CPU, splits)
        self.state = TrainState.create(self.recipe, num_classes=10, device=CPU)
        self.slices = self._slices()

    def _slices(self) -> Iterator[None]:
        size, val = len(self.data.train) // SLICES, len(self.data.val) // SLICES
        while True:
            at = self.state.epoch % SLICES
            here = dataclasses.replace(
                self.data,
                train=part(self.data.train, at * size, (at + 1) * size),
                val=part(self.data.val, at * val, (at + 1) * val),
            )
            next(train(self.recipe, self.state, here))
            yield

    def advance(self) -> None:
        next(self.slices)

    def accuracy(self, images: int) -> float:
        test = part(self.data.test, 0, images)
        return evaluate(self.state.model, test, data=self.data, precision=self.state.precision).accuracy


class Student:
    def __init__(self, dataset: str) -> None:
        # no validation split: the student trained on everything
        self.splits = split(load(dataset, image_size=32), 0)
        self.loop = StudentLoop("resnet18", mean=self.splits.mean, std=self.splits.std, lr=LR)
        self.data = TrainingData.on(CPU, self.splits)
        self.done = 0

    def advance(self) -> None:
        train, test = self.splits.train, self.splits.test
        size, share, at = len(train) // SLICES, len(test) // SLICES, self.done % SLICES
        self.loop.epoch(part(train, at * size, (at + 1) * size), part(test, at * share, (at + 1) * share))
        self.done += 1

    def accuracy(self, images: int) -> float:
        model = self.loop.model
        # not its own fp32: this is outside its clock, and a third of the time
        precision = choose_precision("auto", CPU)
        return evaluate(model, part(self.data.test, 0, images), data=self.data, precision=precision).accuracy


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", default="cifar10", help="a data set's name or path")
    parser.add_argument("--minutes", type=float, default=20, help="for each of the two")
    parser.add_argument("--test-images", type=int, default=2000, help="looked at after each slice")
    options = parser.parse_args()
    torch.manual_seed(0)
    sides: dict[str, Ours | Student] = {"ours": Ours(options.data), "student": Student(options.data)}
    clock = dict.fromkeys(sides, 0.0)
    slices = dict.fromkeys(sides, 0)
    curves: dict[str, list[list[float]]] = {name: [] for name in sides}
    for turn in range(1, TURNS + 1):
        for name, side in sides.items():
            while clock[name] < turn * options.minutes * 60 / TURNS:
                started = time.perf_counter()
                side.advance()
                clock[name] += time.perf_counter() - started
                slices[name] += 1
                curves[name].append([clock[name], slices[name] / SLICES, side.accuracy(options.test_images)])
                print(
                    f"{name}: {clock[name]:.0f} s, epoch {slices[name] / SLICES:.2f}, {curves[name][-1][2]:.3f}",
                    flush=True,
                )
    record = Record("time-to-accuracy")
    record.details = {
        "minutes": options.minutes,
        "test images per point": options.test_images,
        "columns": ["seconds", "epochs", "test accuracy"],
        "curves": curves,
        "at the end, on the whole test set": {
            name: {"seconds": clock[name], "epochs": slices[name] / SLICES, "test accuracy": side.accuracy(10_000)}
            for name, side in sides.items()
        },
    }
    print(record.details["at the end, on the whole test set"])
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
