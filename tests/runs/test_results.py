"""Tests of raytrain.runs.results: ranking, and the lines of trials.jsonl read back."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.errors import RunFolderError
from raytrain.runs.results import TrialResult, ranked, read_results, varied_fields
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import read_lines
from raytrain.training.recipe import Recipe


def result(trial: str, status: str = "finished", **fields: Any) -> TrialResult:
    return TrialResult(**{"trial": trial, "status": status, "recipe": {}, "parameters": 1, "epochs": 10, **fields})


# ---------------------------------------------------------------- ranking

BEST_FIRST = [
    result("finished, best", val_accuracy=0.9, val_loss=0.5, test_accuracy=0.1, test_loss=9.0),
    result("finished, equal accuracy, higher loss", val_accuracy=0.9, val_loss=0.6, test_accuracy=0.9, test_loss=0.1),
    result("finished, worst", val_accuracy=0.1, val_loss=2.0, test_accuracy=0.9, test_loss=0.1),
    result("stopped late", "stopped", epochs=9, val_accuracy=0.5, val_loss=1.0),
    result("stopped early, better", "stopped", epochs=3, val_accuracy=0.95, val_loss=0.1),
    result("stopped early, worse", "stopped", epochs=3, val_accuracy=0.2, val_loss=0.1),
    result("diverged", "diverged", epochs=5, val_accuracy=0.99, val_loss=0.1),
    result("failed", "failed", epochs=9, val_accuracy=0.99, val_loss=0.1),
    result("failed at once", "failed", epochs=0),
    result("unfinished", "unfinished", epochs=9, val_accuracy=0.99, val_loss=0.1),
    result("not started", "unfinished", epochs=0),
]


@pytest.mark.parametrize("seed", range(5))
def test_ranking_is_by_how_a_trial_ended_and_then_by_validation(seed: int):
    shuffled = random.Random(seed).sample(BEST_FIRST, len(BEST_FIRST))
    assert [r.trial for r in ranked(shuffled)] == [r.trial for r in BEST_FIRST]


def test_without_validation_the_test_set_ranks():
    better, worse = result("b", test_accuracy=0.9, test_loss=1.0), result("a", test_accuracy=0.8, test_loss=0.1)
    assert ranked([worse, better]) == [better, worse]


def test_equal_results_stay_in_order():
    same = [result(name, val_accuracy=0.5, val_loss=1.0) for name in "cab"]
    assert [r.trial for r in ranked(same)] == ["c", "a", "b"]


@pytest.mark.parametrize("most", range(-1, 2 * len(BEST_FIRST) + 2))
def test_the_best_results_are_the_first_of_all(most: int):
    twice = random.Random(most).sample([*BEST_FIRST, *BEST_FIRST], 2 * len(BEST_FIRST))
    assert ranked(twice, most=most) == ranked(twice)[: max(most, 0)]


def test_equal_results_stay_in_order_where_few_are_asked_for():
    same = [result(name, val_accuracy=0.5, val_loss=1.0) for name in "cabd"]
    assert [r.trial for r in ranked(same, most=3)] == ["c", "a", "b"]


def test_an_accuracy_of_zero_ranks_above_none():
    zero, none = result("zero", val_accuracy=0.0, val_loss=3.0), result("none")
    for order in itertools.permutations([zero, none]):
        assert ranked(order) == [zero, none]


def test_fields_that_differ_are_named_in_the_recipes_order_without_arch():
    recipes = [{"arch": "a", "lr": 1, "seed": 0, "mix": "x"}, {"arch": "b", "lr": 1, "seed": 1, "mix": "y"}]
    assert varied_fields(recipes) == ["seed", "mix"]
    assert varied_fields([]) == []
    assert varied_fields(recipes[:1]) == []


@given(st.lists(st.fixed_dictionaries({name: st.sampled_from([0, 0.5, "x", ["crop"], None]) for name in "cab"})))
def test_fields_that_differ_are_those_in_which_any_other_recipe_is_not_the_first(recipes: list[dict[str, Any]]):
    expected = [name for name in "cab" if any(one[name] != recipes[0][name] for one in recipes)] if recipes else []
    assert varied_fields(recipes) == [name for name in (recipes[0] if recipes else ()) if name in expected]


def test_a_field_that_an_older_recipe_lacks_differs():
    assert varied_fields([{"lr": 1, "mix": "x"}, {"lr": 1}, {"lr": 2, "mix": "x"}]) == ["lr", "mix"]


def test_a_flat_row_has_the_planned_epochs_beside_the_done_ones():
    row = result("a", recipe={"epochs": 20, "lr": 0.1, "augment": ["crop", "flip"]}).flat()
    assert (row["epochs"], row["epochs_planned"], row["lr"], row["augment"]) == (10, 20, 0.1, "crop+flip")
    assert "recipe" not in row


# ---------------------------------------------------------------- lines


def write(folder: Path, content: bytes, name: str = "lines.jsonl") -> Folder:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return Folder.at(folder)


def test_lines_of_a_file_that_is_not_there_are_none(tmp_path: Path):
    assert list(read_lines(Folder.at(tmp_path / "nowhere"), "lines.jsonl")) == []


WHOLE = '{"a": 1}\n{"b": "é"}\n'.encode()


@pytest.mark.parametrize("cut", range(1, len(WHOLE) - len(b'{"a": 1}\n') + 1))
def test_a_last_line_cut_at_any_byte_is_left_out_or_whole(tmp_path: Path, cut: int):
    lines = list(read_lines(write(tmp_path, WHOLE[:-cut]), "lines.jsonl"))
    assert lines == ([{"a": 1}, {"b": "é"}] if cut == 1 else [{"a": 1}])


@pytest.mark.parametrize("damaged", [b'{"a": \n{"b": 2}\n', b'{"a": 1}\nnonsense\n', b'\xff\n{"b": 2}\n'])
def test_a_damaged_line_that_is_not_cut_is_an_error_with_its_number(tmp_path: Path, damaged: bytes):
    number = 2 if b"nonsense" in damaged else 1
    with pytest.raises(RunFolderError, match=rf"lines\.jsonl:{number}: is damaged"):
        list(read_lines(write(tmp_path, damaged), "lines.jsonl"))


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def trial_line(trial: str, status: str, **fields: Any) -> dict[str, Any]:
    return {"trial": trial, "status": status, "recipe": {}, "parameters": 1, "epochs": 1, **fields}


def test_a_trial_that_was_run_again_has_a_line_for_each_end_in_order(tmp_path: Path):
    content = lines(trial_line("a", "failed"), trial_line("b", "finished"), trial_line("a", "finished", attempts=2))
    read = read_results(write(tmp_path, content, "trials.jsonl"))
    assert [(r.trial, r.status, r.attempts) for r in read] == [
        ("a", "failed", 1),
        ("b", "finished", 1),
        ("a", "finished", 2),
    ]


def test_a_recipe_that_the_experiment_lists_is_not_checked_again_and_any_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checked: list[str] = []
    monkeypatch.setattr("raytrain.runs.results.check_recipe", lambda line: checked.append(line["trial"]))
    listed = {name: Recipe(lr=0.1) for name in ("same", "other")}
    recipe = Recipe(lr=0.1).model_dump(mode="json")
    content = lines(
        trial_line("same", "finished", recipe=recipe),
        trial_line("other", "finished", recipe={**recipe, "lr": -1}),
        trial_line("unlisted", "finished", recipe=recipe),
    )
    read = read_results(write(tmp_path, content, "trials.jsonl"), listed=listed)
    assert [one.trial for one in read] == ["same", "other", "unlisted"]
    assert checked == ["other", "unlisted"]


def test_fields_of_another_version_are_refused_by_name(tmp_path: Path):
    folder = write(tmp_path, lines(trial_line("a", "finished", future=1, newer=2)), "trials.jsonl")
    with pytest.raises(RunFolderError, match="another version of raytrain; unknown fields: future, newer"):
        read_results(folder)
