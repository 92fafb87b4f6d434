"""On a CPU: two trials of one thread side by side, or one trial of two threads after the other?

python benchmarks/threads.py

The same work both times: a ResNet-18 for two epochs, twice, in processes of their own. What it shows is the rule of
`ray_backend.placement`: as many trials at a time as there are cores, and several threads only when there are fewer
trials than cores. A third measurement has one process of two threads beside a busy one of one thread: more threads than
cores.
"""

import os
import subprocess
import sys
import time

from comparison import Comparison, Record, arguments, interleaved

WORK = """
import sys, time, torch
from raytrain.data.images import LabelledImages
import numpy as np
from raytrain.data.batches import on_device
from raytrain.training.evaluation import TrainingData
from raytrain.training.recipe import Recipe
from raytrain.training.loop import TrainState, train
threads, images, epochs, width = map(int, sys.argv[1:])
torch.set_num_threads(threads)
generator, device = np.random.default_rng(0), torch.device("cpu")
def some(n):
    pixels = generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return on_device(LabelledImages(pixels, generator.integers(0, 10, n)), device)
data = TrainingData(some(images), some(images // 9), some(8), (0.5,) * 3, (0.25,) * 3, 10)
recipe = Recipe(width=width, epochs=1 + epochs)
loop = train(recipe, TrainState.create(recipe, num_classes=10, device=device), data)
next(loop)
print("ready", flush=True)
sys.stdin.readline()
for _ in loop:
    pass
print("done", flush=True)
"""


class Trial:
    """A training in a process of its own that has done its first epoch and waits for the word."""

    def __init__(self, threads: int, *, images: int, epochs: int, width: int) -> None:
        arguments = [str(threads), str(images), str(epochs), str(width)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def start(self) -> None:
        self._in.write("\n")
        self._in.flush()

    def end(self) -> None:
        assert self._out.readline() == "done\n"
        self._process.wait()
        self._in.close()
        self._out.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    size = {"images": options.images, "epochs": options.epochs, "width": options.width}

    def side_by_side(*threads: int) -> float:
        trials = [Trial(each, **size) for each in threads]
        started = time.perf_counter()
        for trial in trials:
            trial.start()
        for trial in trials:
            trial.end()
        return time.perf_counter() - started

    def one_after_the_other() -> float:
        seconds = 0.0
        for _ in range(2):
            trial = Trial(2, **size)
            started = time.perf_counter()
            trial.start()
            trial.end()
            seconds += time.perf_counter() - started
        return seconds

    record = Record("threads")
    record.details["cores"] = os.cpu_count()
    measured = interleaved(lambda: side_by_side(1, 1), one_after_the_other, pairs=options.pairs)
    record.add(
        Comparison("two trials, one thread each, side by side", "one after the other on two threads", "s", *measured)
    )
    measured = interleaved(lambda: side_by_side(1, 1), lambda: side_by_side(2, 1), pairs=options.pairs)
    record.add(Comparison("two trials, one thread each", "one of them with two threads", "s", *measured))
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
