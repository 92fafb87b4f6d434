"""Images per second, epoch seconds, input share and peak memory of every architecture on a GPU, from the loop alone.

python benchmarks/gpu.py                                    # on a GPU machine that has torch; Ray is not needed
python benchmarks/gpu.py --device cpu --images 512 --archs resnet18 --width 8        # does the script itself work?

NOT RUN ON A GPU YET: none was at hand. Random images of CIFAR-10's shape, crop, flip, jitter, CutMix or MixUp, SGD; the
first epoch, in which cuDNN tries its kernels, is left out.
"""

import statistics
import sys
import time
from typing import Any

import torch
from comparison import Record, arguments, real_or_random

from raytrain.data import split
from raytrain.models.architectures import ARCHITECTURES
from raytrain.training.devices import choose_precision, prepare
from raytrain.training.evaluation import TrainingData
from raytrain.training.inputs import training_inputs
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState


def synchronized(device: torch.device) -> float:
    """Return the time once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(recipe: Recipe, data: TrainingData, *, epochs: int) -> dict[str, Any]:
    """Train some epochs and return what they took."""
    device = data.device
    state = TrainState.create(recipe, num_classes=data.num_classes, device=device, data=data)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    loop = train(recipe, state, data)
    next(loop)
    seconds: list[float] = []
    for _ in range(epochs):
        started = synchronized(device)
        next(loop)
        seconds.append(synchronized(device) - started)
    started = synchronized(device)
    for _ in training_inputs(recipe, data, epoch=0):
        pass
    inputs = synchronized(device) - started
    epoch = statistics.median(seconds)
    return {
        "arch": recipe.arch,
        "width": recipe.width,
        "batch size": recipe.batch_size,
        "precision": choose_precision(recipe.precision, device),
        "channels_last": recipe.channels_last,
        "compile": recipe.compile,
        "epoch seconds": seconds,
        "training images/s, validation included": len(data.train) / epoch,
        "input share": inputs / epoch,
        "peak memory, bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(pairs=3)
    parser.add_argument("--data", help="a data set's name or path; random images without it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--archs", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--precisions", nargs="+", default=["auto", "fp32"])
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use; try the script with --device cpu --images 512", file=sys.stderr)
        return 3
    device = torch.device(options.device)
    prepare(device)
    dataset, called = real_or_random(options.data)
    splits = split(dataset, 5000)
    data = TrainingData.on(device, splits)
    train_images = data.train.images[: options.images]
    data = TrainingData(
        type(data.train)(train_images, data.train.labels[: options.images], device),
        type(data.val)(data.val.images[: options.images // 9], data.val.labels[: options.images // 9], device),
        data.test,
        data.mean,
        data.std,
        data.num_classes,
    )
    record = Record("gpu")
    measured: list[dict[str, Any]] = []
    for arch in options.archs:
        for batch_size in options.batch_sizes:
            for precision in options.precisions:
                for compiled in (False, True) if options.compile else (False,):
                    recipe = Recipe(
                        arch=arch,
                        width=options.width,
                        batch_size=batch_size,
                        precision=precision,
                        compile=compiled,
                        epochs=1 + options.pairs,
                        augment=("crop", "flip", "jitter"),
                        mix="cutmix_or_mixup",
                    )
                    measured.append(measure(recipe, data, epochs=options.pairs))
                    print(measured[-1], flush=True)
    assert "ray" not in sys.modules, "the loop needs no Ray"
    record.details = {"data": called, "images": len(data.train), "measured": measured}
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
