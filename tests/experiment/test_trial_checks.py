"""Tests of raytrain.experiment.trial_checks: what an experiment may not ask of its trials together."""

import re
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import read_experiment, stored_text
from raytrain.experiment.trial_checks import refuse_what_earlier_versions_took


def read(folder: Path, text: str) -> Experiment:
    (folder / "x.yaml").write_text(text)
    return read_experiment(folder / "x.yaml")


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("grid: {dataset: [digits, cifar10]}", "dataset", "digits and cifar10"),
        ("grid: {dataset: [digits, cifar10, cifar100]}", "dataset", "digits and cifar10 and others"),
        ("grid: {dataset: {digits: {lr: [0.1]}, cifar10: {}}}", "dataset", "digits and cifar10"),
        ("grid: {optimizer: {sgd: {dataset: [digits]}, adam: {}}}", "dataset", "digits and cifar10"),
        ("grid: {lr: [0.1]}\ninclude: [{dataset: digits}]", "dataset", "cifar10 and digits"),
        ("grid: {test_size: [0.2, 0.3]}", "test_size", "0.2 and 0.3"),
        ("grid: {skip_bad: [true, false]}", "skip_bad", "True and False"),
        # although the one sample that is drawn is of one data set
        ("grid: {dataset: [digits, cifar10]}\nsamples: 1", "dataset", "cifar10 and digits"),
        ("grid: {test_size: {uniform: [0.1, 0.2]}, lr: [0.1, 0.2]}\nsamples: 1\nsampler: sobol", "test_size", "0.1"),
    ],
)
def test_trials_on_different_test_images_are_refused(tmp_path: Path, text: str, field: str, values: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        read(tmp_path, f"recipe: {{dataset: cifar10}}\n{text}")
    message = str(caught.value)
    assert f"{field} varies (" in message
    assert values in message
    assert message.endswith(f"Make one experiment for each {field}, and show them together: raytrain results RUN1 RUN2")


def test_the_size_of_the_images_and_the_validation_split_may_vary(tmp_path: Path) -> None:
    found = read(
        tmp_path, "recipe: {dataset: digits}\ngrid: {image_size: [8, 16], val_size: [20, 40], dataset: [digits]}"
    )
    assert len(found.trials()) == 4


def test_one_value_on_the_command_line_takes_the_place_of_the_axis(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("grid: {dataset: [digits, cifar10], lr: [0.1, 0.2]}")
    found = read_experiment(tmp_path / "x.yaml", overrides={"dataset": "digits"})
    assert {trial.recipe.dataset for trial in found.trials()} == {"digits"}


def test_an_experiment_that_a_run_keeps_may_still_have_several(tmp_path: Path) -> None:
    assert (
        len(Experiment.model_validate({"name": tmp_path.name, "grid": {"dataset": ["digits", "cifar10"]}}).trials())
        == 2
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("round_size: 4", "round_size: 4 is of rounds of tpe, and the sampler is random; give sampler: tpe"),
        ("round_size: 4\nsamples: 2\nsampler: sobol", "round_size: 4 is of rounds of tpe, and the sampler is sobol"),
        ("sampler: sobol", "sampler: sobol draws samples, and samples is missing"),
        ("sampler: random", "sampler: random draws samples, and samples is missing"),
    ],
)
def test_what_is_said_of_samples_and_would_change_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ExperimentError, match=re.escape(said)):
        read(tmp_path, f"grid: {{lr: [0.1, 0.2]}}\n{text}")


def test_a_copy_of_what_a_run_keeps_says_every_default_and_is_taken(tmp_path: Path) -> None:
    kept = read(tmp_path, "grid: {lr: [0.1, 0.2]}")
    assert read(tmp_path, stored_text(kept)) == kept


