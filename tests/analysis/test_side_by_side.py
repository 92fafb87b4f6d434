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


def test_beside_a_trial_a_run_is_its_chosen_trial(write_run: WriteRun) -> None:
    write_run("here", [range(900), range(920)], grid={"lr": [0.1, 0.2]})
    write_run("there", [range(700)], recipe={"lr": 0.3})
    trial = diff("there", "there")["accuracies"][0]["first"][0]
    found = diff("here", f"there/{trial}")
    differing = [(one["name"], one["first"], one["second"]) for one in found["differences"] if one["part"] == "recipe"]
    assert differing == [("lr", "0.2", "0.3")]
    assert found["first"].startswith("here/")
    (row,) = found["accuracies"]
    assert (row["first_accuracy"], row["second_accuracy"]) == (0.92, 0.7)
    write_run("begun", [range(0)], recipe={"lr": 0.4}, statuses=["failed"])
    refused = CliRunner().invoke(app, ["diff", f"there/{trial}", "begun"])
    assert refused.exit_code == 2
    assert "no trial of begun has finished" in refused.stderr
