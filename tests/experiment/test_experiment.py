"""Tests of raytrain.experiment.experiment: which trials an experiment stands for, and what it refuses."""

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain.errors import ExperimentError
from raytrain.experiment import experiment as experiment_module
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.search.combination import CombinationError
from raytrain.experiment.sections import MAX_TRIALS, Asha, Resources
from raytrain.experiment.trial import Trial
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.training.recipe import Recipe


def experiment(**keys: Any) -> Experiment:
    return Experiment.model_validate({"name": "x", **keys})


def changes(trials: list[Trial], *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(trial.recipe, field) for field in fields) for trial in trials]


# ---------------------------------------------------------------- trials


def test_trials_that_select_by_different_metrics_are_refused() -> None:
    experiment = Experiment.model_validate({"name": "x", "grid": {"select": ["accuracy", "nll"]}})
    with pytest.raises(ExperimentError, match="select is accuracy in some trials and nll in others: one metric ranks"):
        experiment.trials()


def test_without_a_grid_the_recipe_is_the_one_trial():
    (trial,) = experiment(recipe={"lr": 0.3}).trials()
    assert trial.recipe == Recipe(lr=0.3)


def test_the_grid_is_a_cross_product_in_listed_order():
    trials = experiment(grid={"lr": [0.1, 0.2], "arch": ["resnet34", "resnet18"]}).trials()
    assert changes(trials, "lr", "arch") == [
        (0.1, "resnet34"),
        (0.1, "resnet18"),
        (0.2, "resnet34"),
        (0.2, "resnet18"),
    ]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ({"lr": 0.1}, [(0.2, "cosine"), (0.2, "linear"), (0.3, "cosine"), (0.3, "linear")]),
        ({"lr": [0.1, 0.3]}, [(0.2, "cosine"), (0.2, "linear")]),
        (
            {"lr": [0.1, 0.2], "schedule": "linear"},
            [(0.1, "cosine"), (0.2, "cosine"), (0.3, "cosine"), (0.3, "linear")],
        ),
    ],
)
def test_exclude_leaves_out_what_matches_every_field(entry: dict[str, Any], left: list[tuple[Any, ...]]):
    trials = experiment(grid={"lr": [0.1, 0.2, 0.3], "schedule": ["cosine", "linear"]}, exclude=[entry]).trials()
    assert changes(trials, "lr", "schedule") == left


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (["crop"], [(), ("crop", "flip")]),
        ([], [("crop",), ("crop", "flip")]),
        ([["crop"], []], [("crop", "flip")]),
        (["flip", "crop"], [(), ("crop",), ("crop", "flip")]),
    ],
)
def test_exclude_compares_augment_as_a_whole_list(wanted: list[Any], left: list[tuple[str, ...]]):
    trials = experiment(grid={"augment": [[], ["crop"], ["crop", "flip"]]}, exclude=[{"augment": wanted}]).trials()
    assert [trial.recipe.augment for trial in trials] == left


def test_an_excluded_combination_need_not_be_a_valid_recipe():
    grid = {"layer_decay": [1.0, 0.7], "backbone_lr_factor": [1.0, 0.1]}
    trials = experiment(grid=grid, exclude=[{"layer_decay": 0.7, "backbone_lr_factor": 0.1}]).trials()
    assert [(one.recipe.layer_decay, one.recipe.backbone_lr_factor) for one in trials] == [(1, 1), (1, 0.1), (0.7, 1)]
    with pytest.raises(ExperimentError, match="both say how fast"):
        experiment(grid=grid, exclude=[{"layer_decay": 0.7, "backbone_lr_factor": 0.5}]).trials()


def test_exclude_also_compares_fields_that_are_no_axis():
    trials = experiment(grid={"lr": [0.1, 0.2]}, exclude=[{"lr": 0.1, "arch": "resnet34"}]).trials()
    assert len(trials) == 2


def test_include_adds_trials_after_the_grid():
    trials = experiment(grid={"lr": [0.1]}, include=[{"optimizer": "adam", "lr": 0.001}]).trials()
    assert changes(trials, "optimizer", "lr") == [("sgd", 0.1), ("adam", 0.001)]