def test_another_sampler_on_the_command_line_may_leave_the_round_size_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("grid: {lr: {loguniform: [0.01, 1]}}\nsamples: 2\nsampler: tpe\nround_size: 4")
    assert read_experiment(tmp_path / "x.yaml", changes={"sampler": "random"}).sampler == "random"


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("grid: {epochs: [12, 24]}", "12 to 24"),
        ("grid: {epochs: [24, 12], schedule: [constant, cosine]}", "12 to 24"),
        ("recipe: {epochs: 10}\ninclude: [{}, {epochs: 5}]", "5 to 10"),
        ("grid: {epochs: {int: [8, 80]}}\nsamples: 5", " to "),
    ],
)
def test_asha_is_refused_where_trials_of_other_lengths_are_not_alike_at_an_epoch(
    tmp_path: Path, text: str, lengths: str
) -> None:
    with pytest.raises(ExperimentError, match=r"asha compares trials at the same epoch.*--no-asha") as caught:
        read(tmp_path, f"{text}\nasha: {{}}")
    assert lengths in str(caught.value)
    assert len(read(tmp_path, text).trials()) > 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("schedule: linear, lookahead: cubic", "schedule: linear"),
        ("schedule: constant, lookahead: cubic", "lookahead: cubic"),
        ("schedule: constant, resolution: {0: 24, 0.4: 32}", "resolution: 0:24,0.4:32"),
        ("schedule: constant, mix: mixup, mix_off_epochs: 2", "mix_off_epochs: 2"),
    ],
)
def test_asha_is_refused_for_several_lengths_by_the_field_that_is_the_reason(
    tmp_path: Path, fields: str, reason: str
) -> None:
    with pytest.raises(ExperimentError, match=rf"epochs: with {re.escape(reason)}, a shorter one is nearer to its end"):
        read(tmp_path, f"recipe: {{{fields}}}\ngrid: {{epochs: [12, 24]}}\nasha: {{}}")


@pytest.mark.parametrize("schedules", ["constant", "constant, cosine"])
def test_asha_takes_several_lengths_of_one_course_and_several_courses_of_one_length(
    tmp_path: Path, schedules: str
) -> None:
    axis = "epochs: [12, 24]" if schedules == "constant" else "lr: [0.1, 0.2]"
    found = read(tmp_path, f"recipe: {{warmup_epochs: 1}}\ngrid: {{{axis}, schedule: [{schedules}]}}\nasha: {{}}")
    assert found.asha


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"grid": {"lr": [0.1, 0.2]}, "sampler": "sobol"}, "sampler: sobol draws samples, and samples is missing"),
        ({"grid": {"lr": [0.1, 0.2]}, "sampler": "random"}, "sampler: random draws samples, and samples is missing"),
        ({"grid": {"lr": [0.1, 0.2]}, "samples": 2, "round_size": 4}, "round_size: 4 is of rounds of tpe"),
        ({"grid": {"epochs": [12, 24]}, "asha": {}}, "asha compares trials at the same epoch"),
        ({"grid": {"dataset": ["digits", "cifar10"]}}, "dataset varies (digits and cifar10)"),
        (
            {"grid": {"optimizer": {"sgd": {"lr": [0.1]}}, "lr": [0.2]}},
            "a grid takes an axis once, and lr is one both of its own and below optimizer: sgd",
        ),
        ({"grid": {"arch": ["airbench(depth=3)"], "arch.depth": [4, 5]}}, "airbench(depth=3) gives depth itself"),
        ({"include": [{"arch": "airbench(depth=3)", "arch.depth": 4}]}, "airbench(depth=3) gives depth itself"),
    ],
)
def test_an_experiment_made_in_python_is_refused_as_a_file_is(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    experiment = Experiment.model_validate({"name": "mine", **keys})
    with pytest.raises(ExperimentError, match=re.escape(said)) as in_python:
        refuse_what_earlier_versions_took(experiment)
    assert str(in_python.value).startswith(said)
    with pytest.raises(ExperimentError, match=re.escape(said)):
        read(tmp_path, str(keys))  # YAML reads it as it is


@pytest.mark.parametrize(
    ("text", "overrides", "changes"),
    [
        ("grid: {lr: {loguniform: [0.01, 1]}}\nsamples: 2\nsampler: tpe\nround_size: 4", {}, {"sampler": "random"}),
        ("grid: {arch: [airbench(depth=3)]}\ninclude: [{arch: airbench(depth=4), lr: 1}]", {"arch.depth": 5}, {}),
        ("grid: {arch: {airbench(depth=3): {}, airbench: {arch.depth: [4, 5]}}}", {"arch.depth": 5}, {}),
        ("grid: {dataset: [digits, cifar10]}", {"dataset": "digits"}, {}),
        ("grid: {epochs: [12, 24]}\nasha: {}", {}, {"asha": None}),
    ],
)
def test_what_has_been_read_is_not_refused_afterwards(
    tmp_path: Path, text: str, overrides: dict[str, Any], changes: dict[str, Any]
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    found = read_experiment(tmp_path / "x.yaml", overrides=overrides, changes=changes)
    refuse_what_earlier_versions_took(found)
    refuse_what_earlier_versions_took(found.replace(name="again"))
