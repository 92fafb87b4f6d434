"""Tests of what is said of rows of one seed: the test images alone separate them, so their ranks are of networks."""

from typing import Any

import numpy as np

from raytrain.analysis.ranking import Ranking, rank
from raytrain.analysis.wording import explain, footer
from raytrain.metrics.predictions import Predictions
from raytrain.report.figures.legend import Entry
from raytrain.report.sections.facts import verdict
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe

IMAGES = 2000
AMONG = "Among rows of one seed, ranks are of these trained networks; other seeds may give others."


def ranked(**right: list[int]) -> Ranking:
    """Return the ranking of configurations, each with the number of images that each of its seeds gets right."""
    results: list[TrialResult] = []
    predictions: dict[str, Predictions] = {}
    for place, (name, counts) in enumerate(right.items()):
        for seed, count in enumerate(counts):
            predicted = (np.arange(IMAGES) >= count).astype(np.int64)
            seen = Predictions(np.zeros(IMAGES, dtype=np.int64), predicted, np.ones(IMAGES, dtype=np.float32))
            recipe = Recipe(lr=0.1 * (1 + place), seed=seed).model_dump(mode="json")
            fields: dict[str, Any] = {"val_accuracy": count / IMAGES, "val_loss": 1.0, "test_loss": 1.0}
            trial = f"{name}-{name}{seed}"
            results.append(TrialResult(trial, "finished", recipe, 10, 1, test_accuracy=seen.accuracy, **fields))
            predictions[trial] = seen
    return rank(results, predictions)


def around(count: int, *, seeds: int = 10) -> list[int]:
    return [count + 3 * (seed % 3 - 1) for seed in range(seeds)]


def shown_ranks(ranking: Ranking) -> list[str]:
    return [standing.rank for standing in ranking.standings]


def test_networks_above_a_row_of_ten_seeds_are_said_to_be_these_networks() -> None:
    ranking = ranked(a=[1900], b=[1700], c=[1500], d=around(400))
    assert shown_ranks(ranking) == ["1", "2", "3", "4"]
    assert footer(ranking)[-1] == f"The first network is ahead of all others; another seed may not be. {AMONG}"
    assert any(sentence.endswith(AMONG) for sentence in explain(ranking))
    entries = [Entry(one.results[0].digest, "", "solid", coloured=True) for one in ranking.standings]
    assert verdict(ranking, entries).endswith("is ahead of all others; another seed may not be.")


def test_networks_below_a_row_of_ten_seeds_are_said_to_be_these_networks() -> None:
    ranking = ranked(a=around(1900), b=[1500], c=[1000])
    assert shown_ranks(ranking) == ["1", "2", "3"]
    assert footer(ranking)[-1] == f"The first row is ahead of all others. {AMONG}"
    tied = ranked(a=around(1900), b=around(1902), c=[1500], d=[1000])
    assert footer(tied)[-1].startswith("2 rows may be the best")
    assert footer(tied)[-1].endswith(AMONG)


def test_one_row_of_one_seed_is_compared_over_the_seeds_of_the_others() -> None:
    ranking = ranked(a=[1900], b=around(1000), c=around(400))
    assert footer(ranking)[-1] == "The first row is ahead of all others."
    assert "these trained networks" not in " ".join(explain(ranking))


def test_rows_that_no_test_separates_need_no_caveat_on_their_order() -> None:
    assert AMONG not in footer(ranked(a=[1900], b=[1899], c=around(1899)))[-1]