def test_exclude_does_not_touch_what_include_lists():
    trials = experiment(grid={"lr": [0.1, 0.2]}, exclude=[{"lr": 0.1}], include=[{"lr": 0.1}]).trials()
    assert changes(trials, "lr") == [(0.2,), (0.1,)]


def test_include_without_a_grid_is_a_list_of_trials():
    trials = experiment(include=[{"lr": 0.1}, {"lr": 0.2, "momentum": 0.5}]).trials()
    assert changes(trials, "lr", "momentum") == [(0.1, 0.9), (0.2, 0.5)]


def test_every_trial_is_run_with_each_seed():
    trials = experiment(grid={"lr": [0.1, 0.2]}, seeds=[3, 7]).trials()
    assert sorted(changes(trials, "lr", "seed")) == [(0.1, 3), (0.1, 7), (0.2, 3), (0.2, 7)]


def test_without_seeds_the_recipes_own_counts():
    assert changes(experiment(recipe={"seed": 5}).trials(), "seed") == [(5,)]


def test_equal_recipes_are_one_trial():
    trials = experiment(grid={"lr": [1, 1.0, 0.5]}, include=[{"lr": 0.5}]).trials()
    assert changes(trials, "lr") == [(1.0,), (0.5,)]


# ---------------------------------------------------------------- ids


def test_an_id_is_readable_and_ends_in_the_digest():
    recipe = Recipe(arch="resnet34", optimizer="adam", lr=0.001, schedule="linear", seed=2)
    assert Trial.of(recipe).id == f"resnet34-adam-lr0.001-linear-s2-{recipe.digest}"


@pytest.mark.parametrize("lr", [1e-12, 1e12, 123456789.0, 1 / 3])
def test_an_id_is_a_safe_folder_name(lr: float):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", Trial.of(Recipe(lr=lr)).id)


