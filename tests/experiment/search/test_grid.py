"""Tests of raytrain.experiment.search.grid: listed values, values with axes of their own, and ranges to draw from."""

import itertools
import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search import grid as grids
from raytrain.experiment.search.grid import RANGES, checked_axis
from raytrain.experiment.search.written_grid import with_values
from raytrain.experiment.yaml_source import dump_yaml, parse_value

CONDITIONAL = {"sgd": {"momentum": [0.8, 0.9], "nesterov": [False, True]}, "adam": {}, "muon": {"momentum": [0.6]}}


def axes(**given: Any) -> dict[str, Any]:
    return {field: checked_axis(field, axis) for field, axis in given.items()}


def experiment(**keys: Any) -> Experiment:
    return Experiment.model_validate({"name": "x", **keys})


def test_a_value_may_have_axes_of_its_own_and_only_it_has_them():
    found = grids.combinations(axes(optimizer=CONDITIONAL, lr=[0.1, 0.01]))
    assert len(found) == grids.size(axes(optimizer=CONDITIONAL, lr=[0.1, 0.01])) == (4 + 1 + 1) * 2
    assert [one for one in found if one["optimizer"] == "adam"] == [
        {"optimizer": "adam", "lr": 0.1},
        {"optimizer": "adam", "lr": 0.01},
    ]
    sgd = [(one["momentum"], one["nesterov"], one["lr"]) for one in found if one["optimizer"] == "sgd"]
    assert sgd == [(m, n, lr) for m in (0.8, 0.9) for n in (False, True) for lr in (0.1, 0.01)]


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_ranges_are_drawn_from_as_their_name_says(sampler: Any):
    grid = axes(
        lr={"loguniform": [1e-4, 1]}, momentum={"uniform": [0.5, 0.9]}, width={"int": [1, 4]}, mix=["none", "cutmix"]
    )
    drawn = grids.draw(grid, samples=1024, sampler=sampler)
    assert stats.kstest([math.log10(one["lr"]) for one in drawn], stats.uniform(-4, 4).cdf).pvalue > 0.001
    assert stats.kstest([one["momentum"] for one in drawn], stats.uniform(0.5, 0.4).cdf).pvalue > 0.001
    for field in ("width", "mix"):
        assert stats.chisquare(list(Counter(one[field] for one in drawn).values())).pvalue > 0.001
    assert {one["width"] for one in drawn} == {1, 2, 3, 4}
    assert all(type(one["width"]) is int and type(one["lr"]) is float for one in drawn)


def test_whole_numbers_below_0_are_as_probable_as_those_above():
    drawn = [RANGES["int"](-2, 1, (n + 0.5) / 400) for n in range(400)]
    assert Counter(drawn) == dict.fromkeys((-2, -1, 0, 1), 100)
    assert RANGES["int"](-2, -1, 0) == -2


def test_a_sobol_sequence_covers_a_range_more_evenly_than_chance():
    grid = axes(momentum={"uniform": [0, 0.99]}, nesterov=[False, True])
    gaps = {
        sampler: max(b - a for a, b in itertools.pairwise(values))
        for sampler in ("random", "sobol")
        for values in [sorted(one["momentum"] for one in grids.draw(grid, samples=64, sampler=sampler))]
    }
    assert gaps["sobol"] < 2 * 0.99 / 64 < gaps["random"]


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_more_samples_begin_with_the_same(sampler: Any):
    grid = axes(lr={"loguniform": [1e-4, 1]}, optimizer=CONDITIONAL)
    few, many = (grids.draw(grid, samples=count, sampler=sampler) for count in (5, 13))
    assert many[:5] == few
    assert len(many) == 13


def test_a_dependent_axis_is_drawn_only_beside_its_value():
    drawn = grids.draw(axes(optimizer=CONDITIONAL), samples=200, sampler="random")
    assert {one["optimizer"] for one in drawn} == {"sgd", "adam", "muon"}
    assert all(("momentum" in one) == (one["optimizer"] != "adam") for one in drawn)
    assert all(("nesterov" in one) == (one["optimizer"] == "sgd") for one in drawn)


def test_a_random_sample_is_drawn_by_its_number():
    drawn = grids.draw(axes(lr={"uniform": [1, 2]}), samples=50, sampler="random")
    shares = [np.random.default_rng([0, number]).random() for number in range(50)]
    assert [one["lr"] for one in drawn] == [float(f"{1 + share:.4g}") for share in shares]


