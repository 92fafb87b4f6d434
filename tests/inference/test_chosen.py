"""Tests of raytrain.inference.export: why a run alone means one trial of it."""

from types import SimpleNamespace
from typing import Any, cast

from raytrain.analysis.ranking import rank
from raytrain.analysis.record import chosen_trial_of
from raytrain.inference.export import trial_of
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def reason(*trials: tuple[float, int]) -> str:
    """Return why a trial of a run without validation is meant, which has trials of these learning rates and seeds."""
    results = [
        TrialResult(
            f"t{place}",
            "finished",
            Recipe(lr=lr, seed=seed, val_size=0).model_dump(mode="json"),
            parameters=1,
            epochs=1,
            test_accuracy=0.9,
            test_loss=0.5,
        )
        for place, (lr, seed) in enumerate(trials)
    ]
    ranking = rank(results, {})
    record = SimpleNamespace(ranking=ranking, chosen=ranking.chosen, chosen_trial=chosen_trial_of(ranking))
    return trial_of(cast("Any", record), None)[1]


def test_the_test_set_has_chosen_where_validation_could_not_and_there_was_a_choice() -> None:
    assert "without a validation split the test set chose it" in reason((0.1, 0), (0.2, 0))
    assert reason((0.1, 0)) == reason((0.1, 0), (0.1, 1)) == "of the only configuration that has finished"
