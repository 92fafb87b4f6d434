"""Tests of raytrain.report.figures.heat_map: two axes of a grid against each other."""

from typing import Any

import pytest

from raytrain.analysis.record import read_record
from raytrain.report.figures.heat_map import heat_map


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
