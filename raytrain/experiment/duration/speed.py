"""How fast a recipe trains here, found by training a few batches of it."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from raytrain.data import LabelledImages, Splits
from raytrain.data.augmentation.resolution import mean_area
from raytrain.data.augmentation.views import VIEW_COUNT
from raytrain.data.batches import steps_per_epoch
from raytrain.errors import PreflightError
from raytrain.training.devices import device_name, prepare
from raytrain.training.evaluation import MOST_AT_ONCE, TrainingData, evaluate
from raytrain.training.inputs import evaluated_at_once
from raytrain.training.loop import train
from raytrain.training.outcome import described
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

BUDGET_S = 3.0
"""Seconds that the measured steps may take, about; one step is measured in any case, after one to warm up."""
MOST_STEPS = 50
"""Largest number of steps that are measured."""
MOST_BYTES = 2**28
"""Largest size of the images that the measured steps take, in bytes."""
SAMPLE = MOST_AT_ONCE
"""Number of images that the measurement is given: no evaluation takes more at a time."""


@dataclass(frozen=True)
class Speed:
    """The speed of trials of one kind.

    Attributes:
        step_s: Seconds of an optimizer step, including its batch, with images of the full size.
        evaluated_s: Seconds of evaluating one image.
        steps: Number of steps that were measured.
        device: Name of the device: "cpu", or that of a GPU.
    """

    step_s: float
    evaluated_s: float
    steps: int
    device: str

    def epoch_s(self, recipe: Recipe, splits: Splits) -> float:
        """Return the seconds of an epoch, its steps and what is evaluated after them, on average over the trial."""
        steps = steps_per_epoch(len(splits.train), batch_size=recipe.batch_size)
        evaluated = len(splits.val) + (len(splits.test) if recipe.track_test else 0)
        smaller = mean_area(recipe.resolution, epochs=recipe.epochs, full=recipe.image_size)
        return steps * self.step_s * smaller + evaluated * self.evaluated_s

    def end_s(self, recipe: Recipe, splits: Splits) -> float:
        """Return the seconds after a trial's last epoch, when its training and test images are evaluated.

        With `tta_below` it is not known how many images are unsure: all are taken to be.
        """
        views = 1 + VIEW_COUNT[recipe.tta]
        train = len(splits.train) if recipe.final_train_accuracy else 0
        return (train + views * len(splits.test)) * self.evaluated_s


def unmeasurable(recipe: Recipe, error: BaseException) -> PreflightError:
    """Return the error to raise when measuring a recipe has failed with `error`."""
    what = f"{recipe.arch}, width {recipe.width}, batch_size {recipe.batch_size}"
    return PreflightError(f"a trial cannot be trained here ({what}): {described(error)}")


def some_images(splits: Splits) -> Splits:
    """Return as many of the images as a measurement needs."""
    return replace(splits, train=_first(splits.train, SAMPLE), val=_first(splits.val, 0), test=_first(splits.test, 0))


def measure_speed(
    recipe: Recipe,
    some: Splits,
    *,
    device: torch.device,
    images: int,
    threads: int | None = None,
    workers: int = 1,
) -> Speed:
    """Train a few batches in this process and return their speed; the trained weights are dropped.

    Args:
        recipe: The recipe to train; fields that do not change the time, such as its learning rate, are replaced.
        some: A few of its images, repeated as needed; they are on the device even where all would not fit.
        device: The device to train on.
        images: Number of training images; a batch has no more.
        threads: Number of CPU threads; None leaves PyTorch's choice.
        workers: Number of processes that share each batch; their communication is not measured.
    """
    prepare(device, threads=threads)
    share = max(1, min(recipe.batch_size, images) // workers)
    plain: dict[str, Any] = {
        "lr": 1e-6,
        "schedule": "constant",
        "warmup_epochs": 0,
        "mix_off_epochs": 0,
        "freeze_epochs": 0,
        "init": "none",
        "track_test": False,
        "resolution": "",
    }
    if share == 1:
        plain["mix"] = "none"
    recipe = recipe.replace(**plain, batch_size=share, accumulate=min(recipe.accumulate, share), epochs=2)

    def data(images: int) -> TrainingData:
        some_more = replace(some, train=_repeated(some.train, images))
        return replace(TrainingData.on(device, some_more), channels_last=recipe.channels_last)

    state = TrainState.create(recipe, num_classes=len(some.classes), device=device, data=data(share))

    _, second = train(recipe, state, data(share))  # memory is allocated and kernels are chosen in the first
    step_s = second.seconds
    fitting = MOST_BYTES // (share * some.train.images[0].nbytes)
    steps = max(1, min(MOST_STEPS, fitting, int(BUDGET_S / step_s)))
    if steps > 1:
        state.epoch = 0
        step_s = next(train(recipe, state, data(steps * share))).seconds / steps

    at_once = evaluated_at_once(recipe, data(share))  # as a training run does

    def evaluated_s(images: int) -> float:
        return _evaluated_s(state.evaluated_model, data(images), precision=state.precision, batch_size=at_once)

    each_s = evaluated_s(share)
    if share < at_once and each_s * at_once < BUDGET_S:
        each_s = evaluated_s(at_once)
    return Speed(step_s, each_s / workers, steps, device_name(device))


def _evaluated_s(model: nn.Module, data: TrainingData, *, precision: str, batch_size: int) -> float:
    """Return the seconds per training image of the second evaluation."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        evaluate(model, data.train, data=data, precision=precision, batch_size=batch_size)
        seconds = time.perf_counter() - started
    return seconds / len(data.train)


def _first(images: LabelledImages, count: int) -> LabelledImages:
    return LabelledImages(images.images[:count], images.labels[:count])


def _repeated(images: LabelledImages, count: int) -> LabelledImages:
    rows = np.arange(count) % len(images)
    return LabelledImages(images.images[rows], images.labels[rows])
