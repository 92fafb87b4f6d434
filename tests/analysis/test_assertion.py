"""Tests of raytrain.analysis.assertion: claims that hold, that do not, and that are none."""

import numpy as np
import pytest

from raytrain.analysis.assertion import broken, where
from raytrain.analysis.ranking import Ranking, rank
from raytrain.errors import ExperimentError
from raytrain.metrics.predictions import Predictions
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

RECIPE = Recipe().model_dump(mode="json")
RANKING = rank(
    [
        TrialResult("a", "finished", {**RECIPE, "seed": 0}, 1, 2, test_accuracy=0.9, seconds=3.0),
        TrialResult("b", "finished", {**RECIPE, "seed": 1}, 1, 2, test_accuracy=0.8, seconds=5.0),
        TrialResult("c", "failed", {**RECIPE, "lr": 3.0}, 1, 0),
    ],
    {},
)


@pytest.mark.parametrize(
    "claim",
    ["test_accuracy >= 0.85", "test_accuracy>0.84", " test_accuracy < 1 ", "seconds == 4", "failed == 1", "failed<=1",
     "trials == 3", "finished != 3", "diverged == 0", "test_accuracy >= 8.5e-1"],
)  # fmt: skip
def test_a_claim_holds_of_the_mean_of_the_first_configuration_or_of_counts(claim: str) -> None:
    assert broken(claim, RANKING) is None


def test_a_claim_that_does_not_hold_is_answered_with_the_value() -> None:
    assert broken("test_accuracy >= 0.9", RANKING) == "test_accuracy >= 0.9: test_accuracy is 0.85"
    assert broken("failed == 0", RANKING) == "failed == 0: failed is 1"
    assert broken("val_accuracy > 0", RANKING) == "val_accuracy > 0: the chosen row (a) has no val_accuracy"
    assert broken("test_accuracy > 0", Ranking([])) == "test_accuracy > 0: there is no trial"


def test_a_claim_is_of_the_mean_as_it_is_shown() -> None:
    """As floats, 0.949 + 0.95 + 0.951 is less than 2.85."""
    accuracies = enumerate((0.949, 0.95, 0.951))
    seeds = [TrialResult(f"{n}", "finished", {**RECIPE, "seed": n}, 1, 2, test_accuracy=one) for n, one in accuracies]
    assert broken("test_accuracy >= 0.95", rank(seeds, {})) is None
    assert broken("test_accuracy == 0.95", rank(seeds, {})) is None


def test_a_claim_may_name_a_metric_beside_accuracy() -> None:
    seen = Predictions(np.array([0, 0, 0, 1]), np.zeros(4, dtype=np.int64), np.full(4, 0.75, dtype=np.float32))
    ranking = rank([TrialResult("a", "finished", RECIPE, 1, 2, test_accuracy=0.75, test_loss=0.6)], {"a": seen})
    assert broken("balanced_accuracy == 0.5", ranking) is None
    assert broken("ece < 0.001", ranking) is None
    assert broken("nll < 0.5", ranking) == "nll < 0.5: nll is 0.6"
    assert broken("top5_accuracy > 0", ranking) == "top5_accuracy > 0: the chosen row (a) has no top5_accuracy"


def test_a_claim_may_name_a_field_of_the_recipe_or_a_word() -> None:
    assert broken("arch == resnet18", RANKING) is None
    assert broken("lr < 0.5", RANKING) is None
    assert broken("arch == 'resnet34'", RANKING) == "arch == 'resnet34': arch is resnet18"


