"""What benchmarks/gpu.py measures: a function for each kind of step. Each step runs in a process of its own.

A step that breaks the GPU's state, or takes all of its memory, so takes nothing from the next one.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from comparison import interleaved, seconds_of
from epoch import StudentLoop, part

from raytrain.data import load, split
from raytrain.experiment.reading import read_experiment
from raytrain.training.devices import local_device, prepare
from raytrain.training.evaluation import TrainingData
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
TO_END_S = 30.0
"""Seconds that a training has to save its state and to end, once its time is over."""
TINY = {"width": 8, "batch_size": 64, "epochs": 1}
"""What a tiny step changes in a recipe."""
TINY_IMAGES = 128
"""Training images of an epoch of a tiny step."""
WARMING_IMAGES = 2048
"""Training images of the student's loop before its first turn; our loop trains a whole epoch."""

Measured = dict[str, Any]
"""What a step measured, as JSON values."""


@dataclass(frozen=True)
class Setting:
    """What the steps of a record have in common.

    Attributes:
        data: Name or path of the data set.
        tiny: Whether networks and data are tiny, to try the script itself.
        pairs: Number of turns, and of epochs of which a median is taken.
        runs: Folder of the run folders.
        seconds: Seconds that are left.
    """

    data: str
    tiny: bool
    pairs: int
    runs: Path
    seconds: float


def trained(setting: Setting, *, experiment: str) -> Measured:
    """Train an experiment by its command, or go on with it, and return its accuracy and its seconds.

    Raises:
        SystemExit: The command ended with another exit code than 0, which is passed on.
    """
    name = f"gpu-{'tiny-' if setting.tiny else ''}{experiment}"
    anew = not (setting.runs / name).exists()
    words = ["train", str(EXPERIMENTS / f"{experiment}.yaml"), "--local", "--quiet", "--json", "--name", name]
    words += ["--out", str(setting.runs), "--time-limit", f"{max(1.0, setting.seconds - TO_END_S):.0f}s"]
    changes = {"dataset": setting.data, **(TINY if setting.tiny else {})}
    words += [word for field, value in changes.items() for word in ("--set", f"{field}={value}")]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "raytrain", *words], stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.returncode)
    (trial,) = json.loads(done.stdout)["trials"]
    return {
        "kind": "training",
        "what": f"{experiment}.yaml",
        "command": ["raytrain", *words],
        "test accuracy": trial["test_accuracy"],
        "test accuracy with TTA": trial["test_tta_accuracy"],
        "epochs": trial["epochs"],
        "seconds of training": trial["seconds"],
        "seconds from Enter to the end": seconds if anew else None,  # None: an earlier session has begun it
    }


