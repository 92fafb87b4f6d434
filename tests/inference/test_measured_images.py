"""Tests of `raytrain evaluate` on other images than those of the run: what is refused, and what is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.inference.model_file import ModelDescription, write_model
from raytrain.training.recipe import Recipe

SIZE = 8
CLASSES = ("bright", "dark")


def photos(root: Path, *parts: str, count: int = 10) -> Path:
    """Write images in folders of classes, in each of the parts; "" stands for the folder itself."""
    draw = np.random.default_rng(len(root.name))
    for part in parts:
        for name in CLASSES:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


def model_of(dataset: Path, folder: Path, **changes: Any) -> Path:
    """Write the file of a model that was trained on a data set as it is now."""
    recipe = Recipe(dataset=str(dataset), image_size=SIZE, width=2, **changes)
    described = ModelDescription(
        run="r",
        trial="t",
        which="last",
        epoch=1,
        recipe=recipe.model_dump(),
        classes=CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        precision="fp32",
        val_accuracy=None,
        test_accuracy=None,
        fingerprint=recipe.data_key.load(quiet=True).fingerprint,
        versions={},
    )
    path = folder / "model.pth"
    write_model(path, described, recipe.build_network(2).state_dict(), force=False)
    return path


def without_fingerprint(model: Path) -> None:
    described = model.with_suffix(".json")
    described.write_text(json.dumps({**json.loads(described.read_text()), "fingerprint": None}))


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--json"])


def said(ended: Result) -> str:
    return " ".join(ended.stderr.split())


@pytest.mark.parametrize("part", ["", "train"])
@pytest.mark.parametrize("change", ["added", "removed"])
def test_test_images_that_would_be_set_aside_from_changed_images_are_refused(
    part: str, change: str, tmp_path: Path
) -> None:
    data = photos(tmp_path / "photos", part)
    model = model_of(data, tmp_path)
    same = evaluate(model)
    assert (same.exit_code, json.loads(same.stdout)["same_images"]) == (0, True)
    first = data / part / "dark" / "00.png"
    if change == "added":
        Image.new("RGB", (SIZE, SIZE), (1, 2, 3)).save(first.with_name("new.png"))
    else:
        first.unlink()
    ended = evaluate(model)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "these are other images" in said(ended)
    assert "give images that the model has not seen as a test part" in said(ended)


def test_a_data_set_in_another_place_needs_a_test_part_unless_it_is_that_of_the_run(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos", "")
    model = model_of(data, tmp_path)
    moved = data.rename(tmp_path / "moved")
    assert json.loads(evaluate(model, "--dataset", moved).stdout)["same_images"] is True
    (moved / "dark" / "00.png").unlink()
    assert evaluate(model, "--dataset", moved).exit_code == 2
    parted = evaluate(model, "--dataset", photos(tmp_path / "other", "train", "test", count=3))
    assert (parted.exit_code, json.loads(parted.stdout)["same_images"]) == (0, False)
    assert "since the run" not in said(parted)


def test_a_data_set_with_a_test_part_may_change_which_is_said(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos", "train", "test")
    model = model_of(data, tmp_path)
    assert "has changed since the run" not in said(evaluate(model))
    (data / "train" / "dark" / "00.png").unlink()
    ended = evaluate(model)
    assert (ended.exit_code, json.loads(ended.stdout)["same_images"]) == (0, False)
    assert f"{data} has changed since the run" in said(ended)


def test_a_model_that_does_not_know_its_images_is_measured_with_a_warning(tmp_path: Path) -> None:
    model = model_of(photos(tmp_path / "photos", ""), tmp_path)
    without_fingerprint(model)
    ended = evaluate(model)
    assert (ended.exit_code, json.loads(ended.stdout)["same_images"]) == (0, None)
    assert "does not say which images it was trained on" in said(ended)


PIXELS = """
import numpy


def pixels(image_size: int):
    images = numpy.zeros((4, image_size, image_size, 3), dtype=numpy.uint8)
    labels = ["bright", "dark"] * 2
    return {"train": (images, labels), "test": (images, labels)}
"""


def test_a_function_that_gives_pixels_is_measured_whatever_the_background_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_data.py").write_text(PIXELS)
    model = model_of(photos(tmp_path / "photos", "train", "test"), tmp_path, background="black")
    ended = evaluate(model, "--dataset", "my_data.py:pixels")
    assert (ended.exit_code, json.loads(ended.stdout or "{}").get("images")) == (0, 4), ended.stderr