@pytest.mark.parametrize("claim", ["", "test_accuracy", "test_accuracy => 1", "lr = 0.1", "lr < 1; import os"])
def test_what_is_no_claim_is_refused_with_what_is(claim: str) -> None:
    with pytest.raises(ExperimentError, match=r"comparisons are >=, |is a number, '1; import os' is none"):
        broken(claim, RANKING)


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("accuracy > 1", "unknown name in --assert 'accuracy > 1': 'accuracy'; did you mean 'test_accuracy'?"),
        ("tset_loss > 1", "did you mean 'test_loss'?"),
        ("architecture == x", "did you mean 'arch'?"),
        ("qqq > 1", "`raytrain results RUN --format csv` has all of them as headings"),
        ("test_accuracy > much", "test_accuracy is a number, 'much' is none"),
        ("arch > resnet18", "arch has words, such as 'resnet18'; compare them by == or !="),
    ],
)
def test_a_wrong_claim_is_answered_with_the_nearest_right_one(claim: str, said: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        broken(claim, RANKING)
    assert said in str(refused.value)


def kept(*conditions: str) -> tuple[list[str], str | None]:
    shown, said = where(RANKING, conditions)
    return [standing.results[0].trial for standing in shown.standings], said


def test_where_keeps_the_rows_of_which_all_conditions_hold_and_counts_the_others() -> None:
    assert kept() == (["a", "c"], None)
    assert kept("lr < 1") == (["a"], "--where leaves out 1 of 2 rows.")
    assert kept("lr < 1", "seeds == 1") == ([], "--where leaves out 2 of 2 rows.")
    assert kept("status == failed") == (["c"], "--where leaves out 1 of 2 rows.")
    assert kept("test_accuracy < 2") == (
        ["a"],
        "--where leaves out 1 of 2 rows, 1 because no test_accuracy is known of them.",
    )
    assert kept("trial == b") == (["a"], "--where leaves out 1 of 2 rows.")  # the second seed of the row
    assert kept("augment == none")[0] == ["a", "c"]
    assert (
        kept("channels_last == true")
        == kept("channels_last == True")
        == (["a", "c"], "--where leaves out 0 of 2 rows.")
    )


@pytest.mark.parametrize("wrong", ["arch > 3", "lr == much", "test_accuracy < much"])
def test_where_refuses_a_wrong_condition_also_where_those_before_it_leave_no_row(wrong: str) -> None:
    for conditions in [wrong], ["lr > 100", wrong], [wrong, "lr > 100"], ["status == failed", wrong]:
        with pytest.raises(ExperimentError, match=f"{wrong}: .* (has words|is a number)"):
            kept(*conditions)


def test_where_counts_what_is_not_known_of_the_rows_that_are_left_alone() -> None:
    assert kept("lr > 100", "test_accuracy > 0") == ([], "--where leaves out 2 of 2 rows.")


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("arch == my_net.py:MyNet(depth=3)", "ab"),
        ("arch != my_net.py:MyNet(depth=3)", "c"),
        ("arch == my_net.py:MyNet@3f2a9c1b7d04(depth=3)", "a"),
        ("augment == my_net.py:noise+flip", "a"),
        ("augment == my_net.py:noise@3f2a9c1b7d04+flip", "a"),
    ],
)
def test_where_takes_code_of_ones_own_with_the_digest_or_as_the_table_prints_it(condition: str, shown: str) -> None:
    archs = ["my_net.py:MyNet@3f2a9c1b7d04(depth=3)", "my_net.py:MyNet@aaaaaaaaaaaa(depth=3)", "resnet18"]
    augments = [["my_net.py:noise@3f2a9c1b7d04", "flip"], [], []]
    own = [
        TrialResult(name, "finished", {**RECIPE, "arch": arch, "augment": augment}, 1, 2, test_accuracy=0.9)
        for name, arch, augment in zip("abc", archs, augments, strict=True)
    ]
    found, _ = where(rank(own, {}), [condition])
    assert "".join(standing.results[0].trial for standing in found.standings) == shown
    assert (broken(condition, rank(own, {})) is None) == ("a" in shown)


def test_where_knows_that_a_field_without_effect_has_no_value() -> None:
    adam = TrialResult("d", "finished", {**RECIPE, "optimizer": "adam"}, 1, 2, test_accuracy=0.9)
    shown, said = where(rank([adam], {}), ["momentum > 0"])
    assert (shown.standings, said) == (
        [],
        "--where leaves out 1 of 1 row, 1 because no momentum is known of them.",
    )
