"""Tests of raytrain.comparison.side_by_side on run folders with accuracies as a test wants them."""

import json
from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner

from raytrain.cli.app import app

WriteRun = Callable[..., None]


def diff(*sides: str) -> Any:
    return json.loads(CliRunner().invoke(app, ["diff", *sides, "--json"]).stdout)


def test_the_same_images_under_another_path_are_compared(write_run: WriteRun) -> None:
    here, there = ({"dataset": name, "val_size": 20} for name in ("photos", "photos/"))
    write_run("here", [range(900)], recipe=here)
    write_run("there", [range(700)], recipe=there)
    (row,) = diff("here", "there")["accuracies"]
    assert row["p_value"] < 1e-20
