"""Arguments of a component as axes of a grid: `arch.depth: [2, 3]`."""

from pathlib import Path

import jsonschema
import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.assignments import parse_axes
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.reference import experiment_schema
from raytrain.experiment.trial import Trial
from raytrain.experiment.yaml_source import read_yaml


def read(folder: Path, text: str) -> list[Trial]:
    path = folder / "one.yaml"
    path.write_text(text)
    jsonschema.validate(read_yaml(path).values, experiment_schema())
    return read_experiment(path).trials()


def test_an_argument_varies_as_a_field_does(tmp_path: Path) -> None:
    recipe = "recipe: {arch: {airbench: {multiples: [1, 2, 2]}}}"
    trials = read(tmp_path, f"{recipe}\ngrid: {{arch.depth: [2, 3], lr: [0.1, 0.2]}}")
    # 2 is the default of depth, and a recipe leaves it out
    assert [(one.recipe.arch, one.recipe.lr) for one in trials] == [
        ("airbench(multiples=[1, 2, 2])", 0.1),
        ("airbench(multiples=[1, 2, 2])", 0.2),
        ("airbench(multiples=[1, 2, 2], depth=3)", 0.1),
        ("airbench(multiples=[1, 2, 2], depth=3)", 0.2),
    ]


def test_an_argument_varies_below_the_component_that_has_it(tmp_path: Path) -> None:
    trials = read(tmp_path, "grid: {arch: {resnet9: {}, airbench: {arch.depth: [2, 3]}}}")
    assert [one.recipe.arch for one in trials] == ["resnet9", "airbench", "airbench(depth=3)"]


def test_an_argument_is_drawn_from_a_range(tmp_path: Path) -> None:
    text = "recipe: {schedule: triangle}\ngrid: {schedule.peak: {uniform: [0.1, 0.4]}}\nsamples: 3"
    schedules = [one.recipe.schedule for one in read(tmp_path, text)]
    peaks = [float(schedule.removeprefix("triangle(peak=").removesuffix(")")) for schedule in schedules]
    assert len(set(peaks)) == 3
    assert all(0.1 <= peak <= 0.4 for peak in peaks)


def test_an_argument_is_an_axis_on_the_command_line() -> None:
    assert parse_axes(["arch.depth=2,3", "schedule.peak=uniform:0.1:0.4"]) == {
        "arch.depth": [2, 3],
        "schedule.peak": {"uniform": [0.1, 0.4]},
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "grid: {arch.depth: [3]}",
            r"\{arch\.depth: 3\}: .*resnet18: takes no arguments, given 'depth'",
        ),
        ("recipe: {arch: airbench}\ngrid: {arch.dept: [3]}", "unknown argument 'dept'; did you mean 'depth'"),
        ("recipe: {arch: airbench}\ngrid: {arch.depth: [two]}", "depth is 'two': input should be a valid integer"),
        ("grid: {dataset.classes: [2]}", "dataset.classes: dataset digits takes no arguments; remove the axis"),
        ("grid: {epochs.more: [2]}", r"one\.yaml:1:\d+: unknown recipe field 'epochs\.more'"),
        ("grid: {augment.padding: [2]}", r"unknown recipe field 'augment\.padding'"),
    ],
)
def test_an_argument_that_is_none_is_one_message(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(tmp_path / "one.yaml")
