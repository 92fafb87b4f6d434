"""Weights that a network starts from, and whether they have seen the images that are set aside for the test."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytrain.data import Splits, split
from raytrain.execution.initial import trained_on_test_images
from raytrain.execution.inputs import described_inputs
from raytrain.provenance.manifest import Manifest
from raytrain.storage.folder import Folder
from raytrain.training.initial.sources import Source, _known, weights
from raytrain.training.recipe import Recipe

WARNING = "was trained on other images of photos: with no test part"


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write photos/<class>/ with 10 images a class into the working folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        save(number)


def save(number: int, *, below: str = ".") -> None:
    file = Path("photos", below, ("cat", "dog")[number % 2], f"{number:02}.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)


def recipe(init: str = "none", **fields: object) -> Recipe:
    return Recipe(**{"dataset": "photos", "image_size": 8, "arch": "resnet9", "width": 2, "init": init, **fields})


def read(of: Recipe) -> Splits:
    return split(of.data_key.load(quiet=True), of.val_size)


def exported() -> str:
    """Return the value of `init` for a model that was trained on the images as they are now."""
    Path("model.pth").write_bytes(b"weights")
    now = recipe()
    said = {"recipe": now.model_dump(), "fingerprint": read(now).fingerprint}
    Path("model.json").write_text(json.dumps({**said, "sha256": hashlib.sha256(b"weights").hexdigest()}))
    return weights("model.pth")


def of_run() -> str:
    """Return the value of `init` for a trial of a run on the images as they are now."""
    now = recipe()
    images = read(now)
    key = now.data_key
    inputs = [described_inputs(key, images)]
    data = {key.label: images.fingerprint}
    Manifest.open(Folder.at("runs/one"), data=data, inputs=inputs, seeds=[0], fresh=False).begin_session()
    return _known("one/12345678", hashlib.sha256(b"trial").hexdigest(), Source(lambda: b"trial", run="runs/one"))


def said(init: str, **fields: object) -> str:
    now = recipe(init, **fields)
    return trained_on_test_images(now, read(now))


@pytest.mark.parametrize("trained", [exported, of_run])
def test_a_folder_that_has_grown_without_a_test_part_is_warned_of(trained) -> None:
    init = trained()
    assert said(init) == ""
    save(20)
    assert said(init).startswith(f"init: {init.partition('@')[0]} {WARNING}")


@pytest.mark.parametrize("trained", [exported, of_run])
def test_another_test_size_is_warned_of(trained) -> None:
    assert WARNING in said(trained(), test_size=0.5)


def test_the_same_images_in_another_size_are_not_warned_of() -> None:
    init = of_run()
    assert said(init, image_size=16) == ""
    save(20)
    assert WARNING in said(init, image_size=16)


def test_another_data_set_is_not_warned_of() -> None:
    init = exported()
    save(20)
    Path("photos").rename("pictures")
    assert said(init, dataset="pictures") == ""


def test_a_test_part_is_not_warned_of() -> None:
    init = exported()
    for name in ("cat", "dog"):
        Path("photos", "train").mkdir(exist_ok=True)
        Path("photos", name).rename(Path("photos", "train", name))
    for number in (20, 21):
        save(number, below="test")
    assert said(init) == ""


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 3}'])
def test_a_description_that_cannot_be_used_says_nothing(content: str) -> None:
    init = exported()
    Path("model.json").write_text(content)
    save(20)
    assert said(init) == ""