def test_drawn_numbers_have_four_digits_and_stay_within_their_range():
    drawn = [
        one["lr"] for one in grids.draw(axes(lr={"loguniform": [1.23456e-3, 1.23457e-3]}), samples=50, sampler="random")
    ]
    assert all(1.23456e-3 <= lr <= 1.23457e-3 for lr in drawn)
    wide = [one["lr"] for one in grids.draw(axes(lr={"loguniform": [1e-5, 10]}), samples=50, sampler="random")]
    assert all(len(re.sub(r"e.*|[.]", "", f"{lr!r}").lstrip("0")) <= 4 for lr in wide)


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("lr", {"uniform": [0.1]}, "give its two ends"),
        ("lr", {"uniform": [0.2, 0.1]}, "give the lower end first"),
        ("lr", {"loguniform": [0, 1]}, "both ends must be above 0"),
        ("lr", {"uniform": [0, float("inf")]}, "give its two ends"),
        ("width", {"int": [1.5, 3]}, "give whole numbers"),
        ("optimizer", {"sgd": [0.9]}, "give it axes of its own"),
        ("optimizer", {1: {}}, "is no name"),
        ("nesterov", {None: {}}, "is no name"),
        ("width", {"8": {}, 8: {}}, "has the value 8 twice"),
        ("optimizer", {"sgd": {"momentun": [0.9]}}, "unknown recipe field 'momentun'; did you mean 'momentum'?"),
        (
            "optimizer",
            {"sgd": {"lr": [1]}, " sgd": {"lr": [2]}},
            "has the value ' sgd' twice; put all axes of it below",
        ),
        ("optimizer", {}, "is empty"),
        ("lr", [], "is empty"),
        ("lr", 0.1, "must be a list of values, or a range"),
    ],
)
def test_what_is_no_axis_is_refused_with_what_to_write(field: str, given: Any, said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        checked_axis(field, given)


def test_ranges_need_samples_and_samples_need_a_grid():
    with pytest.raises(ValidationError, match="samples is missing; say how many"):
        experiment(grid={"lr": {"uniform": [0.1, 0.2]}})
    with pytest.raises(ValidationError, match="there is no grid to draw from"):
        experiment(samples=3)


def test_the_sampler_grid_takes_every_combination_and_nothing_that_is_drawn():
    listed = {"lr": [0.1, 0.2], "optimizer": CONDITIONAL}
    assert experiment(grid=listed, sampler="grid").trials() == experiment(grid=listed).trials()
    with pytest.raises(ValidationError, match="the experiment has samples: 3; remove samples, or give sampler: random"):
        experiment(grid=listed, samples=3, sampler="grid")
    with pytest.raises(ValidationError, match="has lr drawn from ranges; list the values, or give"):
        experiment(grid={"lr": {"uniform": [0.1, 0.2]}}, samples=3, sampler="grid")


def test_samples_of_listed_values_are_drawn_too_and_each_is_a_trial_once():
    trials = experiment(grid={"lr": [0.1, 0.2, 0.3], "momentum": [0.8, 0.9]}, samples=40).trials()
    assert len(trials) == len({trial.id for trial in trials}) == 6


def test_every_sample_is_trained_with_each_seed():
    trials = experiment(grid={"lr": {"uniform": [0.1, 0.2]}}, samples=4, seeds=[0, 1]).trials()
    assert Counter(trial.recipe.lr for trial in trials) == dict.fromkeys({trial.recipe.lr for trial in trials}, 2)
    assert len(trials) == 8


def test_an_experiment_with_every_kind_of_axis_is_written_and_read_as_itself():
    first = experiment(
        grid={
            "lr": {"loguniform": [1e-3, 1]},
            "optimizer": CONDITIONAL,
            "augment": [["crop"], []],
            "width": {"choice": [2, 4]},
        },
        samples=9,
        sampler="sobol",
    )
    again = Experiment.model_validate(parse_value(dump_yaml(first.model_dump(mode="json")), name="x"))
    assert [trial.id for trial in again.trials()] == [trial.id for trial in first.trials()]
    assert again.grid["width"] == (2, 4)


def test_a_set_field_is_fixed_in_dependent_axes_too():
    said = {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}}, "lr": {"uniform": [0, 1]}}
    assert with_values(said, {"momentum": 0.5}) == {
        "optimizer": {"sgd": {"momentum": [0.5]}},
        "lr": {"uniform": [0, 1]},
    }
    assert with_values(said, {"lr": 0.5})["lr"] == [0.5]


