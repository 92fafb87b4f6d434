"""Tests of what the lines below a table say of a configuration that lost some of its seeds."""

import pytest

from raytrain.analysis.ranking import Ranking, rank
from raytrain.analysis.wording import footer
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def configuration(name: str, lr: float, *seeds: float | str, select: str = "accuracy") -> list[TrialResult]:
    """Return the results of a configuration: of each seed the accuracy, or how it ended."""
    results: list[TrialResult] = []
    for seed, end in enumerate(seeds):
        recipe = Recipe(lr=lr, seed=seed, epochs=20, select=select).model_dump(mode="json")
        status, fields = ("finished", {}) if isinstance(end, float) else (end, {})
        if isinstance(end, float):
            fields = {"test_accuracy": end, "val_accuracy": end, "test_loss": 1.0, "val_loss": 1.0}
        trial = f"resnet18-s{seed}-{name}{seed}"
        results.append(TrialResult(trial, status, recipe, 10, 20, **fields))  # type: ignore[arg-type]
    return results


def ranked(*groups: list[TrialResult]) -> Ranking:
    return rank([result for group in groups for result in group], {})


def test_a_survivor_that_stands_first_is_named_with_what_it_lost() -> None:
    lines = footer(ranked(configuration("a", 0.1, 0.99, "failed", "diverged"), configuration("b", 0.2, 0.9, 0.9, 0.91)))
    assert lines[0].startswith("Validation chooses b2: ")
    assert lines[1] == (
        "Of a0, 2 of 3 seeds did not finish (1 diverged, 1 failed): its accuracy is biased upwards, and it is not "
        "chosen."
    )
    assert len(lines) == 3


@pytest.mark.parametrize("how", ["failed", "diverged", "stopped", "paused"])
def test_a_seed_that_was_lost_is_said_whatever_ended_it_and_in_every_order_of_the_rows(how: str) -> None:
    ranking = ranked(configuration("a", 0.1, 0.9, 0.91), configuration("b", 0.2, 0.8, how))
    said = f"Of b0, 1 of 2 seeds did not finish (1 {how}): its accuracy is biased upwards."
    assert footer(ranking)[1] == footer(ranking, rearranged=True)[1] == said
    alone = ranked(configuration("b", 0.2, 0.8, how))
    assert footer(alone)[1:] == [said]


def test_of_several_configurations_the_first_is_named_and_the_others_are_counted() -> None:
    groups = [configuration(name, lr, 1 - lr, "failed") for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    assert footer(ranked(*groups))[1].startswith("Of a0, 1 of 2 seeds did not finish (1 failed): ")
    assert footer(ranked(*groups))[1].endswith(" The same is true of 2 other rows.")


def test_a_loss_is_too_low_and_not_biased_upwards() -> None:
    lines = footer(ranked(configuration("a", 0.1, 0.9, "failed", select="nll")))
    assert lines[1].endswith(": its negative log-likelihood is too low.")


@pytest.mark.parametrize("how", ["failed", "stopped", "unfinished"])
def test_where_no_ranked_row_has_lost_a_seed_nothing_is_said(how: str) -> None:
    lost = [how] if how == "unfinished" else []  # a seed that is still to come is not lost
    ranking = ranked(configuration("a", 0.1, 0.9, 0.91, *lost), configuration("b", 0.2, how))
    assert "did not finish" not in " ".join(footer(ranking))
