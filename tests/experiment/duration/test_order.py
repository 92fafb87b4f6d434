"""Tests of experiment.duration.costs and order: what trials are expected to cost, and the order in which they start."""

import itertools
from typing import Annotated

import pytest
from pydantic import BaseModel

from raytrain.experiment.duration.costs import Costs, kind_of
from raytrain.experiment.duration.order import LongestFirst, arranged
from raytrain.experiment.trial import Trial
from raytrain.training.choices import model_size
from raytrain.training.recipe import EpochTime, Recipe

STUDENT_HOURS = {"resnet18": 3.1, "resnet34": 8.9, "resnet50": 18.7, "resnet101": 28.1, "resnet152": 38.9}
"""Claimed by the student for 200 epochs each on a GTX 1080 Ti."""


def trial(**changes: object) -> Trial:
    return Trial.of(Recipe(**changes))


def costs_by_flops(trials: list[Trial]) -> Costs:
    return Costs({kind_of(t.recipe): float(model_size(t.recipe, 10).forward_flops) for t in trials})


def order(queue: LongestFirst) -> list[Trial]:
    return list(iter(queue.next, None))


def makespan(trials: list[Trial], hours: dict[str, float], *, slots: int) -> float:
    """Return when the last trial ends if each starts on the slot that is free first."""
    free = [0.0] * slots
    for one in trials:
        free.sort()
        free[0] += hours[one.recipe.arch]
    return max(free)


def test_before_anything_ran_the_order_is_that_of_operations_times_epochs():
    trials = [trial(arch="resnet18"), trial(arch="resnet152"), trial(arch="resnet50"), trial(epochs=1000)]
    started = order(LongestFirst([(t, t.recipe.epochs) for t in trials], costs_by_flops(trials)))
    assert [(t.recipe.arch, t.recipe.epochs) for t in started] == [
        ("resnet18", 1000),
        ("resnet152", 10),
        ("resnet50", 10),
        ("resnet18", 10),
    ]


def test_trials_of_equal_cost_start_in_listed_order():
    trials = [trial(lr=lr, seed=seed) for lr, seed in itertools.product((0.3, 0.1, 0.2), (1, 0))]
    assert order(LongestFirst([(t, 10) for t in trials], costs_by_flops(trials))) == trials


def test_what_is_left_of_the_trials_keeps_the_order_that_all_had(make_splits):
    alike = itertools.product(("fp32", "bf16"), (0.1, 0.2))  # equal in operations, and of two kinds
    trials = [trial(arch="resnet34"), *(trial(precision=precision, lr=lr) for precision, lr in alike), trial(epochs=2)]
    splits = {trials[0].recipe.data_key: make_splits()}
    whole = arranged(trials, "shortest", splits)
    assert whole == [trials[5], *trials[1:5], trials[0]]
    assert arranged(trials, "longest", splits) == [trials[0], *trials[1:5], trials[5]]
    assert arranged(trials, "listed", {}) == trials
    for left in itertools.combinations(trials, 3):
        assert arranged(left, "shortest", splits) == [one for one in whole if one in left]


def test_a_trial_that_has_few_epochs_left_waits():
    nearly, new = trial(arch="resnet50"), trial(arch="resnet34")
    queue = LongestFirst([(nearly, 1), (new, 10)], costs_by_flops([nearly, new]))
    assert order(queue) == [new, nearly]


def test_what_was_measured_outweighs_the_operations():
    first, slow, fast = trial(arch="resnet152"), trial(arch="resnet34", precision="fp32"), trial(arch="resnet50")
    costs = costs_by_flops([first, slow, fast])
    queue = LongestFirst([(t, 10) for t in (first, slow, fast)], costs)
    assert queue.next() == first
    costs.took(kind_of(fast.recipe), 10.0)
    costs.took(kind_of(slow.recipe), 30.0, epochs=2)
    assert order(queue) == [slow, fast]


def test_an_unmeasured_kind_is_expected_to_run_at_the_speed_of_the_measured_ones():
    known, unknown = kind_of(Recipe(width=8)), kind_of(Recipe(width=16))
    costs = Costs({known: 2e9, unknown: 8e9})
    costs.took(known, 3.0)
    costs.took(known, 5.0)
    assert costs.epoch_seconds(known) == pytest.approx(4.0)
    assert costs.epoch_seconds(unknown) == pytest.approx(16.0)


def test_a_trial_that_has_done_no_epoch_teaches_nothing():
    kind = kind_of(Recipe())
    costs = Costs({kind: 2e9})
    costs.took(kind, 0.0, epochs=0)
    assert costs.epoch_seconds(kind) == pytest.approx(2e9)


def test_seeds_and_learning_rates_do_not_change_the_cost_and_the_precision_does():
    kind = kind_of(Recipe())
    assert kind == kind_of(Recipe(seed=1, lr=0.2, schedule="linear", epochs=3))
    assert kind != kind_of(Recipe(precision="fp32"))


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_the_five_networks_end_within_a_tenth_of_the_lower_bound(slots: int):
    trials = [trial(arch=arch) for arch in STUDENT_HOURS]
    started = order(LongestFirst([(t, 200) for t in trials], costs_by_flops(trials)))
    bound = max(max(STUDENT_HOURS.values()), sum(STUDENT_HOURS.values()) / slots)
    assert makespan(started, STUDENT_HOURS, slots=slots) <= 1.1 * bound


def test_listed_order_would_not():
    trials = [trial(arch=arch) for arch in STUDENT_HOURS]
    bound = max(max(STUDENT_HOURS.values()), sum(STUDENT_HOURS.values()) / 2)
    assert makespan(trials, STUDENT_HOURS, slots=2) > 1.1 * bound


class Undecided(BaseModel):
    """A model whose second field does not say whether the time of an epoch depends on it."""

    width: Annotated[int, EpochTime.DEPENDS] = 1
    colour: str = "red"


def undecided(model: type[BaseModel]) -> list[str]:
    """Return the fields that do not say exactly once whether the time of an epoch depends on them."""
    return [
        name
        for name, field in model.model_fields.items()
        if sum(isinstance(mark, EpochTime) for mark in field.metadata) != 1
    ]


def test_every_recipe_field_says_whether_the_time_of_an_epoch_depends_on_it():
    assert undecided(Recipe) == []


def test_a_field_that_does_not_say_so_is_found():
    assert undecided(Undecided) == ["colour"]
