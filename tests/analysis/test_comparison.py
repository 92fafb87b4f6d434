"""Tests of raytrain.analysis.ranking: a baseline's rows at the epoch that the run reached."""

from dataclasses import replace

import pytest

from raytrain.analysis.ranking import beside, rank
from raytrain.analysis.wording import explain, footer
from raytrain.baselines.baselines import Baseline, BaselineCurve
from raytrain.report.records import flat_rows
from raytrain.report.table import cells_by_heading, markdown
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

LONG = BaselineCurve(
    "long", "resnet34", (1, 2, 3, 4), (0.0,) * 4, (None,) * 4, (None,) * 4, (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
)
SHORT = BaselineCurve("short", None, (1,), (0.0,), (None,), (None,), (None,), (0.55,))
STUDY = Baseline("study", (LONG, SHORT))


def ran(name: str, epochs: int, status: str = "finished") -> TrialResult:
    recipe = Recipe(epochs=epochs, lr=0.1 * epochs, dataset="digits").model_dump(mode="json")
    return TrialResult(name, status, recipe, 10, epochs, test_accuracy=0.9)  # type: ignore[arg-type]


def test_rows_are_at_equal_epochs_or_at_the_end_of_a_shorter_curve() -> None:
    ranking = beside(rank([ran("a", 3), ran("b", 2)], {}), STUDY)
    columns = cells_by_heading(ranking)
    cells = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rank_cell = next(iter(columns))
    shown = [(row[rank_cell], row["trial"], row["epochs"], row["test accuracy %"], row["status"]) for row in cells[2:]]
    assert shown == [
        ("–", "study/long", "3/4", "70.00", "baseline at 3"),
        ("–", "study/short", "1/1", "55.00", "baseline at 1"),
    ]
    assert (cells[2]["train accuracy %"], cells[3]["train accuracy %"]) == ("30.00", "–")
    assert (cells[2]["architecture"], cells[3]["architecture"], cells[2]["lr"]) == ("resnet34", "–", "–")
    assert "study/long" in markdown(ranking)
    assert any("at epoch 3" in sentence and "They have no rank" in sentence for sentence in explain(ranking))


def test_a_curve_with_a_line_for_every_tenth_epoch_has_come_no_further_than_its_last() -> None:
    sparse = replace(LONG, epochs=(10, 20, 30, 40))
    ranking = beside(rank([ran("a", 25)], {}), Baseline("study", (sparse,)))
    assert [(row.epoch, row.epochs) for row in ranking.beside] == [(20, 40)]


def test_accuracies_in_one_row_are_of_the_same_epoch() -> None:
    """The training accuracy is logged after every epoch, the test accuracy after every second."""
    curve = replace(LONG, test_accuracy=(None, 0.6, None, 0.8))
    untested = replace(LONG, name="untested", test_accuracy=(None,) * 4)
    seldom = replace(LONG, name="seldom", train_accuracy=(0.1, None, 0.3, None), test_accuracy=(None, 0.6, None, 0.8))
    ranking = beside(rank([ran("a", 3)], {}), Baseline("study", (curve, untested, seldom)))
    shown = [(row.epoch, row.train_accuracy, row.test_accuracy) for row in ranking.beside]
    assert shown == [(2, 0.2, 0.6), (3, 0.3, None), (2, None, 0.6)]
    assert [row["train_accuracy"] for row in flat_rows(ranking)[1:]] == [0.2, 0.3, None]
    said = "at epoch 3 or, without a test accuracy there, at the last that was logged before."
    assert any(said in sentence for sentence in explain(ranking))


def test_curves_of_another_data_set_are_named_as_such() -> None:
    def said(dataset: str | None) -> str:
        return " ".join(explain(beside(rank([ran("a", 3)], {}), replace(STUDY, dataset=dataset))))

    assert "study is on cifar100, the run is on digits: accuracies on different images cannot" in said("cifar100")
    assert "the run is on" not in said("digits")
    assert "the run is on" not in said(None)


def test_files_have_the_rows_too_with_every_column() -> None:
    table = flat_rows(beside(rank([ran("a", 3)], {}), STUDY))
    assert {tuple(row) for row in table} == {tuple(table[0])}
    assert [(row["trial"], row["status"], row["test_accuracy"], row["lr"]) for row in table[1:]] == [
        ("study/long", "baseline", 0.7, None),
        ("study/short", "baseline", 0.55, None),
    ]


def test_a_run_without_a_finished_trial_is_compared_where_it_is() -> None:
    assert [row.epoch for row in beside(rank([ran("a", 2, "stopped")], {}), STUDY).beside] == [2, 1]
    assert beside(rank([], {}), STUDY).beside == []


@pytest.mark.parametrize("dataset", ["data/cifar10", "hf:uoft-cs/cifar10"])
def test_a_path_or_a_uri_is_not_said_to_have_other_images_but_that_it_may(dataset: str) -> None:
    one = ran("a", 3)
    ranking = rank([replace(one, recipe={**one.recipe, "dataset": dataset})], {})
    said = footer(beside(ranking, replace(STUDY, dataset="cifar10")))[-1]
    assert said == (
        f"study is on cifar10, the run is on {dataset}, which may be other images: accuracies on different images "
        "cannot be compared."
    )