@pytest.mark.slow
def test_an_id_is_the_same_in_another_process_and_experiment():
    code = "from raytrain.experiment.experiment import *; print(Experiment(name='other', seeds=(1, 0)).trials()[1].id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == experiment().trials()[0].id


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "../x"}, "cannot name a run"),
        ({"name": "/abs"}, "cannot name a run"),
        ({"name": ""}, "cannot name a run"),
        ({"name": "."}, "cannot name a run"),
        ({"name": "a" * 65}, "cannot name a run"),
        ({"name": "é"}, "cannot name a run"),
        ({"name": "a b"}, "cannot name a run"),
        ({"name": "a\n"}, "cannot name a run"),
        ({"name": "a\x00"}, "cannot name a run"),
        ({"name": "C:x"}, "cannot name a run"),
        ({"grid": {"lr": []}}, "the axis 'lr' is empty"),
        ({"grid": {"seed": [1]}}, "'seed' is not a grid axis"),
        ({"include": [{"seed": 1}]}, "'seed' cannot be in an entry"),
        ({"exclude": [{"seed": 1}]}, "'seed' cannot be in an entry"),
        ({"exclude": [{"mix": "cutmx"}]}, "mix: .*cutmx"),
        ({"exclude": [{"lr": [0.1, -0.1]}]}, "lr: .*greater than 0"),
        ({"exclude": [{"sampler": "balancd"}]}, "sampler: .*balancd"),
        ({"seeds": []}, "the list is empty"),
        ({"seeds": [1, 1]}, r"\[1, 1\] names a seed twice"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": [2**32]}, "less than 4294967296"),
        ({"seeds": [1.5]}, "integer"),
        ({"seeds": 1}, "tuple"),
        ({"asha": {"grace_period": 0}}, "greater than 0"),
        ({"asha": {"grace_period": 1.5}}, "1.5 epochs is not a whole number"),
        ({"asha": {"grace_period": math.nan}}, "finite"),
        ({"asha": {"reduction_factor": 1}}, "greater than 1"),
        ({"asha": {}, "recipe": {"val_size": 0}}, "val_size is 0"),
        ({"resources": {"workers": 0}}, "greater than or equal to 1"),
        ({"resources": {"workers": 5000}}, "less than or equal to 4096"),
        ({"resources": {"workers": True}}, "integer"),
        ({"resources": {"workers": [True, 2]}}, "no range of workers"),
        ({"resources": {"gpus_per_worker": -1}}, "greater than or equal to 0"),
        ({"resources": {"gpus_per_worker": math.inf}}, "finite"),
        ({"resources": {"cpus_per_worker": 0}}, "greater than or equal to 1"),
        ({"resources": {"max_concurrent": 0}}, "greater than or equal to 1"),
        ({"resources": {"trainer": "local", "workers": 2}}, "trainer: local is for one worker, and there are up to 2"),
        ({"resources": {"trainer": "local", "workers": [1, 3]}}, "there are up to 3; set trainer: auto"),
        ({"resources": {"trainer": "ray"}}, "'auto', 'local' or 'workers'"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_a_key_out_of_range_is_refused(keys: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        experiment(**keys)


@pytest.mark.parametrize("name", ["a", "A" * 64, "run-1.2_x", "0"])
def test_a_plain_name_is_taken(name: str):
    assert experiment(name=name).name == name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"exclude": [{}]}, "`exclude` leaves no trial of 1"),
        ({"grid": {"lr": [0.1, 0.2]}, "exclude": [{"lr": [0.1, 0.2]}]}, "`exclude` leaves no trial of 2"),
        (
            {"grid": {"arch": ["resnet9"]}, "samples": 2, "sampler": "tpe", "round_size": 1, "exclude": [{}]},
            "leaves nothing of the first round of tpe (combinations: 1); give a larger round_size (--round-size)",
        ),
        (
            {"asha": {"grace_period": 11}, "recipe": {"epochs": 10}},
            "grace_period is 11 epochs and no trial has more than 10",
        ),
        ({"asha": {}, "grid": {"val_size": [0.1, 0]}}, "val_size is 0 in some trials"),
        ({"asha": {}, "include": [{"val_size": 0}]}, "val_size is 0 in some trials"),
        (
            {"recipe": {"batch_size": 3}, "resources": {"workers": 4}},
            "batch_size 3 is less than one image for each of 4 workers; give at least 4,",
        ),
        ({"grid": {"batch_size": [8, 2]}, "resources": {"workers": [1, 3]}}, "batch_size 2 is less than one image"),
    ],
)
def test_trials_that_cannot_be_run_are_refused(keys: dict[str, Any], message: str):
    with pytest.raises(ExperimentError, match=re.escape(message)):
        experiment(**keys).trials()


@pytest.mark.parametrize(
    "keys",
    [
        # some networks can be trained on one image: that is known when they are built (execution.inputs)
        {"recipe": {"batch_size": 4}, "resources": {"workers": 4}},
        {"grid": {"batch_size": [8, 3]}, "resources": {"workers": [1, 3]}},
        # ASHA then stops nothing: `--set epochs=1` works with any share as the grace period
        {"asha": {"grace_period": 10}, "recipe": {"epochs": 10}},
        {"asha": {"grace_period": 0.25}, "recipe": {"epochs": 1}},
        {"asha": {"grace_period": 20}, "grid": {"epochs": [10, 20]}},
    ],
)
def test_trials_at_the_edge_of_what_can_be_run_are_accepted(keys: dict[str, Any]):
    assert experiment(**keys).trials()


def test_a_grid_beyond_the_limit_is_refused_before_it_is_expanded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(experiment_module.Trial, "of", lambda _: pytest.fail("expanded"))
    huge = experiment(grid={"lr": [0.1] * 1000, "momentum": [0.5] * 1000, "epochs": [1] * 1000}, seeds=[0, 1])
    with pytest.raises(ExperimentError, match=f"has 2,000,000,000 trials, more than the {MAX_TRIALS:,} allowed"):
        huge.trials()


