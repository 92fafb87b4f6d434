"""Arguments of a component as axes of a grid: `arch.depth: [2, 3]`."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.reading import default_experiment, read_experiment
from raytrain.experiment.reference import experiment_schema
from raytrain.experiment.search.assignments import parse_axes, parse_overrides
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
    ("text", "values"),
    [
        ("augment=[crop(padding=2),cutout(size=4)],[flip]", [["crop(padding=2)", "cutout(size=4)"], ["flip"]]),
        ("augment=[{crop: {padding: 2}}, {cutout: 12}],[flip]", [[{"crop": {"padding": 2}}, {"cutout": 12}], ["flip"]]),
        (
            "arch=airbench(depth=3, multiples=[1,3,3]),resnet9",
            ["airbench(depth=3, multiples=[1,3,3])", "resnet9"],
        ),
        ("schedule={triangle: {peak: 0.2, end: 0.1}},cosine", [{"triangle": {"peak": 0.2, "end": 0.1}}, "cosine"]),
    ],
)
def test_a_comma_within_brackets_does_not_part_the_values_of_an_axis(text: str, values: list[Any]) -> None:
    assert parse_axes([text]) == {text.partition("=")[0]: values}


def test_an_argument_may_be_excluded_of_a_component_that_no_sample_has(tmp_path: Path) -> None:
    archs = "{airbench: {arch.depth: [2, 3]}, resnet9: {}, resnet18: {}, resnet34: {}, resnet50: {}}"
    for samples in range(1, 7):
        trials = read(tmp_path, f"grid: {{arch: {archs}}}\nsamples: {samples}\nexclude: [{{arch.depth: 3}}]")
        assert all("depth=3" not in one.recipe.arch for one in trials)


def test_entries_that_are_excluded_name_arguments_and_their_defaults(tmp_path: Path) -> None:
    grid = "grid: {arch: {resnet9: {}, airbench: {arch.depth: [2, 3, 4]}}, lr: [0.1, 0.2]}"
    trials = read(tmp_path, f"{grid}\nexclude: [{{arch.depth: 2, lr: 0.2}}, {{arch.depth: [3, 5]}}]")
    assert [(one.recipe.arch, one.recipe.lr) for one in trials] == [
        ("resnet9", 0.1),
        ("resnet9", 0.2),
        ("airbench", 0.1),
        ("airbench(depth=4)", 0.1),
        ("airbench(depth=4)", 0.2),
    ]


def test_an_argument_that_is_a_list_is_excluded_as_one_value_or_as_several(tmp_path: Path) -> None:
    grid = "recipe: {arch: airbench}\ngrid: {arch.multiples: [[1, 2, 2], [1, 2, 3], [1, 3, 3]]}"
    one = read(tmp_path, f"{grid}\nexclude: [{{arch.multiples: [1, 2, 2]}}]")
    assert [trial.recipe.arch for trial in one] == ["airbench(multiples=[1, 2, 3])", "airbench(multiples=[1, 3, 3])"]
    two = read(tmp_path, f"{grid}\nexclude: [{{arch.multiples: [[1, 2, 2], [1, 2, 3]]}}]")
    assert [trial.recipe.arch for trial in two] == ["airbench(multiples=[1, 3, 3])"]


def test_a_combination_that_does_not_take_an_argument_may_be_excluded(tmp_path: Path) -> None:
    grid = "grid: {arch: [resnet9, airbench], arch.depth: [2, 3]}"
    trials = read(tmp_path, f"{grid}\nexclude: [{{arch: resnet9, arch.depth: [2, 3]}}]")
    assert [one.recipe.arch for one in trials] == ["airbench", "airbench(depth=3)"]


def test_entries_that_are_included_name_arguments(tmp_path: Path) -> None:
    entries = "[{arch.depth: 3}, {arch: {airbench: {depth: 4}}, arch.multiples: [1, 2, 2]}]"
    trials = read(tmp_path, f"recipe: {{arch: airbench}}\ninclude: {entries}")
    assert [one.recipe.arch for one in trials] == [
        "airbench(depth=3)",
        "airbench(multiples=[1, 2, 2], depth=4)",
    ]


@pytest.mark.parametrize(
    ("text", "archs"),
    [
        ("recipe: {arch: {airbench: {multiples: [1, 2, 2]}}}", ["airbench(multiples=[1, 2, 2], depth=5)"]),
        ("recipe: {arch: airbench}\ngrid: {arch.depth: [2, 3]}", ["airbench(depth=5)"]),
        ("recipe: {arch: airbench}\ngrid: {lr: [0.1, 0.2]}", ["airbench(depth=5)"] * 2),
        ("grid: {arch: [airbench]}", ["airbench(depth=5)"]),
        ("grid: {arch: {resnet9: {}, airbench: {arch.depth: [2, 3]}}}", ["resnet9", "airbench(depth=5)"]),
        ("include: [{arch: airbench}, {arch: airbench, arch.depth: 3, lr: 1}]", ["airbench(depth=5)"] * 2),
        ("recipe: {arch: airbench}\ninclude: [{lr: 1}, {arch: airbench}]", ["airbench(depth=5)"] * 2),
        ("grid: {arch: [airbench]}\ninclude: [{arch: airbench, lr: 1}]", ["airbench(depth=5)"] * 2),
    ],
)
def test_an_argument_can_be_set_wherever_its_component_stands(tmp_path: Path, text: str, archs: list[str]) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    trials = read_experiment(path, overrides=parse_overrides(["arch.depth=5"])).trials()
    assert [one.recipe.arch for one in trials] == archs


def test_an_argument_is_set_of_a_component_that_is_set(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("grid: {schedule: [constant, cosine]}")
    overrides = parse_overrides(["schedule=triangle", "schedule.peak=0.4"])
    assert [one.recipe.schedule for one in read_experiment(path, overrides=overrides).trials()] == [
        "triangle(peak=0.4)"
    ]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("arch=airbench arch.depth=two", r"^--set arch='airbench' --set arch\.depth='two': .*depth is 'two'"),
        ("arch.depth=3", r"^--set arch\.depth=3: .*resnet18: takes no arguments"),
        ("arch=airbench arch.dept=3", r"unknown argument 'dept'; did you mean 'depth'"),
        ("mix.alpha=3", r"mix\.alpha: mix none takes no arguments"),
        ("augment.padding=3", r"unknown recipe field 'augment\.padding'"),
    ],
)
def test_an_argument_that_cannot_be_set_is_one_message(words: str, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem):
        default_experiment("one", overrides=parse_overrides(words.split()))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "grid: {arch.depth: [3]}",
            r"\{arch\.depth: 3\}: .*resnet18: takes no arguments, given 'depth'",
        ),
        ("recipe: {arch: airbench}\ngrid: {arch.dept: [3]}", "unknown argument 'dept'; did you mean 'depth'"),
        ("recipe: {arch: airbench}\ngrid: {arch.depth: [two]}", "depth is 'two': input should be a valid integer"),
        (
            "grid: {dataset.classes: [2]}",
            "dataset.classes: dataset digits takes no arguments; leave dataset.classes out",
        ),
        (
            "include: [{arch.depth: 3}]",
            r"one\.yaml:1:\d+: the trial \{arch\.depth: 3\}: .*resnet18: takes no arguments",
        ),
        (
            "grid: {arch: [airbench, {airbench: 5}]}\nexclude: [{arch.depth: 3}]",
            r"multiples is 5: input should be a valid tuple",
        ),
        ("include: [{epochs.more: 3}]", r"unknown recipe field 'epochs\.more'"),
        (
            "grid: {arch: [airbench, resnet9]}\nexclude: [{arch.dept: 3}]",
            "exclude: arch.dept is no argument of airbench, resnet9; did you mean 'arch.depth'",
        ),
        (
            "grid: {arch: [resnet18, resnet9]}\nexclude: [{arch.depth: 3}]",
            "arch.depth is no argument of resnet18, resnet9; they take none",
        ),
        ("grid: {epochs.more: [2]}", r"one\.yaml:1:\d+: unknown recipe field 'epochs\.more'"),
        ("grid: {augment.padding: [2]}", r"unknown recipe field 'augment\.padding'"),
    ],
)
def test_an_argument_that_is_none_is_one_message(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(tmp_path / "one.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # 2 is the default of depth, and the recipe of a trial leaves it out
        (
            "grid: {arch: ['airbench(depth=2)'], arch.depth: [4]}",
            r"one\.yaml:1:37: airbench\(depth=2\) gives depth itself, and arch\.depth would replace it; remove one",
        ),
        (
            "grid: {arch: [airbench, {airbench: {depth: 3}}], arch.depth: [4]}",
            r"1:\d+: airbench\(depth=3\) gives depth",
        ),
        ("grid: {arch.depth: {int: [2, 5]}, arch: {choice: [airbench(depth=2)]}}\nsamples: 2", "gives depth itself"),
        ("grid: {arch: {'airbench(depth=3)': {arch.depth: [4, 5]}}}", r"one\.yaml:1:\d+: airbench\(depth=3\) gives"),
        ("grid: {width: [8], arch: {airbench(depth=3): {}}, arch.depth: [4]}", "gives depth itself"),
        ("grid: {schedule: {triangle(peak=0.3): {optimizer: {adam: {schedule.peak: [0.1]}}}}}", "gives peak itself"),
        ("include: [{lr: 1}, {arch: airbench(depth=2), arch.depth: 4}]", r"one\.yaml:1:\d+: airbench.* gives depth"),
    ],
)
def test_an_argument_of_a_value_is_not_replaced_by_an_axis_without_a_word(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(tmp_path / "one.yaml")


def test_an_argument_is_not_replaced_by_an_axis_of_the_command_line_and_a_value_not_by_one_of_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("grid: {arch: [airbench(depth=3)]}")
    with pytest.raises(ExperimentError, match=r"^grid\.arch\.depth: airbench\(depth=3\) gives depth itself"):
        read_experiment(path, changes={"grid": parse_axes(["arch.depth=4,5"])})
    path.write_text("grid: {arch: [airbench, resnet9], arch.depth: [4, 5]}")
    with pytest.raises(ExperimentError, match=r"one\.yaml:1:\d+: airbench\(depth=3\) gives depth itself"):
        read_experiment(path, overrides=parse_overrides(["arch=airbench(depth=3)"]))


@pytest.mark.parametrize(
    ("text", "archs"),
    [
        ("recipe: {arch: airbench(depth=3)}\ngrid: {arch.depth: [4, 5]}", ["airbench(depth=4)", "airbench(depth=5)"]),
        ("recipe: {arch: airbench(depth=3)}\ninclude: [{arch.depth: 4}]", ["airbench(depth=4)"]),
        (
            "grid: {arch: {airbench(depth=5): {}, airbench: {arch.depth: [3, 4]}}}",
            ["airbench(depth=5)", "airbench(depth=3)", "airbench(depth=4)"],
        ),
        (
            "grid: {arch: ['airbench(multiples=[1, 2, 2])'], arch.depth: [3]}",
            ["airbench(multiples=[1, 2, 2], depth=3)"],
        ),
    ],
)
def test_an_axis_replaces_an_argument_of_the_recipe_and_stands_beside_others(
    tmp_path: Path, text: str, archs: list[str]
) -> None:
    assert [one.recipe.arch for one in read(tmp_path, text)] == archs


def test_an_argument_that_is_set_replaces_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("grid: {arch: [airbench(depth=3)]}\ninclude: [{arch: airbench(depth=4), lr: 1}]")
    trials = read_experiment(path, overrides=parse_overrides(["arch.depth=5"])).trials()
    assert [one.recipe.arch for one in trials] == ["airbench(depth=5)"] * 2
