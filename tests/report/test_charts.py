"""Tests of raytrain.report.figures.charts: figures that Plotly takes, with the numbers of the run."""

from typing import Any

import pytest

from raytrain.analysis.record import read_record
from raytrain.baselines.baselines import Baseline, BaselineCurve, open_baseline
from raytrain.report.figures import thinning
from raytrain.report.figures.charts import curves, figures
from raytrain.report.figures.cost import pareto
from raytrain.report.figures.legend import legend
from raytrain.report.figures.thinning import thinned
from raytrain.report.figures.timeline import figure, timeline


def test_every_figure_is_one_that_plotly_takes(make_run: Any) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    ends = {1: "stopped", 2: "diverged", 3: "failed"}
    folder = make_run(grid={"arch": ["resnet18", "resnet34"], "lr": [0.1, 0.2, 0.3]}, ends=ends, asha={})
    record = read_record(folder)
    entries = legend(record.ranking)
    shown = figures(record, entries, None)
    assert set(shown) == {"accuracy", "loss", "rate", "cost"}
    assert set(shown["accuracy"]) == {"validation", "training"}  # the test set was not tracked
    for variants in shown.values():
        for one in variants.values():
            graph_objects.Figure(one)  # raises on a key that Plotly does not know
    graph_objects.Figure(figure(timeline(record.events), {}))


def test_the_learning_rates_are_named_as_the_other_curves_are(make_run: Any) -> None:
    record = read_record(make_run(grid={"lr": [0.1, 0.2]}))
    shown = figures(record, legend(record.ranking), None)
    rate = shown["rate"]["learning rate"]
    assert {trace["name"] for trace in rate["data"] if trace["showlegend"]} == {"lr 0.1", "lr 0.2"}
    assert rate["layout"].get("showlegend") is not False


def test_a_curve_has_the_epochs_of_the_log_in_per_cent(make_run: Any) -> None:
    record = read_record(make_run(track_test=True))
    drawn = curves(record, legend(record.ranking), "test_accuracy", title="")
    assert drawn is not None
    (trace,) = drawn["data"]
    (rows,) = record.epochs.values()
    assert trace["x"] == list(range(1, 9))
    assert trace["y"] == pytest.approx([100 * row["test_accuracy"] for row in rows], abs=1e-3)


def test_a_stopped_trial_ends_in_a_cross(make_run: Any) -> None:
    record = read_record(make_run(grid={"lr": [0.1, 0.2]}, ends={1: "stopped"}, asha={}))
    drawn = curves(record, legend(record.ranking), "val_loss", title="")
    assert drawn is not None
    cross = drawn["data"][-1]
    assert (cross["name"], cross["x"]) == ("stopped by ASHA", [4])


def test_curves_that_lie_on_each_other_are_told_apart(make_run: Any) -> None:
    record = read_record(make_run(grid={"lr": [0.1, 0.2, 0.3]}))
    one, two, three = (result.trial for result in record.results)
    record.epochs[two] = record.epochs[one]
    entries = legend(record.ranking)
    drawn = curves(record, entries, "val_accuracy", title="")
    assert drawn is not None
    by_label = {trace["meta"]: trace for trace in drawn["data"]}
    label_of = {
        standing.results[0].trial: entry.label
        for standing, entry in zip(record.ranking.standings, entries, strict=True)
    }
    dashes = {name: by_label[label_of[name]]["line"]["dash"] for name in (one, two, three)}
    assert sorted((dashes[one], dashes[two])) == ["dash", "solid"], "the one above shows the one below"
    assert dashes[three] == "solid"
    assert sum("equal to lr" in trace["hovertemplate"] for trace in drawn["data"]) == 1


def test_of_many_grey_configurations_an_even_sample_is_drawn(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_record(make_run(grid={"lr": [0.1 + index / 100 for index in range(20)]}))
    entries = legend(record.ranking)
    assert sum(entry.coloured for entry in entries) == 16
    monkeypatch.setattr(thinning, "MOST_GREY", 2)
    drawn = curves(record, entries, "val_accuracy", title="")
    assert drawn is not None
    labels = {trace["meta"] for trace in drawn["data"]}
    assert labels == {entry.label for entry in entries[:16]} | {entries[16].label, entries[18].label}


def test_of_many_seeds_of_a_configuration_an_even_sample_is_drawn(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_record(make_run(seeds=[0, 1, 2, 3], grid={}))
    monkeypatch.setattr(thinning, "MOST_SEEDS", 2)
    drawn = curves(record, legend(record.ranking), "val_accuracy", title="")
    assert drawn is not None
    assert len(drawn["data"]) == 2


def test_a_baseline_reaches_as_far_as_the_run(make_run: Any) -> None:
    record = read_record(make_run(track_test=True))
    epochs = tuple(range(1, 21))
    values = tuple(0.5 for _ in epochs)
    curve = BaselineCurve("old<er>\u202e", None, epochs, tuple(map(float, epochs)), values, values, values, values)
    drawn = curves(record, legend(record.ranking), "test_accuracy", title="", baseline=Baseline("study", (curve,)))
    assert drawn is not None
    assert drawn["data"][-1]["name"] == r"study: old&lt;er&gt;\u202e"
    assert drawn["data"][-1]["x"] == list(range(1, 9))
    assert set(drawn["data"][-1]["y"]) == {50.0}


def test_no_two_curves_of_the_student_look_alike(make_run: Any) -> None:
    record = read_record(make_run())
    drawn = curves(record, legend(record.ranking), "val_accuracy", title="", baseline=open_baseline("student"))
    assert drawn is not None
    looks = [(trace["line"]["color"], trace["line"]["dash"]) for trace in drawn["data"] if "student" in trace["name"]]
    assert len(looks) == len(set(looks)) == 8


def test_few_epochs_have_a_tick_each(make_run: Any) -> None:
    axes: list[dict[str, Any]] = []
    for epochs in (4, 20):
        record = read_record(make_run(f"of-{epochs}", recipe={"epochs": epochs}))
        drawn = curves(record, legend(record.ranking), "val_accuracy", title="")
        assert drawn is not None
        axes.append(drawn["layout"]["xaxis"])
    assert [axis.get("dtick") for axis in axes] == [1, None]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [(float(epoch), 2.0 * epoch) for epoch in range(1, 1001)]
    kept = thinned(points, most=200)
    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert set(kept) < set(points)
    assert thinned(points[:50]) == points[:50]


def test_the_pareto_front_holds_what_nothing_cheaper_beats() -> None:
    points = [(1, 90), (2, 85), (2, 95), (3, 95), (4, 99), (4, 90)]
    expected = [
        point
        for point in points
        if not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
    ]
    assert pareto(points) == expected == [(1, 90), (2, 95), (4, 99)]
