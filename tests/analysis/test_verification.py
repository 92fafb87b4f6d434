"""A rerun is compared with what is on record, and where that is lost, nothing is compared."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from raytrain.comparison.circumstances import circumstances
from raytrain.comparison.verification import Verification, predictions_of
from raytrain.errors import RunFolderError
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


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


def test_one_image_that_is_predicted_as_another_class_is_one() -> None:
    found = Verification("a", "different", True, 0.5, 0.5, None, "", None, 1, [])
    assert "1 test image is predicted as another class." in " ".join(found.sentences())


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


def start(threads: int | None, workers: int | None) -> dict[str, Any]:
    known = {"threads": threads, "workers": workers}
    return {"event": "started", "trial": "a"} | {name: value for name, value in known.items() if value}


END = {"event": "finished", "trial": "a", "device": "cpu", "precision": "fp32", "threads": 2}


@pytest.mark.parametrize(
    ("events", "threads", "workers"),
    [
        ([start(2, 1), END | {"workers": 1}], "2", "1"),
        ([start(1, 1), start(2, 1), END | {"workers": 1}], "1, then 2", "1"),
        ([start(2, 2), END | {"workers": 2}], "2", "2"),
        ([start(2, 2), start(2, 1), END | {"workers": 1}], "2", "2, then 1"),
        ([start(None, 1), start(2, 1), END | {"workers": 1}], "not recorded, then 2", "1"),
        ([start(None, None), END], "2", "4"),
        ([start(None, None), start(2, 1), END | {"workers": 1}], "not recorded, then 2", "not recorded, then 1"),
        ([start(2, 3), {"event": "resized", "trial": "a", "workers": 2}, END | {"workers": 2}], "2", "3, then 2"),
        ([start(2, 1), END | {"workers": 1}, {**start(8, 8), "trial": "b"}], "2", "1"),
    ],
)
def test_all_threads_and_workers_that_a_trial_had_are_named_whatever_the_experiment_says_now(
    events: list[dict[str, Any]], threads: str, workers: str
) -> None:
    state = SimpleNamespace(experiment=SimpleNamespace(resources=SimpleNamespace(workers=4)))
    made = cast("Any", SimpleNamespace(manifest={}, events=events, state=state))
    trial = TrialResult("a", "finished", Recipe().model_dump(mode="json"), 1, 1)
    machine = circumstances(made, trial)["machine"]
    assert (machine["device"], machine["threads"], machine["workers"]) == ("cpu", threads, workers)