def against_the_student(setting: Setting, *, arch: str, batch_size: int) -> Measured:
    """Return the seconds of epochs of our loop and of the student's, in turns, on the same images.

    As in benchmarks/epoch.py, each with its evaluation: ours of one validation image to nine training images, his of
    all training images, augmented, and of one test image to five. cuDNN tries its kernels for both.
    """
    device = _prepared()
    splits = split(load(setting.data, image_size=32), 0.1)
    size = TINY_IMAGES if setting.tiny else len(splits.train)
    width = TINY["width"] if setting.tiny else 64
    recipe = _resnet(arch, batch_size).replace(width=width, epochs=10_000)
    whole = TrainingData.on(device, splits)
    data = dataclasses.replace(whole, train=part(whole.train, 0, size), val=part(whole.val, 0, size // 9))
    state = TrainState.create(recipe, num_classes=data.num_classes, device=device, data=data)

    def ours() -> float:
        return seconds_of(lambda: next(train(recipe, state, data)))

    ours()
    peak = _peak_bytes(device)  # before the student's network is there
    rates = {"width": width, "batch_size": batch_size, "device": device}
    student = StudentLoop(arch, mean=splits.mean, std=splits.std, **rates)

    def theirs(images: int = size) -> float:
        return seconds_of(lambda: student.epoch(part(splits.train, 0, images), part(splits.test, 0, images // 5)))

    theirs(min(size, WARMING_IMAGES))
    measured = interleaved(ours, theirs, pairs=setting.pairs)
    return {
        "kind": "epoch",
        "what": arch,
        "batch size": batch_size,
        "images": size,
        "precision": state.precision,
        "ours": measured[0],
        "the student's loop": measured[1],
        "peak bytes": peak,
    }


COMPILING: dict[str, dict[str, Any] | None] = {
    "as it is": None,
    "compile: true": {},
    "compile: true, with CUDA graphs": {"mode": "reduce-overhead"},
}
"""Arguments of `torch.compile` by what they are called; None for a loop that does not compile."""


def loop_alone(setting: Setting, *, what: str, how: str) -> Measured:
    """Return the seconds of epochs of our loop, compiled or not: the first, in which all is tried out, and the others.

    At one size of images throughout: the resolution schedule of a recipe would compile twice.
    """
    device = _prepared()
    recipe = RECIPES[what]().replace(resolution="", **(TINY if setting.tiny else {}))
    options = COMPILING[how]
    recipe = recipe.replace(epochs=1 + setting.pairs, compile=options is not None)
    data = TrainingData.on(device, split(load(setting.data, image_size=recipe.image_size), 0))
    if setting.tiny:
        data = dataclasses.replace(data, train=part(data.train, 0, TINY_IMAGES))
        options = None if options is None else {"backend": "eager"}  # the usual one compiles C++ for minutes
    state = TrainState.create(recipe, num_classes=data.num_classes, device=device, data=data)
    with mock.patch.object(torch, "compile", partial(torch.compile, **(options or {}))):
        epochs = train(recipe, state, data)
        seconds = [seconds_of(lambda: next(epochs)) for _ in range(recipe.epochs)]
    return {
        "kind": "loop",
        "what": what,
        "how": how,
        "images": len(data.train),
        "batch size": recipe.batch_size,
        "precision": state.precision,
        "first epoch": seconds[0],
        "epochs": seconds[1:],
        "peak bytes": _peak_bytes(device),
    }


def _resnet(arch: str, batch_size: int) -> Recipe:
    augment = ("crop", "flip", "jitter")
    return Recipe(arch=arch, batch_size=batch_size, augment=augment, mix="cutmix_or_mixup", lr=0.05)


def _experiment(name: str) -> Recipe:
    return read_experiment(EXPERIMENTS / f"{name}.yaml").recipe


RECIPES: dict[str, Callable[[], Recipe]] = {
    "resnet18, batch 128": partial(_resnet, "resnet18", 128),
    "fast.yaml": partial(_experiment, "fast"),
    "accurate.yaml": partial(_experiment, "accurate"),
}


def _prepared() -> torch.device:
    device = local_device()
    prepare(device)
    torch.manual_seed(0)
    return device


def _peak_bytes(device: torch.device) -> dict[str, int] | None:
    """Return the most bytes that tensors took, the data set among them, and that PyTorch held; None without a GPU."""
    if device.type != "cuda":
        return None
    return {"taken": torch.cuda.max_memory_allocated(device), "held": torch.cuda.max_memory_reserved(device)}


Step = Callable[[Setting], Measured]

STEPS: dict[str, Step] = {
    "fast": partial(trained, experiment="fast"),
    "accurate": partial(trained, experiment="accurate"),
    "resnet18-128": partial(against_the_student, arch="resnet18", batch_size=128),
    "resnet18-512": partial(against_the_student, arch="resnet18", batch_size=512),
    "resnet34-128": partial(against_the_student, arch="resnet34", batch_size=128),
    "resnet34-512": partial(against_the_student, arch="resnet34", batch_size=512),
    "resnet18-plain": partial(loop_alone, what="resnet18, batch 128", how="as it is"),
    "resnet18-compiled": partial(loop_alone, what="resnet18, batch 128", how="compile: true"),
    "resnet18-graphs": partial(loop_alone, what="resnet18, batch 128", how="compile: true, with CUDA graphs"),
    "fast-plain": partial(loop_alone, what="fast.yaml", how="as it is"),
    "fast-compiled": partial(loop_alone, what="fast.yaml", how="compile: true"),
    "fast-graphs": partial(loop_alone, what="fast.yaml", how="compile: true, with CUDA graphs"),
    "accurate-plain": partial(loop_alone, what="accurate.yaml", how="as it is"),
}
"""The steps in their order, the most important first. The last is for its peak memory; the others say theirs too."""
