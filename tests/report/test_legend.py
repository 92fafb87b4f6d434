"""Tests of raytrain.report.figures.legend: names that tell configurations apart, and constant colours."""

from typing import Any

from raytrain.analysis.record import read_record
from raytrain.report.figures.legend import COLOURS, GREY, MOST_COLOURED, legend


def test_a_label_says_what_differs_and_nothing_else(make_run: Any) -> None:
    archs = legend(read_record(make_run(grid={"arch": ["resnet18", "resnet34"]})).ranking)
    assert {entry.label for entry in archs} == {"resnet18", "resnet34"}
    grid = make_run("grid", grid={"lr": [0.1, 0.05], "schedule": ["cosine", "constant"]})
    labels = {entry.label for entry in legend(read_record(grid).ranking)}
    assert labels == {"lr 0.1, cosine", "lr 0.05, cosine", "lr 0.1, constant", "lr 0.05, constant"}
    mixed = legend(read_record(make_run("mixed", grid={"mix": ["none", "mixup"]})).ranking)
    assert {entry.label for entry in mixed} == {"mix none", "mixup"}
    one = legend(read_record(make_run("one", recipe={"arch": "resnet50"})).ranking)
    assert [entry.label for entry in one] == ["resnet50"]


def test_seeds_are_one_entry_until_one_of_them_ends_otherwise(make_run: Any) -> None:
    folder = make_run(grid={"lr": [0.1, 0.05]}, seeds=[0, 1, 2], ends={5: "diverged"})
    entries = legend(read_record(folder).ranking)
    labels = [entry.label for entry in entries]
    assert sorted(labels) == ["lr 0.05", "lr 0.05 (diverged)", "lr 0.1"]


def test_a_seed_that_trains_now_is_not_called_unfinished(make_run: Any) -> None:
    folder = make_run(grid={"lr": [0.1, 0.05]}, seeds=[0, 1, 2], ends={4: "unfinished", 5: "unfinished"})
    ranking = read_record(folder).ranking
    left = [one.trial for standing in ranking.standings for one in standing.results if one.status == "unfinished"]
    now = dict(zip(left, ("running", "waiting"), strict=True))
    assert {"lr 0.1 (unfinished)", "lr 0.05 (unfinished)"} < {entry.label for entry in legend(ranking)}
    assert {"lr 0.1 (running)", "lr 0.05 (waiting)"} < {entry.label for entry in legend(ranking, now)}


def test_the_best_have_a_colour_and_a_dash_of_their_own_and_the_rest_are_grey(make_run: Any) -> None:
    rates = [round(0.01 * step, 2) for step in range(1, MOST_COLOURED + 5)]
    entries = legend(read_record(make_run(grid={"lr": rates})).ranking)
    looks = [(entry.colour, entry.dash) for entry in entries[:MOST_COLOURED]]
    assert len(set(looks)) == MOST_COLOURED
    assert entries[0].colour == COLOURS[0]
    assert {entry.colour for entry in entries[MOST_COLOURED:]} == {GREY}
    assert not any(entry.coloured for entry in entries[MOST_COLOURED:])
