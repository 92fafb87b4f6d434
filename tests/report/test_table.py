"""Tests of raytrain.report.table: the ranked table in each of its forms."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from rich.console import Console

from raytrain.analysis.columns import column_names
from raytrain.analysis.ranking import Ranking, rank
from raytrain.analysis.wording import explain, footer
from raytrain.errors import ExperimentError
from raytrain.metrics.epoch import DETAILS, EpochMetrics, Evaluation
from raytrain.metrics.predictions import Predictions
from raytrain.report import column_text, metric_columns, records, table
from raytrain.report.document import document
from raytrain.report.text.columns import wrapped
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def result(status: str = "finished", *, recipe: dict[str, Any] | None = None, **fields: Any) -> TrialResult:
    made = Recipe.model_validate({"epochs": 20, **(recipe or {})})
    values = {"trial": f"readable-{made.digest}", "parameters": 11_173_962, "epochs": 20, "seconds": 12.345, **fields}
    return TrialResult(**{"status": status, "recipe": made.model_dump(mode="json"), **values})


RESULTS = [
    result("stopped", recipe={"lr": 0.3}, epochs=5, val_accuracy=0.5, val_loss=1.0),
    result(recipe={"lr": 0.1}, train_accuracy=0.99995, val_accuracy=0.875, val_loss=0.4, test_accuracy=0.8),
    result("diverged", recipe={"lr": 5.0}, epochs=2, error="the loss was not finite in epoch 3"),
    result("failed", recipe={"lr": 0.2}, epochs=0, error="OSError: a, b | c"),
    result(recipe={"lr": 0.4}, train_accuracy=0.5, val_accuracy=0.9, val_loss=0.4, test_accuracy=0.7),
    result("unfinished", recipe={"lr": 0.5}, epochs=1),
]


RANKING = rank(RESULTS, {})


def ranking(*results: TrialResult) -> Ranking:
    return rank(results, {})


def column(name: str) -> list[str]:
    return table.cells_by_heading(RANKING)[name]


def test_rows_are_ranked_by_test_accuracy_and_only_finished_trials_have_a_rank():
    # without predictions nothing tells the two apart
    assert column(table.OF_NETWORK) == ["1–2", "1–2", "–", "–", "–", "–"]
    assert column("lr") == ["0.1", "0.4", "0.3", "5", "0.2", "0.5"]


def test_how_a_trial_ended_is_said_with_its_epoch_and_what_validation_chooses_is_marked():
    assert column("status") == [
        "finished",
        "finished, chosen",
        "stopped at 5",
        "diverged at epoch 3",
        "failed",
        "unfinished",
    ]
    assert column("epochs") == ["20/20", "20/20", "5/20", "2/20", "0/20", "1/20"]


def test_accuracies_are_per_cent_with_two_decimals_and_a_dash_where_there_is_none():
    assert column("val accuracy %") == ["87.50", "90.00", "50.00", "–", "–", "–"]
    assert column("train accuracy %")[:3] == ["100.00", "50.00", "–"]


def test_parameters_are_in_millions_and_seconds_have_a_decimal():
    assert set(column("parameters")) == {"11.17 M"}
    assert set(column("seconds")) == {"12.3"}


def test_a_trial_that_waits_has_no_seconds_rather_than_none_of_them():
    cells = table.cells_by_heading(ranking(result("unfinished", epochs=0, seconds=0.0), result(recipe={"lr": 0.2})))
    assert cells["seconds"] == ["12.3", "–"]


def test_the_only_row_is_not_called_all_rows():
    assert (
        footer(ranking(result(test_accuracy=0.9)), rearranged=True)[-1]
        == "Ranks are those among the only row, by test accuracy."
    )


def test_a_trial_is_named_by_its_digest():
    assert column("trial") == [one.results[0].trial.rpartition("-")[2] for one in RANKING.standings]


def test_only_fields_that_differ_have_a_column():
    fixed = table.cells_by_heading(ranking(RESULTS[0]))
    several = ranking(result(recipe={"augment": ["crop", "flip"]}, test_accuracy=0.9), result(test_accuracy=0.8))
    cells = table.cells_by_heading(several)
    assert [name for name in cells if name not in fixed] == ["rank of trained network", "augment"]
    assert list(cells.values())[3] == ["crop+flip", "none"]


def test_seeds_of_a_configuration_are_one_row_with_their_means_and_their_interval():
    seeds = [result(recipe={"seed": n}, test_accuracy=0.8 + n / 100, train_accuracy=0.9, seconds=n) for n in range(3)]
    cells = table.cells_by_heading(ranking(*seeds))
    assert "seed" not in cells
    assert (cells["seeds"], cells["test accuracy %"], cells["seconds"]) == (["3"], ["81.00"], ["1.0"])
    assert cells["95 % interval"] == ["78.52 to 83.48"]  # 81 ± 4.3027 / sqrt(3)
    assert cells["trial"][0].endswith(" +2")


def test_seeds_that_were_stopped_at_different_epochs_say_so():
    seeds = [result("stopped", recipe={"seed": n}, epochs=epochs, val_accuracy=0.5) for n, epochs in enumerate((5, 9))]
    cells = table.cells_by_heading(ranking(*seeds))
    assert (cells["epochs"], cells["status"]) == (["5–9/20"], ["stopped at 5–9"])


def test_words_stand_to_the_left_and_numbers_to_the_right():
    recipes = [{"lr": lr, "schedule": schedule} for lr, schedule in ((0.1, "cosine"), (1e-5, "constant"))]
    several = ranking(*(result(recipe=recipe, test_accuracy=0.9) for recipe in recipes))
    assert (
        table.markdown(several, columns=["rank", "lr", "schedule", "val_accuracy"]).splitlines()[1]
        == "| --: | --: | :-- | --: |"
    )


def test_rows_that_trained_on_the_validation_images_are_told_from_the_others():
    with_split = result(recipe={"lr": 0.1}, val_accuracy=0.9, val_loss=0.1, test_accuracy=0.9)
    without = result(recipe={"lr": 0.1, "val_size": 0}, test_accuracy=0.9)
    assert "Rows without a validation accuracy" in " ".join(explain(ranking(with_split, without)))
    assert "Rows without a validation accuracy" not in " ".join(explain(ranking(with_split)))


def test_trials_of_several_runs_are_named_with_their_run():
    several = ranking(result(trial="one/a-1", test_accuracy=0.9), result(trial="two/a-1", test_accuracy=0.8))
    cells = table.cells_by_heading(several)
    assert list(cells)[1] == "run"
    assert cells["run"] == ["one", "two"]


def shown_in(width: int, made: Ranking = RANKING, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(table.terminal_table(made, width=width, **options), crop=False)
    return console.export_text()


def test_named_columns_are_shown_whatever_the_width():
    assert shown_in(20, columns=["lr", "test_accuracy"]).split()[:4] == ["test_", "lr", "accuracy", "%"]
    named = table.markdown(RANKING, columns=["rank", "test_accuracy"])
    assert named.startswith("| rank of trained network | test accuracy % |\n| --: | --: |\n")
    for write in (table.plain, table.markdown):
        with pytest.raises(ExperimentError, match="unknown column 'tset_accuracy'; did you mean 'test_accuracy'"):
            write(RANKING, columns=["tset_accuracy"])


def test_any_field_of_the_recipe_and_of_a_result_is_a_column():
    made = table.plain(RANKING, columns=["arch", "weight_decay", "best_epoch", "val_loss", "parameters", "augment"])
    heading, _, first, *_ = [line.split() for line in made.splitlines() if line.strip()]
    assert heading == ["arch", "weight_decay", "best_epoch", "val_loss", "parameters", "augment"]
    assert first == ["resnet18", "0.0005", "–", "0.4000", "11.17", "M", "none"]


def test_every_column_of_a_file_is_a_column_of_the_table():
    several = ranking(result(trial="one/a-1", test_accuracy=0.9), result(trial="two/a-1", test_accuracy=0.8))
    for made in (RANKING, several):
        assert list(records.flat_rows(made)[0]) == column_names(made)
        assert table.plain(made, columns=column_names(made))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1, "0.1"), (1e-5, "1e-05"), (True, "True"), (3, "3"), ([], "none"), (("crop",), "crop"), ("x", "x")],
)
def test_a_cell_shows_a_field_shortly(value: object, shown: str):
    assert column_text.cell(value) == shown


def test_markdown_is_a_table_of_equal_rows():
    lines = table.markdown(RANKING).splitlines()
    assert len(lines) == 2 + len(RESULTS)
    assert len({line.count("|") for line in lines}) == 1
    assert set(lines[1]) <= set("|:- ")


def test_a_bar_in_a_cell_does_not_end_it_in_markdown():
    several = ranking(result(recipe={"dataset": "a|b"}), result(recipe={"dataset": "c"}))
    assert r"| a\|b |" in table.markdown(several)


def test_latex_has_a_line_for_each_row_and_as_many_cells_as_columns():
    lines = table.latex(RANKING).splitlines()
    assert (lines[1], lines[3], lines[-2:]) == (r"\toprule", r"\midrule", [r"\bottomrule", r"\end{tabular}"])
    rows = [lines[2], *lines[4:-2]]
    assert len(rows) == 1 + len(RESULTS)
    start, places = lines[0].removesuffix("}").rsplit("{", 1)
    assert start == r"\begin{tabular}"
    assert {line.count(" & ") for line in rows} == {len(places) - 1}
    assert all(line.endswith(r" \\") for line in rows)


def test_nothing_in_a_cell_is_a_command_of_latex():
    names = (r"a_b\c 5% {$#&} ~^", "[d]", "*.png")
    several = ranking(*(result(recipe={"dataset": name}) for name in names))
    text = table.latex(several, columns=["dataset", "rank"])
    assert r"a\_b\textbackslash{}c 5\% \{\$\#\&\} \textasciitilde{}\textasciicircum{} & " in text
    assert "\n{[}d] & " in text
    assert "\n{*}.png & " in text


def test_plain_text_has_every_cell_on_one_line_and_no_trailing_spaces():
    lines = table.plain(RANKING).splitlines()
    for row in zip(*table.cells_by_heading(RANKING).values(), strict=True):
        assert any(all(text in line for text in row) for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_brackets_in_a_path_are_no_markup():
    several = ranking(result(recipe={"dataset": "[red]a"}), result(recipe={"dataset": "[/nothing]"}))
    assert "[red]a" in table.plain(several)
    assert "[/nothing]" in table.plain(several)


def test_json_and_csv_hold_the_same_ranked_rows_with_all_recipe_fields():
    flat = records.flat_rows(RANKING)
    objects = json.loads(document({"trials": flat}))["trials"]
    rows = list(csv.DictReader(io.StringIO(records.as_csv(flat))))
    assert objects == flat
    assert [row["trial"] for row in flat] == [one.results[0].trial for one in RANKING.standings]
    assert [{key: "" if v is None else str(v) for key, v in o.items()} for o in objects] == rows
    assert set(Recipe.model_fields) - {"epochs"} <= rows[0].keys()


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@sum", " =cmd|' /C calc'!A0", "\t=1"])
def test_a_text_in_csv_is_no_formula(text: str):
    (row,) = csv.DictReader(io.StringIO(records.as_csv([{"dataset": text}])))
    assert row["dataset"].startswith("'")


@pytest.mark.parametrize("value", ["-0.5", "+1", "-1e-3", -0.5, "cosine", "a=b"])
def test_numbers_and_plain_texts_stay_as_they_are_in_csv(value: object):
    (row,) = csv.DictReader(io.StringIO(records.as_csv([{"x": value}])))
    assert row["x"] == str(value)


def test_parquet_holds_the_rows_and_their_types():
    content = records.as_parquet([r.flat() for r in RESULTS], types=records.trial_types())
    assert parquet.read_table(io.BytesIO(content)).to_pylist() == [r.flat() for r in RESULTS]


def test_csv_has_the_columns_of_all_rows_and_leaves_empty_what_a_row_does_not_have():
    text = records.as_csv([{"trial": "a"}, {"trial": "b", "macro_f1_low": 0.5}])
    assert text == "trial,macro_f1_low\na,\nb,0.5\n"


def test_parquet_has_the_columns_of_all_rows_whichever_comes_first():
    content = records.as_parquet([{"epoch": 1}, {"epoch": 2, "val_macro_f1": 0.5}], types={})
    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    assert rows == [{"epoch": 1, "val_macro_f1": None}, {"epoch": 2, "val_macro_f1": 0.5}]


def test_parquet_takes_counts_and_shares_in_one_column():
    content = records.as_parquet([{"val_size": 5000}, {"val_size": 0.1}, {"val_size": None}], types={})
    assert parquet.read_table(io.BytesIO(content)).to_pylist() == [
        {"val_size": 5000},
        {"val_size": 0.1},
        {"val_size": None},
    ]


def test_no_results_give_empty_tables():
    assert records.as_csv([]).strip() == ""
    assert parquet.read_table(io.BytesIO(records.as_parquet([], types={}))).num_rows == 0
    assert table.markdown(ranking()).startswith("| rank |")
    assert "rank" in table.plain(ranking())


def test_the_readme_says_how_it_was_ranked_and_with_which_command():
    text = table.readme("lr", RANKING, command="raytrain tune --grid lr.yaml")
    assert text.startswith("# lr\n\n| rank of trained network |")
    assert "best epoch on the validation split" in text
    assert "Command: `raytrain tune --grid lr.yaml`" in text


def test_the_readme_warns_where_the_test_set_ranked():
    unsplit = [result(recipe={"val_size": 0, "lr": lr}, test_accuracy=0.9, test_loss=0.1) for lr in (0.1, 0.2)]
    text = table.readme("x", ranking(*unsplit), command="c")
    assert "There is no validation split" in text
    assert "is biased upwards, because the test set chose it" in text
    alone = table.readme("x", ranking(unsplit[0]), command="c")
    assert "There is no validation split: accuracies are those of the last epoch." in alone
    assert "the test set chose it" not in alone


def test_the_readme_says_nothing_of_a_missing_split_where_no_trial_has_come_to_use_its_own():
    text = table.readme("x", ranking(result("unfinished", epochs=0)), command="c")
    assert "no validation split" not in text


@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(width: int):
    text = shown_in(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert {"lr", "rank", "80.00", "0.4", "finished", "diverged"} <= {*text.replace(",", " ").split()}
    assert ("parameters" in text, "arch" in text) == (width == 200, width >= 80)  # all are of one architecture


def test_a_table_that_cannot_fit_is_wider_and_not_cut():
    recipes = [
        {"lr": lr, "weight_decay": lr, "mix_prob": lr, "label_smoothing": lr, "mix": "cutmix"} for lr in (0.1, 0.2)
    ]
    text = shown_in(30, ranking(*(result(recipe=recipe, test_accuracy=0.9) for recipe in recipes)))
    assert {"90.00", "0.1", "0.2", "finished"} <= {*text.split()}
    assert {"lr", "weight_", "mix_", "prob", "smoothing"} <= {*text.split()}  # the axes
    assert max(len(line.rstrip()) for line in text.splitlines()) > 30


def test_sixteen_long_names_and_three_axes_fit_80_columns_broken_at_their_joints():
    names = [f"timm:convnextv2_tiny.fcmae_ft_in22k_in1k_{100 + index}" for index in range(16)]
    some = [
        {"arch": name, "lr": lr, "optimizer": optimizer, "augment": ["crop", "flip", "cutout"][: index % 3 + 1]}
        for index, name in enumerate(names)
        for lr, optimizer in ((0.1, "sgd"), (0.003, "adam"))
    ]
    made = ranking(*(result(recipe=recipe, test_accuracy=0.9) for recipe in some))
    text = shown_in(80, made)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    heading = next(line for line in text.splitlines() if "arch" in line)
    column = slice(heading.index("arch"), heading.index("augment"))
    joined = "".join(line[column].strip() for line in text.splitlines())
    assert all(joined.count(name) == 2 for name in names)
    assert {"90.00", "0.003", "sgd", "adam", "finished"} <= {*text.split()}


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("diverged at epoch 3", 12, ["diverged at", "epoch 3"]),
        ("my_net.py:MyNet", 9, ["my_net.", "py:MyNet"]),
        ("my_net.py:MyNet", 6, ["my_", "net.", "py:My", "Net"]),
        ("crop+flip", 5, ["crop+", "flip"]),
        ("resnet152", 4, ["resnet152"]),
        ("short", 9, ["short"]),
    ],
)
def test_a_text_is_wrapped_between_words_and_a_name_at_its_joints(text: str, width: int, lines: list[str]):
    assert wrapped(text, width).split("\n") == lines


def test_a_trial_that_was_given_up_says_how_often_it_was_started():
    assert table.status(result("failed", attempts=3)) == "failed after 3 starts"
    assert table.status(result("failed", attempts=1)) == "failed"
    assert table.status(result("finished", attempts=3)) == "finished"  # the table is that of an undisturbed run


def test_flat_rows_say_which_trials_are_of_the_chosen_configuration():
    seeds = [result(recipe={"seed": n}, val_accuracy=0.9, val_loss=0.1, test_accuracy=0.7) for n in range(2)]
    flat = records.flat_rows(ranking(*seeds, RESULTS[2], RESULTS[4]))
    assert {row["trial"] for row in flat if row["chosen"] is True} == {one.trial for one in seeds}
    assert [row["chosen"] for row in flat].count(False) == 2


def test_metrics_beside_accuracy_are_columns_of_every_file_and_of_the_table_where_they_are_named():
    """Of 4 images of one class and 1 of the other, all are taken for the first."""
    finished = result(test_accuracy=0.8, test_loss=0.7)
    seen = Predictions(np.array([0, 0, 0, 0, 1]), np.zeros(5, dtype=np.int64), np.full(5, 0.75, dtype=np.float32))
    made = rank([finished, RESULTS[2]], {finished.trial: seen})
    wanted = {"balanced_accuracy": 0.5, "macro_f1": pytest.approx(4 / 9), "top5_accuracy": None, "nll": 0.7}
    for rows in (records.flat_rows(made), records.configuration_rows(made)):
        assert {name: rows[0][name] for name in wanted} == wanted
        assert rows[0]["ece"] == pytest.approx(0.05)
        assert {rows[1][name] for name in (*wanted, "ece")} == {None}
    assert not {*metric_columns.METRIC_HEADINGS.values()} & {*table.cells_by_heading(made)}
    named = table.markdown(made, columns=["balanced_accuracy", "macro_f1", "nll", "ece", "top5_accuracy"])
    assert named.splitlines()[0] == "| balanced accuracy % | macro F1 % | NLL | ECE % | top-5 accuracy % |"
    assert named.splitlines()[2:] == ["| 50.00 | 44.44 | 0.7000 | 5.00 | – |", "| – | – | – | – | – |"]


def documented(file: str) -> list[str]:
    """Return the names of the columns of a file that docs/results.md lists."""
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    table_of = page.partition(f"| column of `{file}` |")[2].partition("\n\n")[0]
    return [name for row in table_of.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_page_on_results_lists_the_columns_of_the_table_of_trials():
    row = records.flat_rows(RANKING)[0]
    of_recipe = {"epochs_planned", *Recipe.model_fields} - {"epochs"}
    assert sorted(documented("trials.parquet")) == sorted(row.keys() - of_recipe)


def test_the_page_on_results_lists_the_columns_of_the_table_of_epochs():
    measured = Evaluation(1.0, 0.5, *([0.5] * len(DETAILS)))
    row = EpochMetrics(1, 1.0, 0.5, val=measured, test=None, lr=0.1, seconds=1.0).row()
    assert sorted(documented("metrics.parquet")) == sorted(["trial", *row])
