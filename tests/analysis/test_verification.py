"""A rerun is compared with what is on record, and where that is lost, nothing is compared."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raytrain.comparison.verification import Verification, predictions_of
from raytrain.errors import RunFolderError


def record(**lost: Any) -> tuple[Any, Any]:
    there: dict[str, Any] = {"predictions": {"a": object()}, "epochs": {"a": [{"epoch": 1}]}, **lost}
    return cast("Any", SimpleNamespace(**there)), cast("Any", SimpleNamespace(trial="a", test_accuracy=0.5))


def test_a_trial_with_predictions_and_epochs_can_be_verified() -> None:
    assert predictions_of(*record()) is not None


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"predictions": {}}, "a has no predictions on record"),
        ({"epochs": {}}, r"there is nothing to compare: its metrics.jsonl is lost.\n.*resume RUN --repair"),
        ({"epochs": {"a": []}}, "there is nothing to compare"),
    ],
)
def test_a_trial_whose_record_is_lost_is_not_called_different(lost: dict[str, Any], words: str) -> None:
    with pytest.raises(RunFolderError, match=words):
        predictions_of(*record(**lost))


def test_where_epochs_and_predictions_agree_the_final_numbers_that_differ_are_named() -> None:
    found = Verification("a", "different", True, 0.5, 0.5, None, "", None, 0, [], ["test_loss"])
    said = " ".join(found.sentences())
    assert "0 test images are predicted as another class; final numbers that differ: test_loss." in said


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("McNemar's on 10 test images; one seed on record does not show the noise of seeds", "the test images explain"),
        ("one more seed against the 3 on record", "seeds differ"),
    ],
)
def test_what_a_rerun_is_within_is_what_the_test_speaks_of(test: str, words: str) -> None:
    found = Verification("a", "within the noise", False, 0.5, 0.6, 0.5, test, 1, 2, [])
    assert f"That is no more than {words}: p = 0.5 ({test})." in list(found.sentences())
