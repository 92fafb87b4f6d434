"""Tests of raytrain.experiment.search.tpe: what is proposed by what has been reached."""

import math
from statistics import median
from typing import Any

import pytest

from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search import grid, tpe
from raytrain.experiment.search.tpe import Observation, contains, propose

LR = {"lr": {"loguniform": (1e-4, 1.0)}}
CONDITIONAL = {"optimizer": {"sgd": {"momentum": {"uniform": (0.5, 0.99)}}, "adam": {}}, "lr": (0.1, 0.01)}


@pytest.fixture(autouse=True)
def _optuna() -> None:
    pytest.importorskip("optuna", reason="the extra raytrain[optuna] is not installed")


def quality(values: dict[str, Any]) -> float:
    """Return a parabola of the logarithm of the learning rate, best at 0.02."""
    return -((math.log10(values["lr"] / 0.02)) ** 2)


def best_of_rounds(first: list[dict[str, Any]], *, samples: int) -> float:
    known = list(first)
    while len(known) < samples:
        observed = [Observation(values, quality(values)) for values in known]
        known += propose(LR, observed, count=len(first), seed=len(known))
    return max(map(quality, known))


def test_the_best_of_a_parabola_is_found_in_fewer_samples_than_by_chance() -> None:
    drawn = grid.draw(LR, samples=5 * 24, sampler="random")
    by_chance = [drawn[24 * n : 24 * n + 24] for n in range(5)]
    proposed = median(best_of_rounds(one[:6], samples=18) for one in by_chance)
    assert proposed > median(max(map(quality, one)) for one in by_chance)


def test_the_same_trials_and_seed_propose_the_same_and_another_seed_others() -> None:
    observed = [Observation(one, quality(one)) for one in grid.draw(LR, samples=6, sampler="tpe")]
    first = propose(LR, observed, count=3, seed=6)
    assert propose(LR, observed, count=3, seed=6) == first
    assert propose(LR, observed, count=3, seed=7) != first
    assert propose(LR, [*observed[1:], observed[0]], count=3, seed=6) != propose(LR, observed[1:], count=3, seed=6)


@pytest.mark.parametrize(
    "bad",
    [Observation({}, None), Observation({}, 0.9, stopped_at=1)],
    ids=["diverged", "stopped early, however good it was by then"],
)
def test_what_diverged_or_was_stopped_is_worse_than_what_ran_to_its_end(bad: Observation) -> None:
    observed: list[Observation] = []
    for n in range(12):
        observed.append(Observation({"lr": 0.5 - 0.01 * n}, bad.quality, bad.stopped_at))
        observed.append(Observation({"lr": 0.001 + 0.00001 * n}, 0.2))
    proposed = propose(LR, observed, count=6, seed=0)
    assert median(one["lr"] for one in proposed) < 0.02


def test_a_proposal_has_the_axes_of_its_values_and_lies_in_the_grid() -> None:
    drawn = grid.draw(CONDITIONAL, samples=8, sampler="tpe")
    observed = [Observation({"optimizer": "none of these"}, 9.0)]  # left out
    observed += [Observation({"momentum": 0.9, **one}, float(n)) for n, one in enumerate(drawn)]
    proposed = propose(CONDITIONAL, observed, count=6, seed=0)
    assert {("momentum" in one) == (one["optimizer"] == "sgd") for one in proposed} == {True}
    assert all(contains(CONDITIONAL, one) for one in proposed)
    assert all(one.get("momentum", 0.5) == float(f"{one.get('momentum', 0.5):.4g}") for one in proposed)


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ({"optimizer": "sgd", "momentum": 0.7, "lr": 0.1}, True),
        ({"optimizer": "sgd", "momentum": 0.4, "lr": 0.1}, False),
        ({"optimizer": "sgd", "lr": 0.1}, False),
        ({"optimizer": "adam", "lr": 0.1}, True),
        ({"optimizer": "adam", "lr": 0.3}, False),
        ({"optimizer": "adam", "lr": 0.1, "width": 8}, False),
    ],
)
def test_a_combination_is_in_the_grid_or_not(values: dict[str, Any], *, inside: bool) -> None:
    assert contains(CONDITIONAL, values) is inside


def test_what_is_not_acceptable_is_replaced_until_there_is_nothing_else() -> None:
    listed = {"lr": (0.1, 0.2, 0.3, 0.4)}
    seen: list[float] = []

    def new(values: dict[str, Any]) -> bool:
        fresh = values["lr"] != 0.1 and values["lr"] not in seen
        seen.append(values["lr"])
        return fresh

    observed = [Observation({"lr": 0.1}, 1.0)]
    assert sorted(one["lr"] for one in propose(listed, observed, count=4, seed=0, acceptable=new)) == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"samples": None, "grid": {"lr": [1, 2]}}, "tpe needs samples"),
        ({"grid": {"image_size": {"int": [8, 32]}}}, "image_size say is read before it"),
        ({"grid": {"epochs": {"int": [4, 32]}}, "asha": {}}, "asha takes its rungs from the longest trial"),
        ({"recipe": {"val_size": 0}}, "tpe learns from validation accuracy"),
        (
            {"grid": {"optimizer": {"sgd": {"momentum": [0.8, 0.9]}, "adam": {}}, "momentum": [0.5, 0.6]}},
            "a grid takes an axis once, and momentum is one both of its own and below optimizer: sgd",
        ),
    ],
)
def test_what_tpe_cannot_search_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Experiment.model_validate({"name": "x", "grid": LR, "samples": 12, "sampler": "tpe", **keys})


def test_only_combinations_that_can_be_trained_are_proposed() -> None:
    space = {"lr": [0.1, 0.2], "batch_size": {"int": [1, 8]}, "nesterov": [True], "momentum": [0.0, 0.9]}
    experiment = Experiment.model_validate(
        {"name": "x", "grid": {**space, "nesterov": [False, True]}, "samples": 9, "sampler": "tpe", "seeds": [0, 1]}
        | {"exclude": [{"lr": 0.2}], "resources": {"workers": 2}, "round_size": 1}
    )
    good = {"lr": 0.1, "batch_size": 4, "nesterov": True, "momentum": 0.9}
    assert [trial.recipe.seed for trial in experiment.proposed(good)] == [0, 1]
    for bad in ({"momentum": 0.0}, {"lr": 0.2}, {"batch_size": 1}, {"lr": 0.3}):
        assert experiment.proposed(good | bad) == []
    assert experiment.replace(sampler="random").proposed(good) == []


def test_tpe_counts_its_tries() -> None:
    asked: list[dict[str, Any]] = []
    assert propose(LR, [], count=2, seed=0, acceptable=lambda one: bool(asked.append(one))) == []
    assert len(asked) == 2 * tpe.TRIES