def test_a_combination_that_is_no_recipe_carries_its_changes():
    with pytest.raises(CombinationError, match="warmup_epochs: 7") as caught:
        experiment(grid={"epochs": [9, 5], "warmup_epochs": [7]}).trials()
    assert caught.value.changes == {"epochs": 5, "warmup_epochs": 7}


def test_the_first_of_several_faults_of_a_combination_is_named():
    with pytest.raises(CombinationError, match=r"'momentum': 2.*: lr Input should be greater than 0") as caught:
        experiment(grid={"momentum": [2], "lr": [-1]}).trials()
    assert len(caught.value.cause.errors()) == 2


def test_replace_validates_again():
    assert experiment().replace(name="other").name == "other"
    with pytest.raises(ValidationError):
        experiment().replace(name="../x")


# ---------------------------------------------------------------- asha


@pytest.mark.parametrize(
    ("grace_period", "epochs", "first"),
    [(0.25, 200, 50), (0.25, 10, 3), (0.25, 1, 1), (1, 200, 1), (30, 200, 30), (0.07, 100, 7), (0.55, 100, 55)],
)
def test_the_first_rung_is_in_epochs_or_a_share_of_them_rounded_up(grace_period: float, epochs: int, first: int):
    assert Asha(grace_period=grace_period).first_rung(epochs) == first


def test_resources_may_be_fractions_of_a_gpu_and_auto():
    assert Resources(gpus_per_worker=0.25).gpus_per_worker == 0.25
    assert Resources().cpus_per_worker == "auto"


# ---------------------------------------------------------------- properties

AXES: dict[str, list[Any]] = {
    "arch": ["resnet18", "resnet34", "resnet50"],
    "lr": [0.1, 0.2, 0.5],
    "schedule": ["constant", "cosine"],
    "augment": [[], ["crop"], ["crop", "flip"]],
    "nesterov": [False, True],
}


@st.composite
def grids(draw: st.DrawFn) -> dict[str, list[Any]]:
    axes = draw(st.lists(st.sampled_from(list(AXES)), unique=True, min_size=1, max_size=3))
    return {axis: draw(st.lists(st.sampled_from(AXES[axis]), unique_by=str, min_size=1)) for axis in axes}


@st.composite
def experiments(draw: st.DrawFn) -> dict[str, Any]:
    grid = draw(grids())
    one = st.fixed_dictionaries({}, optional={axis: st.sampled_from(values) for axis, values in grid.items()})
    # a learning rate that no grid has, so that an included trial is a new one
    new = st.sampled_from([0.01, 0.02, 0.03]).map(lambda lr: {"lr": lr})
    return {
        "name": "x",
        "grid": grid,
        "exclude": draw(st.lists(one.filter(bool), max_size=2)),
        "include": draw(st.lists(new, max_size=2, unique_by=str)),
        "seeds": draw(st.none() | st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=2)),
    }


def count_by_hand(values: dict[str, Any]) -> int:
    combinations = [dict(zip(values["grid"], row, strict=True)) for row in itertools.product(*values["grid"].values())]
    kept = [c for c in combinations if not any(all(c[k] == v for k, v in e.items()) for e in values["exclude"])]
    return (len(kept) + len(values["include"])) * len(values["seeds"] or [0])


@settings(max_examples=25)
@given(experiments())
def test_there_are_as_many_trials_as_the_product_less_excluded_plus_included(values: dict[str, Any]):
    expected = count_by_hand(values)
    assume(expected > 0)
    trials = Experiment.model_validate(values).trials()
    assert len(trials) == expected
    assert len({trial.id for trial in trials}) == expected
    assert len({trial.recipe.digest for trial in trials}) == expected


@settings(max_examples=12)
@given(experiments())
def test_an_experiment_survives_yaml(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]):
    assume(count_by_hand(values) > 0)
    written = Experiment.model_validate(values)
    path: Path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(dump_yaml(written.model_dump(mode="json")))
    read = read_experiment(path)
    assert read.model_dump(mode="json") == written.model_dump(mode="json")
    assert read.trials() == written.trials()
