"""Tests of raytrain.comparison.side_by_side on run folders with accuracies as a test wants them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.comparison.circumstances import differences, settings
from raytrain.experiment.experiment import Experiment

WriteRun = Callable[..., None]


def diff(*sides: str) -> Any:
    return json.loads(CliRunner().invoke(app, ["diff", *sides, "--json"]).stdout)


def test_the_same_images_under_another_path_are_compared(write_run: WriteRun) -> None:
    here, there = ({"dataset": name, "val_size": 20} for name in ("photos", "photos/"))
    write_run("here", [range(900)], recipe=here)
    write_run("there", [range(700)], recipe=there)
    (row,) = diff("here", "there")["accuracies"]
    assert row["p_value"] < 1e-20


def test_the_same_images_in_another_size_are_compared_and_other_images_are_not(write_run: WriteRun) -> None:
    write_run("here", [range(900)], recipe={"dataset": "photos", "image_size": 32}, fingerprint="f")
    write_run("small", [range(700)], recipe={"dataset": "photos", "image_size": 16}, fingerprint="g")
    (row,) = diff("here", "small")["accuracies"]
    assert row["test"] == "McNemar's, paired on 1,000 test images"
    assert row["p_value"] < 1e-20
    changed = {"lr": 0.2, "dataset": "photos", "image_size": 32}
    write_run("changed", [range(700)], recipe=changed, fingerprint="h")
    write_run("split", [range(700)], recipe={"dataset": "photos", "test_size": 0.3}, fingerprint="i")
    write_run("elsewhere", [range(700)], recipe={"dataset": "pictures"}, fingerprint="j")
    write_run("fewer", [range(70)], recipe={"dataset": "photos", "image_size": 8}, images=100, fingerprint="k")
    for other in ("changed", "split", "elsewhere", "fewer"):
        (row,) = diff("here", other)["accuracies"]
        assert (row["p_value"], row["test"]) == (None, "not compared: the data differ")


def test_data_that_a_run_does_not_use_are_none_and_only_unknown_ones_not_recorded(
    write_run: WriteRun, tmp_path: Path
) -> None:
    def data(second: str) -> list[tuple[str, str, str]]:
        found = diff("here", second)["differences"]
        return [(one["name"], one["first"], one["second"]) for one in found if one["part"] == "data"]

    write_run("here", [range(900)], recipe={"dataset": "digits", "image_size": 32}, fingerprint="aaa")
    write_run("small", [range(900)], recipe={"dataset": "digits", "image_size": 16}, fingerprint="iii")
    assert data("small") == [("digits at 32 px", "aaa", "none"), ("digits at 16 px", "none", "iii")]
    path = tmp_path / "small" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": {}}))
    assert data("small") == [("digits at 32 px", "aaa", "not recorded")]


def test_seeds_on_other_test_images_are_not_paired(write_run: WriteRun) -> None:
    recipes = ({"dataset": "photos", "image_size": size} for size in (32, 16))
    write_run("here", [range(900), range(910)], recipe=next(recipes), seeds=[0, 1], fingerprint="f")
    write_run("there", [range(70), range(71)], recipe=next(recipes), seeds=[0, 1], images=100, fingerprint="g")
    (row,) = diff("here", "there")["accuracies"]
    assert (row["p_value"], row["test"]) == (None, "not compared: the data differ")


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
    write_run("other", better, recipe={"lr": 0.3}, seeds=[4, 5, 6, 7])
    (row,) = diff("here", "other")["accuracies"]
    assert row["test"] == "Welch's over 4 and 4 seeds"
    assert row["p_value"] > 0.5


def test_the_seeds_that_two_runs_share_are_paired_and_their_number_and_difference_are_said(write_run: WriteRun) -> None:
    """Seven of ten are shared; the three others of the second run are so bad that all seeds together say less."""
    rights = [700, 800, 900, 750, 850, 720, 880]
    gains = [10, 12, 11, 9, 10, 12, 11]
    write_run("here", [range(one) for one in [*rights, 810, 760, 840]], recipe={"lr": 0.1}, seeds=list(range(10)))
    better = [right + gain for right, gain in zip(rights, gains, strict=True)]
    seeds = [*range(7), 20, 21, 22]
    write_run("there", [range(one) for one in [*better, 500, 510, 520]], recipe={"lr": 0.2}, seeds=seeds)
    (row,) = diff("here", "there")["accuracies"]
    assert row["test"] == "Student's t over 7 paired seeds of 10 and 10, which differ by +1.07 points"
    assert row["second_accuracy"] < row["first_accuracy"]  # of all seeds
    assert row["p_value"] < 1e-3


@pytest.mark.parametrize(
    ("here", "there", "shared", "paired"),
    [
        (2, 2, 2, True),
        (3, 3, 2, False),
        (4, 2, 2, False),
        (4, 3, 3, False),
        (7, 6, 6, False),
        (8, 7, 7, True),
        (10, 7, 7, True),
        (10, 10, 7, True),
        (10, 10, 6, False),
        (11, 7, 7, False),
        (10, 10, 2, False),
    ],
)
def test_seeds_are_paired_where_all_are_shared_or_so_many_that_welchs_test_sees_no_more(
    write_run: WriteRun, here: int, there: int, shared: int, paired: bool
) -> None:
    for name, first, count, right, lr in (("here", 0, here, 700, 0.1), ("there", here - shared, there, 710, 0.2)):
        seeds = list(range(first, first + count))
        write_run(name, [range(right + seed) for seed in seeds], recipe={"lr": lr}, seeds=seeds, predicted=False)
    (row,) = diff("here", "there")["accuracies"]
    of_some = f" of {here} and {there}, which differ by +1.00 points" if {here, there} != {shared} else ""
    said = f"Student's t over {shared} paired seeds{of_some}" if paired else f"Welch's over {here} and {there} seeds"
    assert row["test"] == said


def f1(right: int) -> float:
    """Return the macro F1 score of a network that gets so many of 1,000 images of one class right.

    The others are predicted as a second class, whose F1 score is 0.
    """
    return right / (1000 + right)


def test_the_metric_is_compared_that_both_recipes_select(write_run: WriteRun) -> None:
    write_run("here", [range(900)], recipe={"lr": 0.1, "select": "macro_f1"})
    write_run("there", [range(700)], recipe={"lr": 0.2, "select": "macro_f1"})
    (row,) = diff("here", "there")["accuracies"]
    assert (row["metric"], row["test"]) == ("macro_f1", "the bootstrap, paired on 1,000 test images")
    assert (row["first_value"], row["second_value"]) == (pytest.approx(f1(900)), pytest.approx(f1(700)))
    assert (row["first_accuracy"], row["second_accuracy"]) == (0.9, 0.7)
    assert row["p_value"] < 1e-20
    shown = CliRunner().invoke(app, ["diff", "here", "there"]).stdout
    assert "macro F1 47.37 % 41.18 % -6.19" in " ".join(shown.split())
    trials = [f"{name}/{row[side][0]}" for name, side in (("here", "first"), ("there", "second"))]
    assert diff(*trials)["accuracies"] == [row]


def test_another_metric_is_paired_by_seed_where_both_sides_have_the_same(write_run: WriteRun) -> None:
    """Of the seeds of the third run, one of eight is its own; those of the fourth are all its own."""
    rights, gains = [700, 800, 900, 750, 850, 720, 880, 810], (10, 12, 11, 9, 10, 12, 11, 9)
    seeds = {
        "here": [*range(8)],
        "there": [3, 1, 2, 0, *range(4, 8)],
        "other": [*range(7), 8],
        "apart": [*range(8, 16)],
    }
    for lr, (name, of_run) in enumerate(seeds.items(), start=1):
        right = [rights[seed % 8] + (gains[seed % 8] if lr > 1 else 0) for seed in of_run]
        recipe = {"lr": lr / 10, "select": "macro_f1"}
        write_run(name, [range(one) for one in right], recipe=recipe, seeds=of_run)
    (row,) = diff("here", "there")["accuracies"]
    assert (row["metric"], row["test"]) == ("macro_f1", "Student's t over 8 paired seeds")
    assert row["p_value"] < 0.05
    (row,) = diff("here", "other")["accuracies"]
    points = 100 * sum(f1(right + gain) - f1(right) for right, gain in zip(rights[:7], gains, strict=False)) / 7
    said = f"Student's t over 7 paired seeds of 8 and 8, which differ by {points:+.2f} points"
    assert (row["metric"], row["test"]) == ("macro_f1", said)
    assert row["p_value"] < 0.05
    (row,) = diff("here", "apart")["accuracies"]
    assert (row["metric"], row["test"]) == ("macro_f1", "Welch's over 8 and 8 seeds")
    assert row["p_value"] > 0.5


def test_accuracy_is_compared_and_the_reason_said_where_no_metric_is_common(write_run: WriteRun) -> None:
    write_run("here", [range(900)], recipe={"select": "macro_f1"})
    write_run("there", [range(700)], recipe={"select": "nll"})
    write_run("other", [range(750)], recipe={"select": "nll", "lr": 0.2})  # without the loss of each image
    for sides, why in [
        (("here", "there"), "select is macro_f1 in the first and nll in the second"),
        (("there", "other"), "what negative log-likelihood needs is not on record"),
    ]:
        (row,) = diff(*sides)["accuracies"]
        assert row["metric"] == "accuracy"
        assert row["test"] == f"McNemar's, paired on 1,000 test images; of accuracy, because {why}"


def test_a_section_that_one_side_has_is_told_by_its_settings_alone() -> None:
    without, with_it = (
        settings("experiment", Experiment.model_validate({"name": "x", "separate": section}).model_dump(mode="json"))
        for section in (None, {"points": 0.3})
    )
    told = [(one.name, one.first, one.second) for one in differences(without, with_it)]
    assert told == [("separate.points", "none", "0.3"), ("separate.max_seeds", "none", "20")]
    assert [(one.name, one.first, one.second) for one in differences(with_it, without)] == [
        (name, second, first) for name, first, second in told
    ]


def test_an_axis_whose_argument_is_an_axis_too_is_compared_by_itself(write_run: WriteRun) -> None:
    depths, several = {"arch.depth": [2, 3]}, ["airbench", "airbench(multiples=[1, 3, 3])"]
    write_run("plain", [range(900)], grid={"arch": ["airbench"]})
    write_run("deep", [range(900)] * 2, grid={"arch": ["airbench"], **depths})
    write_run("wide", [range(900)] * 4, grid={"arch": several, **depths})
    for sides, name, first, second in [
        (("plain", "deep"), "grid.arch.depth", "none", "2, 3"),
        (("deep", "wide"), "grid.arch", "airbench", "airbench, airbench(multiples=[1, 3, 3])"),
    ]:
        (found,) = [one for one in diff(*sides)["differences"] if one["part"] == "experiment"]
        assert (found["name"], found["first"], found["second"]) == (name, first, second)


def test_values_with_axes_of_their_own_stand_beside_a_list_as_one_value() -> None:
    axes = {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}, "adam": {}}}
    listed, below, other = (
        settings("experiment", {"grid": grid})
        for grid in ({"optimizer": ["sgd"]}, axes, {"optimizer": {"sgd": {"momentum": [0.8]}}})
    )
    told = [(one.name, one.first, one.second) for one in differences(listed, below)]
    assert told == [("grid.optimizer", "sgd", str(axes["optimizer"]))]
    told = [(one.name, one.first, one.second) for one in differences(below, other)]
    assert told == [("grid.optimizer.sgd.momentum", "0.8, 0.9", "0.8"), ("grid.optimizer.adam", "{}", "none")]
