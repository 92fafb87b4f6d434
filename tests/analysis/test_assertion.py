"""Tests of raytrain.analysis.assertion: claims that hold, that do not, and that are none."""

import numpy as np
import pytest

from raytrain.analysis.assertion import broken
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
    assert broken("val_accuracy > 0", RANKING) == "val_accuracy > 0: no trial has a val_accuracy"
    assert broken("test_accuracy > 0", Ranking([])) == "test_accuracy > 0: no trial has a test_accuracy"


def test_a_claim_may_name_a_metric_beside_accuracy() -> None:
    seen = Predictions(np.array([0, 0, 0, 1]), np.zeros(4, dtype=np.int64), np.full(4, 0.75, dtype=np.float32))
    ranking = rank([TrialResult("a", "finished", RECIPE, 1, 2, test_accuracy=0.75, test_loss=0.6)], {"a": seen})
    assert broken("balanced_accuracy == 0.5", ranking) is None
    assert broken("ece < 0.001", ranking) is None
    assert broken("nll < 0.5", ranking) == "nll < 0.5: nll is 0.6"
    assert broken("top5_accuracy > 0", ranking) == "top5_accuracy > 0: no trial has a top5_accuracy"


@pytest.mark.parametrize("claim", ["", "test_accuracy", "accuracy > 1", "test_accuracy => 1", "test_accuracy > much"])
def test_what_is_no_claim_is_refused_with_what_is(claim: str) -> None:
    with pytest.raises(
        ExperimentError, match=r"write NAME >= NUMBER; comparisons are >=, .*; names are test_accuracy, "
    ):
        broken(claim, RANKING)
