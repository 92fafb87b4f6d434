"""Tests of raytrain.report.figures.heat_map: the axes of a grid, each alone and two against each other."""

import math
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from raytrain.analysis.record import read_record
from raytrain.report.figures.heat_map import effects, heat_map


def test_the_learning_rate_stands_against_the_schedule_and_the_rest_is_averaged(make_run: Any) -> None:
    grid = {"schedule": ["cosine", "constant"], "lr": [0.2, 0.05], "nesterov": [True, False]}
    record = read_record(make_run(grid=grid))
    heat = heat_map(record.results)
    assert heat is not None
    assert (heat.row_field, heat.column_field, list(heat.averaged)) == ("lr", "schedule", ["nesterov"])
    assert (list(heat.rows), set(heat.columns)) == (["0.05", "0.2"], {"cosine", "constant"})
    column = list(heat.columns).index("constant")
    there = [r for r in record.results if r.recipe["lr"] == 0.2 and r.recipe["schedule"] == "constant"]
    cell = heat.cells[1][column]
    assert cell.trials == len(there) == 2
    assert cell.accuracy == pytest.approx(sum(r.test_accuracy or 0 for r in there) / 2)
    shares = [cell.share for line in heat.cells for cell in line]
    assert (min(shares), max(shares)) == (0, 1)


def test_a_cell_without_a_finished_trial_says_what_became_of_it(make_run: Any) -> None:
    grid = {"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]}
    record = read_record(make_run(grid=grid, exclude=[{"lr": 0.2, "schedule": "constant"}], ends={1: "diverged"}))
    heat = heat_map(record.results)
    assert heat is not None
    texts = {cell.text for line in heat.cells for cell in line if cell.accuracy is None}
    assert texts == {"diverged at epoch 3", ""}


def test_seeds_that_were_stopped_are_one_text(make_run: Any) -> None:
    grid = {"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]}
    heat = heat_map(read_record(make_run(grid=grid, seeds=[0, 1], asha={}, ends={0: "stopped", 4: "failed"})).results)
    assert heat is not None
    assert {cell.text for line in heat.cells for cell in line if cell.accuracy is None} == {"stopped at 4, failed"}


def test_one_axis_makes_no_map(make_run: Any) -> None:
    assert heat_map(read_record(make_run(grid={"lr": [0.1, 0.2]}, seeds=[0, 1])).results) is None
    assert heat_map([]) is None
    assert effects(read_record(make_run(grid={"lr": [0.1, 0.2]}, seeds=[0, 1])).results) == []
    assert effects([]) == []


def test_an_effect_is_the_mean_over_the_settings_of_the_other_axes_with_its_interval(make_run: Any) -> None:
    grid = {"schedule": ["cosine", "constant"], "lr": [0.2, 0.05], "momentum": [0.7, 0.8, 0.9]}
    results = read_record(make_run(grid=grid, seeds=[0, 1], ends={0: "diverged", 12: "diverged"})).results
    found = effects(results)
    assert [(one.field, [level.value for level in one.levels]) for one in found] == [
        ("lr", ["0.05", "0.2"]), ("schedule", ["constant", "cosine"]), ("momentum", ["0.7", "0.8", "0.9"])
    ]  # fmt: skip
    for effect in found:
        for level in effect.levels:
            settings: dict[tuple[object, ...], list[float]] = {}
            for result in results:
                if result.test_accuracy is not None and f"{result.recipe[effect.field]}" == level.value:
                    key = tuple(result.recipe[name] for name in grid)
                    settings.setdefault(key, []).append(result.test_accuracy)
            means = [fmean(seeds) for seeds in settings.values()]
            half = stats.t.ppf(0.975, len(means) - 1) * stdev(means) / math.sqrt(len(means))
            assert level.settings == len(means)
            assert level.accuracy == pytest.approx(fmean(means))
            assert level.interval
            assert level.interval.low == pytest.approx(max(0, fmean(means) - half))
            assert level.interval.high == pytest.approx(min(1, fmean(means) + half))
            assert level.whisker
            assert 0 <= level.whisker[0] <= level.whisker[1] <= level.whisker[2] <= 1
    assert sum(level.settings for level in found[0].levels) == 11


def test_the_interval_of_an_effect_has_no_accuracy_below_0_or_above_1(make_run: Any) -> None:
    results = read_record(make_run(grid={"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]})).results
    apart = [replace(one, test_accuracy={"cosine": 0.2, "constant": 0.9}[one.recipe["schedule"]]) for one in results]
    for level in effects(apart)[0].levels:  # by Student's t of two settings -3.9 to 5.0
        assert level.interval
        assert (level.interval.low, level.interval.high) == (0, 1)


def test_settings_of_equal_accuracy_have_no_interval_without_width(make_run: Any) -> None:
    results = read_record(make_run(grid={"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]})).results
    for level in effects([replace(one, test_accuracy=354 / 360) for one in results])[0].levels:
        assert (level.settings, level.accuracy) == (2, pytest.approx(354 / 360))
        assert level.interval is None
        assert level.whisker is None


def test_a_value_of_which_nothing_finished_has_no_effect(make_run: Any) -> None:
    grid = {"lr": [0.1, 0.2], "schedule": ["cosine", "constant"]}
    found = effects(read_record(make_run(grid=grid, ends={2: "failed", 3: "diverged"})).results)
    low, high = found[0].levels
    assert (low.value, low.settings, high.settings, high.accuracy, high.interval, high.whisker) == (
        "0.1", 2, 0, None, None, None
    )  # fmt: skip
    assert [level.interval for level in found[1].levels] == [None, None]


def test_a_field_is_not_credited_with_trials_in_which_it_has_no_effect(make_run: Any) -> None:
    """Adam has a momentum of its own: it is trained once, and the recipe on record has the first momentum."""
    results = read_record(make_run(grid={"optimizer": ["sgd", "adam"], "momentum": [0.8, 0.9]})).results
    assert len(results) == 3
    found = {one.field: {level.value: level.settings for level in one.levels} for one in effects(results)}
    assert found == {"optimizer": {"adam": 1, "sgd": 2}, "momentum": {"0.8": 1, "0.9": 1}}
    heat = heat_map(results)
    assert heat is not None
    assert (list(heat.rows), list(heat.columns)) == (["adam", "sgd"], ["0.8", "0.9"])
    assert [[cell.trials for cell in line] for line in heat.cells] == [[0, 0], [1, 1]]


def test_a_field_that_has_an_effect_with_one_value_only_has_no_bars(make_run: Any) -> None:
    results = read_record(make_run(grid={"optimizer": ["sgd", "adam"], "lr": [0.1, 0.2]})).results
    momenta = {"sgd": 0.8, "adam": 0.9}
    other = [replace(one, recipe=one.recipe | {"momentum": momenta[one.recipe["optimizer"]]}) for one in results]
    assert [one.field for one in effects(other)] == [one.field for one in effects(results)] == ["lr", "optimizer"]
