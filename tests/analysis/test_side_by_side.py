"""Tests of raytrain.comparison.side_by_side on run folders with accuracies as a test wants them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats
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


def test_several_seeds_are_paired_where_both_sides_have_the_same(write_run: WriteRun) -> None:
    """The seeds differ by much more than the two recipes: only their pairs show the difference."""
    rights = [700, 800, 900, 750]
    write_run("here", [range(right) for right in rights], recipe={"lr": 0.1}, seeds=[0, 1, 2, 3], predicted=False)
    better = [range(right + gain) for right, gain in zip(rights, (10, 12, 11, 9), strict=True)]
    write_run("there", better, recipe={"lr": 0.2}, seeds=[0, 1, 2, 3], predicted=False)
    (row,) = diff("here", "there")["accuracies"]
    assert row["test"] == "Student's t over 4 paired seeds"
    gains = [0.010, 0.012, 0.011, 0.009]
    assert row["p_value"] == pytest.approx(stats.ttest_1samp(gains, 0).pvalue, rel=1e-6)
    write_run("other", better, recipe={"lr": 0.3}, seeds=[0, 1, 2, 4])
    (row,) = diff("here", "other")["accuracies"]
    assert row["test"] == "Welch's over 4 and 4 seeds"
    assert row["p_value"] > 0.5
