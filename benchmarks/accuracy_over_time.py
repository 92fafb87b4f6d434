"""Draw the test accuracy against the minutes of training: fast.yaml, standard.yaml, and the student's ResNet-18.

python benchmarks/accuracy_over_time.py

It trains nothing. The first two curves are those of their records, which a run with `track_test: true` wrote. The third
is the student's log, by his epochs; an epoch takes what benchmarks/epoch.py measured for his loop. A plain ResNet-18
with SGD and one cycle of the learning rate was not trained: standard.yaml, with Muon and growing images, stands in for
it. The picture is docs/pictures/accuracy-over-time.svg.
"""

import json
import sys
from itertools import accumulate

from comparison import RECORDS
from picture import PICTURES, drawn

from raytrain.baselines.baselines import open_baseline

PICTURE = PICTURES / "accuracy-over-time.svg"
TRACKED = {"fast.yaml": "fast-tracked", "standard.yaml, ResNet-18": "standard"}
"""Records of one trial that has the test accuracy of each epoch, by what the picture calls them."""

Curve = list[tuple[float, float]]
"""Minutes since the start of the training, and the test accuracy in %, at the end of each epoch."""


def tracked(name: str) -> Curve:
    """Return the curve of a record."""
    (epochs,) = json.loads((RECORDS / f"{name}.json").read_text())["epochs"].values()
    minutes = accumulate(epoch["seconds"] / 60 for epoch in epochs)
    return [(at, 100 * epoch["test_accuracy"]) for at, epoch in zip(minutes, epochs, strict=True)]


def student(arch: str = "resnet18") -> Curve:
    """Return the student's curve, at the pace of his loop on the cores that benchmarks/epoch.py ran on."""
    details = json.loads((RECORDS / "bench-epoch.json").read_text())["details"][arch]
    epoch = details["seconds of an epoch of 50,000 images"]["the student's loop"] / 60
    (curve,) = (one for one in open_baseline("student").curves if one.name == arch)
    return [(at * epoch, 100 * accuracy) for at, accuracy in curve.tested]


def main() -> None:
    curves = {label: tracked(name) for label, name in TRACKED.items()} | {"the student's ResNet-18": student()}
    with drawn(PICTURE) as axes:
        for label, curve in curves.items():
            axes.plot(*zip(*curve, strict=True), marker=".", markersize=3, linewidth=1, label=label)
        axes.set(xlabel="minutes of training", ylabel="test accuracy, %", ylim=(0, 100))
        axes.set_xscale("log")
    print(PICTURE)


if __name__ == "__main__":
    sys.exit(main())
