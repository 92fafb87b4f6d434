"""Tests of what is said of rows of one seed: the test images alone separate them, so their ranks are of networks."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from raytrain.analysis.ranking import Ranking, arranged, rank
from raytrain.analysis.wording import explain, footer
from raytrain.cli.app import app
from raytrain.metrics.predictions import Predictions
from raytrain.report.figures.legend import Entry
from raytrain.report.records import configuration_rows, flat_rows
from raytrain.report.sections.facts import verdict
from raytrain.report.table import OF_NETWORK, OF_SOME, cells_by_heading, latex, markdown, terminal_table
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
    assert next(iter(cells_by_heading(ranking))) == "rank"


def test_rows_that_no_test_separates_need_no_caveat_on_their_order() -> None:
    assert AMONG not in footer(ranked(a=[1900], b=[1899], c=around(1899)))[-1]


@pytest.mark.parametrize(
    ("right", "heading", "rank_of"),
    [
        ({"a": [1900], "b": [1000]}, OF_NETWORK, ["network", "network"]),
        ({"a": [1900], "b": [1000], "c": around(400)}, OF_SOME, ["network", "network", "configuration"]),
        ({"a": around(1900), "b": around(1000)}, "rank", ["configuration", "configuration"]),
        ({"a": [1900]}, "rank", ["configuration"]),
    ],
)
def test_the_column_of_ranks_says_of_what_they_are(
    right: dict[str, list[int]], heading: str, rank_of: list[str]
) -> None:
    ranking = ranked(**right)
    assert markdown(ranking).startswith(f"| {heading} |")
    assert markdown(ranking, columns=["rank"]).startswith(f"| {heading} |")
    assert f"\n{heading} & " in latex(ranking)
    assert [row["rank_of"] for row in configuration_rows(ranking)] == rank_of
    assert list(dict.fromkeys(row["rank_of"] for row in flat_rows(ranking))) == list(dict.fromkeys(rank_of))
    assert [row["rank"] for row in configuration_rows(ranking)] == shown_ranks(ranking)  # the name that programs know


def test_of_some_rows_of_a_table_the_ranks_stay_those_of_networks() -> None:
    first = arranged(ranked(a=[1900], b=[1000]), most=1)
    assert next(iter(cells_by_heading(first))) == OF_NETWORK


def test_in_80_columns_the_heading_of_the_ranks_is_broken_and_whole() -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(terminal_table(ranked(a=[1900], b=[1000]), width=80), crop=False)
    heading = console.export_text().partition("─")[0].splitlines()
    assert [line[:9].strip() for line in heading if line[:9].strip()] == ["rank", "of", "trained", "network"]
    assert max(map(len, heading)) <= 80


def test_json_says_of_what_a_rank_is(write_run: Callable[..., None]) -> None:
    write_run("run", [range(900), range(700)], grid={"lr": [0.1, 0.2]})
    document = json.loads(CliRunner().invoke(app, ["results", "run", "--json"]).stdout)
    assert document["schema_version"] == 1
    assert [(row["rank"], row["rank_of"]) for row in document["trials"]] == [("1", "network"), ("2", "network")]
