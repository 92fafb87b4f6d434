"""What Ray Tune and TorchTrainer cost an epoch: `raytrain train` against the bare loop, side by side.

python benchmarks/framework.py

Both train the same recipe on all cores. The clock runs from one finished epoch to the next, so validation, checkpoints,
reports and the writing of the run folder are in it; the first epoch (start, allocation) and the last (which measures
the final weights too) are left out.
"""

import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager

import torch
from comparison import Comparison, Record, arguments, interleaved

from raytrain.background import repeating
from raytrain.data import load, split
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.runs.state import RunState
from raytrain.training.evaluation import TrainingData
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

POLL_SECONDS = 0.005


def between_epochs(ended_at: list[float]) -> float:
    """Return seconds per epoch, from the end of the first to the end of the last but one."""
    return (ended_at[-2] - ended_at[0]) / (len(ended_at) - 2)


def bare(recipe: Recipe) -> float:
    splits = split(load(recipe.dataset, image_size=recipe.image_size, test_size=recipe.test_size), recipe.val_size)
    device = torch.device("cpu")
    data = TrainingData.on(device, splits)
    state = TrainState.create(recipe, num_classes=data.num_classes, device=device)
    return between_epochs([time.perf_counter() for _ in train(recipe, state, data)])


def through_ray(recipe: Recipe) -> float:
    ended_at: list[float] = []

    @contextmanager
    def watched(state: RunState) -> Generator[None]:
        (progress,) = state.progress.values()

        def watch() -> None:
            if progress.epoch > len(ended_at):
                ended_at.append(time.perf_counter())

        with repeating(watch, every=POLL_SECONDS):
            yield

    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as out:
        outcome = run(Experiment(name="framework", recipe=recipe), RunOptions(out=out), shown=watched)
    (result,) = outcome.results
    assert result.status == "finished", result
    return between_epochs(ended_at)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--width", type=int, default=24, help="channels of the first stage: how long an epoch is")
    options = parser.parse_args()
    recipe = Recipe(arch="resnet18", width=options.width, dataset="digits", epochs=options.epochs, augment=("crop",))
    record = Record("framework")
    measured = interleaved(lambda: through_ray(recipe), lambda: bare(recipe), pairs=options.pairs)
    what = f"an epoch of {recipe.arch}, width {recipe.width}, on the digits, through `raytrain train`"
    record.add(Comparison(what, "the bare loop", "s", *measured).aiming(cost_at_most=1.03))
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
