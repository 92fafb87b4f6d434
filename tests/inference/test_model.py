"""Tests of a model as Python has it: arrays of any memory layout, and files of networks with tied weights."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raytrain.data import ImageDataset, LabelledImages
from raytrain.inference.model import Model, evaluate_on
from raytrain.inference.model_file import ModelDescription, read_model, write_model
from raytrain.training.recipe import Recipe

SIZE = 8
DESCRIPTION = ModelDescription(
    run="r",
    trial="t",
    which="last",
    epoch=1,
    recipe=Recipe(image_size=SIZE).model_dump(),
    classes=("a", "b", "c"),
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    precision="fp32",
    val_accuracy=None,
    test_accuracy=None,
    fingerprint=None,
    versions={},
)


@pytest.mark.parametrize("size", [SIZE, 12])
def test_an_array_that_runs_backwards_is_predicted_as_its_copy(size: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)).eval()
    model = Model(network, DESCRIPTION, torch.device("cpu"))
    bgr = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    backwards = bgr[:, ::-1, :, ::-1]
    assert np.array_equal(model.predict(backwards).probabilities, model.predict(backwards.copy()).probabilities)


class Counting(nn.Module):
    """A network that remembers how many images it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        return images.mean((2, 3))


def described(**changes: Any) -> ModelDescription:
    return dataclasses.replace(DESCRIPTION, recipe=Recipe(**changes).model_dump())


@pytest.mark.parametrize(("size", "most"), [(SIZE, 256), (128, 62)])
def test_fewer_large_images_are_predicted_at_a_time_than_small_ones(size: int, most: int) -> None:
    network = Counting()
    images = np.zeros((most + 1, size, size, 3), dtype=np.uint8)
    Model(network, described(image_size=size), torch.device("cpu")).predict(images)
    assert network.seen == [most, 1]


@pytest.mark.parametrize(("accumulate", "seen"), [(1, [70, 10]), (2, [62, 18])])
def test_as_many_images_are_evaluated_at_a_time_as_in_the_trial(accumulate: int, seen: list[int]) -> None:
    network, size = Counting(), 128
    model = Model(network, described(image_size=size, batch_size=70, accumulate=accumulate), torch.device("cpu"))
    images = LabelledImages(np.zeros((80, size, size, 3), dtype=np.uint8), np.zeros(80, dtype=np.int64))
    evaluate_on(model, ImageDataset(images, images, DESCRIPTION.classes, "synthetic"), name="zeros")
    assert network.seen == seen


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_two_layers_share_are_written_and_read(suffix: str, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    path = tmp_path / f"model.{suffix}"
    write_model(path, DESCRIPTION, network.state_dict(), force=False)
    _, weights = read_model(path)
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert weights.keys() == network.state_dict().keys()