def test_combinations_that_train_the_same_are_one_trial_and_that_is_said():
    x = experiment(grid={"optimizer": ["sgd", "adam"], "momentum": [0.8, 0.9], "nesterov": [False, True]})
    assert len(x.trials()) == 5
    assert x.repeated() == (
        "3 combinations train the same as another, and are left out: momentum has no effect where optimizer is adam, "
        "which has its own; nesterov has no effect where optimizer is adam, which has its own"
    )
    assert experiment(grid={"lr": [0.1, 0.2]}).repeated() == ""


def test_only_fields_that_differ_among_combinations_that_train_the_same_are_the_reason():
    grid = {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}, "adam": {}}, "lr": [0.1, 0.01]}
    drawn = experiment(grid=grid, samples=20).repeated()
    assert drawn.endswith("train the same as another, and are left out: the same values are drawn more than once")
    mixes = {"mix": ["none", "cutmix"], "mix_alpha": [0.5, 1.0], "nesterov": [False, True]}
    assert experiment(grid=mixes, include=[{"mix": "cutmix", "mix_alpha": 0.5}]).repeated() == (
        "3 combinations train the same as another, and are left out: mix_alpha has no effect where mix is none; "
        "the same values are listed more than once"
    )


@pytest.mark.parametrize("values", [[0.8, 0.9], [0.8], [0.7, 0.95]])
def test_a_trial_stays_the_same_when_a_field_without_effect_on_it_gets_values(values: list[float]):
    (_, before) = experiment(grid={"optimizer": ["sgd", "adam"]}).trials()
    after = experiment(grid={"optimizer": ["sgd", "adam"], "momentum": values}).trials()
    assert [one for one in after if one.recipe.optimizer == "adam"] == [before]


def test_a_value_without_effect_that_would_be_refused_is_not_taken():
    recipe = {"mix": "cutmix", "batch_size": 2}
    (trial,) = experiment(recipe=recipe, include=[{"mix": "none", "mix_prob": 0, "batch_size": 1}]).trials()
    assert trial.recipe.mix == "none"


def test_a_repeated_combination_is_counted_once_for_all_seeds():
    x = experiment(grid={"optimizer": ["adam"], "momentum": [0.8, 0.9]}, seeds=[0, 1, 2])
    assert len(x.trials()) == 3
    assert x.repeated().startswith("1 combination trains the same as another, and is left out: momentum has no effect")


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        (
            "{nesterov: {true: {momentum: [0.8, 0.9]}, false: {}}}",
            [{"nesterov": True, "momentum": 0.8}, {"nesterov": True, "momentum": 0.9}, {"nesterov": False}],
        ),
        ("{width: {8: {lr: [0.1]}, 16: {}}}", [{"width": 8, "lr": 0.1}, {"width": 16}]),
        ("{lr: {1e-3: {width: [8]}, 0.5: {}}}", [{"lr": 0.001, "width": 8}, {"lr": 0.5}]),
        (
            "{arch: [airbench], arch.depth: {2: {lr: [0.1]}, 3: {}}}",
            [{"arch": "airbench", "arch.depth": 2, "lr": 0.1}, {"arch": "airbench", "arch.depth": 3}],
        ),
        ("{mix: {none: {}, cutmix: {mix_alpha: [0.5]}}}", [{"mix": "none"}, {"mix": "cutmix", "mix_alpha": 0.5}]),
    ],
)
def test_numbers_and_true_and_false_may_have_axes_of_their_own_in_a_file(grid: str, values: list[dict[str, Any]]):
    x = experiment(grid=parse_value(grid, name="x"))
    assert [[(name, type(one), one) for name, one in found.items()] for found in x.combinations()] == [
        [(name, type(one), one) for name, one in expected.items()] for expected in values
    ]
    again = Experiment.model_validate(parse_value(dump_yaml(x.model_dump(mode="json")), name="x"))
    assert again == x
    assert again.replace(name="y").trials() == x.trials()


def test_a_set_number_of_a_conditional_axis_keeps_the_axes_below_it():
    said = parse_value("{nesterov: {true: {momentum: [0.8]}, false: {}}, width: {1: {lr: [0.1]}}}", name="x")
    assert with_values(said, {"nesterov": True})["nesterov"] == {"True": {"momentum": [0.8]}}
    assert with_values(said, {"width": 1})["width"] == {"1": {"lr": [0.1]}}
    assert with_values(said, {"width": True})["width"] == [True]


def test_a_set_value_of_a_conditional_axis_keeps_the_axes_below_it():
    said = {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}, "adam": {}}}
    assert with_values(said, {"optimizer": "sgd"}) == {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}}}
    assert with_values(said, {"optimizer": "muon"}) == {"optimizer": ["muon"]}
