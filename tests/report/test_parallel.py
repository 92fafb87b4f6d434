"""Tests of report.figures.parallel: where the lines of a search run."""

from itertools import pairwise
from typing import Any

import pytest

from raytrain.analysis.ranking import rank
from raytrain.report.figures.legend import legend
from raytrain.report.figures.parallel import LETTER_PX, MOST_LINES, Parallel, parallel
from raytrain.runs.results import TrialResult
from raytrain.training.recipe import Recipe


def drawn(*recipes: dict[str, Any], **fields: Any) -> Parallel | None:
    """Return the drawing of a search in which each configuration is a point better than the next."""
    results = [
        TrialResult(
            trial=f"x-{index:08}",
            status="finished",
            recipe=Recipe(**recipe).model_dump(mode="json"),
            parameters=7,
            epochs=1,
            test_accuracy=0.9 - index / 100,
            **fields,
        )
        for index, recipe in enumerate(recipes)
    ]
    ranking = rank(results, {})
    return parallel(ranking.standings, legend(ranking))


def test_numbers_stand_by_their_size_on_a_logarithm_where_they_spread_and_words_at_equal_distances() -> None:
    found = drawn(
        {"lr": 1.0, "width": 8, "schedule": "cosine"},
        {"lr": 0.01, "width": 8, "schedule": "constant"},
        {"lr": 0.1, "width": 12, "schedule": "cosine"},
        {"lr": 0.1, "width": 16, "schedule": "linear"},
    )
    assert found
    assert [axis.name for axis in found.axes] == ["lr", "schedule", "width", "test accuracy %"]
    lines = [tuple(line.positions) for line in reversed(found.lines)]
    assert lines == [(1.0, 0.5, 0.0, 1.0), (0.0, 0.0, 0.0, 0.6667), (0.5, 0.5, 0.5, 0.3333), (0.5, 1.0, 1.0, 0.0)]
    assert list(found.axes[0].ticks) == [(0.0, "0.01"), (0.5, "0.1"), (1.0, "1")]
    assert [text for _, text in found.axes[-1].ticks] == ["87.00", "88.00", "89.00", "90.00"]


def test_a_field_that_has_no_effect_is_skipped() -> None:
    found = drawn(
        {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "adam", "lr": 0.1}
    )
    assert found
    place = [axis.name for axis in found.axes].index("momentum")
    assert [line.positions[place] for line in reversed(found.lines)] == [1.0, 0.0, None]


def test_long_names_have_room_and_many_values_are_not_written_over_each_other() -> None:
    names = [f"timm:convnextv2_tiny.fcmae_ft_in22k_in1k_{index}" for index in range(2)]
    some = [{"arch": names[index % 2], "lr": 0.01 * (1 + index), "width": 8} for index in range(40)]
    found = drawn(*some)
    assert found
    by_name = {axis.name: axis for axis in found.axes}
    places = [place for place, _ in by_name["lr"].ticks]
    assert min(after - before for before, after in pairwise(places)) >= 1 / 9
    assert places[-1] == 1.0
    xs = [axis.x for axis in found.axes]
    arch = list(by_name).index("arch")
    assert (xs[arch + 1] - xs[arch]) >= LETTER_PX * len(names[0])
    assert found.width > xs[-1]


@pytest.mark.parametrize(
    "recipes", [[{"lr": 0.1}, {"lr": 0.2}], [{"lr": 0.1, "width": 8}], [{"lr": 0.1, "seed": 1}, {"lr": 0.2}]]
)
def test_one_field_or_one_configuration_is_no_drawing(recipes: list[dict[str, Any]]) -> None:
    assert drawn(*recipes) is None


def test_the_weakest_of_very_many_have_no_line() -> None:
    some = [{"lr": 0.1 + index / 1000, "width": 8 + index % 2} for index in range(MOST_LINES + 5)]
    found = drawn(*some)
    assert found
    assert (len(found.lines), found.left_out) == (MOST_LINES, 5)
