"""Tests of a model as Python has it: arrays of any memory layout, and files of networks with tied weights."""

import dataclasses
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.data import ImageDataset, LabelledImages
from raytrain.data.layouts.decode import FORMATS
from raytrain.errors import ExperimentError, ModelError
from raytrain.inference import model as inference
from raytrain.inference.model import Model, evaluate_on
from raytrain.inference.model_file import ModelDescription, description_of, read_model, write_model
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


@pytest.mark.parametrize("way", ["Python", "command"])
def test_images_are_predicted_as_they_are_read_and_never_all_in_memory(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3)).eval()
    model = Model(network, DESCRIPTION, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    for row, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    (tmp_path / "0-bad.png").write_bytes(b"no image")
    expected = model.predict(pixels).probabilities
    events: list[str] = []
    read_image, probabilities = inference.read_image, inference.probabilities

    def reading(path: Path, **options: Any) -> Any:
        image = read_image(path, **options)
        events.append("read")
        return image

    def predicting(model: Model, images: Any) -> Any:
        events.append(f"predict {len(images)}")
        return probabilities(model, images)

    monkeypatch.setattr(inference, "BATCH", 2)
    monkeypatch.setattr(inference, "read_image", reading)
    monkeypatch.setattr(inference, "probabilities", predicting)
    if way == "Python":
        (tmp_path / "0-bad.png").unlink()
        found = model.predict(tmp_path).probabilities
    else:
        monkeypatch.setattr(inference, "load_model", lambda *_, **__: model)
        ended = CliRunner().invoke(app, ["predict", "m.pth", str(tmp_path), "--json"])
        assert ended.exit_code == 2  # one cannot be read
        named = [{one["class"]: one["probability"] for one in row["classes"]} for row in images_of(ended.stdout)]
        assert [len(one) for one in named] == [0, 3, 3, 3, 3, 3]
        found = np.array([[one[label] for label in "abc"] for one in named[1:]])
    assert events == ["read", "read", "predict 2"] * 2 + ["read", "predict 1"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def images_of(document: str) -> list[dict[str, Any]]:
    return json.loads(document)["images"]


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_network_that_asks_for_the_versions_of_its_modules_takes_the_weights_of_a_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versioned: Any
) -> None:
    monkeypatch.setattr(Recipe, "build_network", lambda _, classes: versioned(classes))
    weights = dict(versioned(3).state_dict())
    write_model(tmp_path / f"m.{suffix}", DESCRIPTION, weights, force=False)
    network = inference.load_model(tmp_path / f"m.{suffix}").network
    assert all(torch.equal(tensor.cpu(), weights[name]) for name, tensor in network.state_dict().items())


class Counting(nn.Module):
    """A network that remembers how many images it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        return images.mean((2, 3))


class Masking(nn.Module):
    """A network that multiplies its images by a tensor that it makes once."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.mask is None:
            self.mask = torch.linspace(0, 1, images[0].numel()).view_as(images[0])
        return (images * self.mask).mean((2, 3))


def test_a_network_that_has_predicted_can_be_trained_with_what_it_has_cached() -> None:
    network = Masking()
    Model(network, DESCRIPTION, torch.device("cpu")).predict(np.zeros((2, SIZE, SIZE, 3), dtype=np.uint8))
    images = torch.ones(2, 3, SIZE, SIZE, requires_grad=True)
    network(images).sum().backward()
    assert images.grad is not None


def test_the_formats_that_images_may_have_are_said() -> None:
    said = (Model.predict.__doc__ or "").upper()
    assert [name for name in FORMATS if name not in said] == []


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


def refuse_access(monkeypatch: pytest.MonkeyPatch, refused: Callable[[Path], bool]) -> None:
    """Have some paths be neither looked at nor opened, as where a user may not enter their folder; root always may."""

    def refusing(real: Any) -> Any:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | Path) and refused(Path(path)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **options)

        return call

    for owner, name in ((os, "stat"), (os, "open"), (io, "open")):
        monkeypatch.setattr(owner, name, refusing(getattr(owner, name)))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_folder_that_may_not_be_entered_is_one_message(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model.{suffix}"
    refuse_access(monkeypatch, lambda one: one.parent == tmp_path)
    with pytest.raises(ExperimentError, match=rf"^{path}: cannot be written: Permission denied; choose a file in"):
        write_model(path, DESCRIPTION, {}, force=False)
    with pytest.raises(ModelError, match=rf"^{path}: cannot be read: Permission denied; write one with"):
        read_model(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_description_that_is_a_link_to_where_one_may_not_go_is_one_message(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model.{suffix}"
    write_model(path, DESCRIPTION, {}, force=False)
    described = description_of(path)
    refuse_access(monkeypatch, lambda one: one == described)
    with pytest.raises(ModelError, match=rf"^{described}: cannot be read: Permission denied; export the model again"):
        read_model(path)
