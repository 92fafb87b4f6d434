"""What one Ray on this machine does, command after command: it measures, is checked, and loses its run folder."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import PreflightError, StorageError
from raytrain.execution.options import RunOptions
from raytrain.execution.run import RunOutcome, run
from raytrain.experiment.experiment import Experiment
from raytrain.machine import usable_cores
from raytrain.ray_backend import speed
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.preflight import check_ray
from raytrain.ray_backend.session import nodes
from raytrain.runs.state import RunState
from raytrain.training.recipe import Recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("own_ray")]

RECIPE = Recipe(dataset="digits", image_size=8, width=2, batch_size=16, precision="fp32")
ONE_CPU = Placement(workers=1, cpus=1, gpus=0.0, concurrent=2)


def test_this_machine_is_the_cluster() -> None:
    assert sum(node["CPU"] for node in nodes()) == usable_cores()


def test_ray_on_this_machine_is_checked_by_asking_it(tmp_path: Path) -> None:
    checks = list(check_ray(address=None, out=str(tmp_path)))
    assert [check.ok for check in checks] == [True] * 4
    assert checks[1].found.startswith("1 at a time")
    assert checks[2].found.endswith("the same versions as here")
    assert "for images in memory" in checks[3].found


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
    other = RECIPE.replace(width=4)
    speeds = speed.measure([RECIPE, other, RECIPE], splits, placement=ONE_CPU)  # two waves of two
    assert all(one.step_s > 0 for one in speeds)
    assert {one.device for one in speeds} == {"cpu"}
    unknown = RECIPE.model_copy(update={"batch_size": 1})  # BatchNorm has nothing to take the mean of
    with pytest.raises(PreflightError, match=r"cannot be trained here \(resnet18, width 2, batch_size 1\): ValueError"):
        speed.measure([unknown], splits, placement=ONE_CPU)
    monkeypatch.setattr(speed, "TIMEOUT_S", 0.5)
    nowhere = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1, custom={"bigmem": 1.0})
    with pytest.raises(PreflightError, match="did not end within"):
        speed.measure([RECIPE], splits, placement=nowhere)


@pytest.mark.usefixtures("empty_report")
def test_a_run_folder_that_goes_away_stops_the_run_and_is_not_made_anew(tmp_path: Path, tiny_images: str) -> None:
    """Tune makes its folder anew, and so the run folder; without Ray: tests/execution/test_run_folder.py."""
    fields = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8, "epochs": 3}
    experiment = Experiment.model_validate({"name": "x", "recipe": fields | {"precision": "fp32"}})
    folder, elsewhere = tmp_path / "x", tmp_path / "elsewhere"

    @contextmanager
    def shown(state: RunState) -> Generator[None]:
        (progress,) = state.progress.values()
        add_epoch = progress.add_epoch

        def added(row: dict[str, Any]) -> None:
            add_epoch(row)
            if row["epoch"] == 2:
                folder.rename(elsewhere)

        progress.add_epoch = added
        yield

    def run_here(*, local: bool, **options: Any) -> RunOutcome:
        return run(experiment, RunOptions(out=str(tmp_path), local=local), **options)

    with pytest.raises(StorageError, match=r"x was moved or deleted while it was written to") as refused:
        run_here(local=False, shown=shown)
    assert refused.value.exit_code == 3
    assert not folder.exists()
    elsewhere.rename(folder)
    again = run_here(local=True)
    assert (again.exit_code, again.trained, again.results[0].epochs) == (0, 1, 3)
