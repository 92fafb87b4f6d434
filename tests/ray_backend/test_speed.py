"""`raytrain plan` on Ray: a few batches are trained where trials will run, and nothing else happens."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import PreflightError
from raytrain.ray_backend import speed
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.training.recipe import Recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RECIPE = Recipe(dataset="digits", image_size=8, width=2, batch_size=16, precision="fp32")
ONE_CPU = Placement(workers=1, cpus=1, gpus=0.0, concurrent=2)


def test_a_plan_says_what_each_kind_takes_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["quick", "--set", "width=2", "--set", "image_size=8", "--json", "--out", str(tmp_path / "runs")]
    ended = CliRunner().invoke(app, ["plan", *words])
    assert ended.exit_code == 0, ended.output
    plan = json.loads(ended.stdout)
    assert {kind["recipe"]["arch"] for kind in plan["kinds"]} == {
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    }  # fmt: skip
    assert all(kind["epoch_s"] > 0 for kind in plan["kinds"])
    assert " at a time, each on " in plan["placement"]
    assert not (tmp_path / "runs").exists()


def test_recipes_are_measured_side_by_side_and_what_cannot_be_trained_is_refused(
    make_splits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {RECIPE.data_key: make_splits()}
    with ray_session(None):
        other = RECIPE.replace(width=4)
        speeds = speed.measure([RECIPE, other, RECIPE], splits, placement=ONE_CPU)  # two waves of two
        assert all(one.step_s > 0 for one in speeds)
        assert {one.device for one in speeds} == {"cpu"}
        unknown = RECIPE.model_copy(update={"batch_size": 1})  # BatchNorm has nothing to take the mean of
        with pytest.raises(
            PreflightError, match=r"cannot be trained here \(resnet18, width 2, batch_size 1\): ValueError"
        ):
            speed.measure([unknown], splits, placement=ONE_CPU)
        monkeypatch.setattr(speed, "TIMEOUT_S", 0.5)
        nowhere = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1, custom={"bigmem": 1.0})
        with pytest.raises(PreflightError, match="did not end within"):
            speed.measure([RECIPE], splits, placement=nowhere)
