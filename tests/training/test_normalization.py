"""Tests of `normalize`: by the images of the data, by those of ImageNet, or as the library's weights were trained."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from raytrain.errors import ModelError
from raytrain.execution.initial import initial_contents
from raytrain.models.normalization import IMAGENET, normalization_of_weights
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.checkpoint import Checkpoint
from raytrain.training.recipe import Recipe
from raytrain.training.trial import TrialRun, normalization_of

RECIPE = Recipe(arch="resnet9", width=2, image_size=8, batch_size=16, precision="fp32", epochs=1)
CPU = torch.device("cpu")


def losses(recipe: Recipe, data: Any, there: Path) -> list[float]:
    run = TrialRun(recipe, data=data, device=CPU, checkpoints=Folder.at(there))
    (report,) = run.reports()
    assert report.final
    return [report.metrics.train_loss, report.final.test.loss]


def test_images_are_normalised_by_what_the_recipe_says_in_training_and_at_the_end(
    make_data: Any, tmp_path: Path
) -> None:
    data = make_data()
    by_hand = dataclasses.replace(data, mean=IMAGENET[0], std=IMAGENET[1])
    wanted = losses(RECIPE, by_hand, tmp_path / "by hand")
    assert losses(RECIPE.replace(normalize="imagenet"), data, tmp_path / "imagenet") == wanted
    assert losses(RECIPE, data, tmp_path / "data") != wanted


def test_a_trial_goes_on_with_what_its_checkpoint_was_trained_with_and_asks_no_library_again(
    make_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.replace(arch="torchvision:squeezenet1_1", image_size=32, normalize="weights", epochs=2, lr=0.01)
    data, there = make_data(size=32), Folder.at(tmp_path)
    straight = [one.metrics for one in TrialRun(recipe, data=data, device=CPU, checkpoints=there / "a").reports()]
    list(TrialRun(recipe, data=data, device=CPU, checkpoints=there / "b").reports(until=1))

    def other(_name: str) -> Any:
        raise ModelError("install torchvision")

    monkeypatch.setattr("raytrain.training.recipe.normalization_of_weights", other)
    resumed = [one.metrics for one in TrialRun(recipe, data=data, device=CPU, checkpoints=there / "b").reports()]
    assert [(one.train_loss, one.val) for one in resumed] == [(one.train_loss, one.val) for one in straight]
    saved = checkpoint.load(there / "b")
    assert saved
    assert normalization_of(recipe, saved, mean=data.mean, std=data.std) == IMAGENET


def test_a_checkpoint_of_an_older_version_says_none_so_the_library_is_asked() -> None:
    saved = Checkpoint(1, {}, None, [])
    recipe = RECIPE.replace(arch="torchvision:resnet18", normalize="weights")
    for one in (saved, None):
        assert normalization_of(recipe, one, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0)) == IMAGENET


def test_a_library_says_what_its_weights_were_trained_with() -> None:
    assert normalization_of_weights("torchvision:resnet18") == IMAGENET
    timm = pytest.importorskip("timm")
    assert normalization_of_weights("timm:vit_tiny_patch16_224") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    recipe = RECIPE.replace(arch="timm:vit_tiny_patch16_224", normalize="weights")
    assert recipe.normalization((0.1, 0.1, 0.1), (1.0, 1.0, 1.0)) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    without = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(ModelError, match=f"timm has no pretrained weights of {without}, .*; give normalize: imagenet"):
        initial_contents([(RECIPE.replace(arch=f"timm:{without}", normalize="weights"), 4)], None)


def test_other_networks_have_no_weights_to_ask() -> None:
    with pytest.raises(ValueError, match=r"normalize: weights is for networks of timm and torchvision.*arch: resnet9"):
        RECIPE.replace(normalize="weights")
