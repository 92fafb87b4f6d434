"""Tests of raytrain.experiment.reading: every mistake is answered with its place, what is allowed and what to do."""

import re
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import ExperimentError
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reading import default_experiment, read_experiment, read_run
from raytrain.experiment.search.assignments import parse_axes, parse_overrides
from raytrain.experiment.yaml_source import parse_value
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("x.yaml")


def read(file: Path, text: str, *sets: str, **changes: Any) -> Experiment:
    file.write_text(text)
    return read_experiment(file, overrides=parse_overrides(sets), changes=changes)


def message(file: Path, text: str, *sets: str, **changes: Any) -> str:
    with pytest.raises(ExperimentError) as caught:
        read(file, text, *sets, **changes)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_an_empty_mapping_is_the_default_recipe_named_after_the_file(file: Path):
    experiment = read(file, "{}")
    assert experiment == Experiment(name="x")


def test_a_file_says_everything_an_experiment_has(file: Path):
    experiment = read(
        file,
        "name: lr\n"
        "recipe: {arch: resnet34, epochs: 20, augment: [crop, flip]}\n"
        "grid: {lr: [5e-3, 1e-2], schedule: [constant, cosine]}\n"
        "exclude: [{schedule: constant, lr: 1e-2}]\n"
        "include: [{optimizer: adam, lr: 1e-3}]\n"
        "seeds: [0, 1]\n"
        "asha: {grace_period: 5, reduction_factor: 4}\n"
        "resources: {workers: 2, gpus_per_worker: 0.5, cpus_per_worker: 1, max_concurrent: 3}\n",
    )
    assert len(experiment.trials()) == (2 * 2 - 1 + 1) * 2
    assert experiment.recipe == Recipe(arch="resnet34", epochs=20, augment=("crop", "flip"))
    assert experiment.resources.gpus_per_worker == 0.5


LOCATED = [
    # unknown keys at each level, with the nearest
    ("recip: {lr: 1}", "x.yaml:1:1: unknown key 'recip'; did you mean 'recipe'?"),
    ("name: a\nrecipe:\n  learning_rat: 1", "x.yaml:3:3: unknown recipe field 'learning_rat'; choose one of arch, "),
    ("recipe: {optimiser: adam}", "x.yaml:1:10: unknown recipe field 'optimiser'; did you mean 'optimizer'?"),
    ("grid: {epoch: [1]}", "x.yaml:1:8: unknown recipe field 'epoch'; did you mean 'epochs'?"),
    ("exclude:\n  - {lr: 1}\n  - {ar: 1}", "x.yaml:3:6: unknown recipe field 'ar'; did you mean 'arch'?"),
    ("include: [{optimiser: adam}]", "x.yaml:1:12: unknown recipe field 'optimiser'; did you mean 'optimizer'?"),
    ("asha: {grace: 1}", "x.yaml:1:8: unknown key of asha 'grace'; choose one of mode, grace_period, reduction_factor"),
    ("resources: {worker: 1}", "x.yaml:1:13: unknown key of resources 'worker'; did you mean 'workers'?"),
    # wrong types
    ("recipe: [1]", "x.yaml:1:1: recipe: given [1]; must be a mapping"),
    ("recipe:", "x.yaml:1:1: recipe: given None; must be a mapping"),
    ("recipe: {lr: '0.1'}", "x.yaml:1:10: recipe.lr: given '0.1'; must be a number"),
    ("recipe: {epochs: 1.5}", "x.yaml:1:10: recipe.epochs: given 1.5; must be an integer"),
    ("recipe: {epochs: true}", "x.yaml:1:10: recipe.epochs: given True; must be an integer"),
    ("recipe: {nesterov: 1}", "x.yaml:1:10: recipe.nesterov: given 1; must be true or false"),
    ("recipe: {nesterov: yes}", "x.yaml:1:10: recipe.nesterov: given 'yes'; must be true or false"),
    ("recipe: {augment: crop}", "x.yaml:1:10: recipe.augment: given 'crop'; must be a list"),
    (
        "recipe: {arch: 18}",
        "x.yaml:1:10: recipe.arch: unknown architecture 18; write its name, or name(argument=value)",
    ),
    ("grid: [lr]", "x.yaml:1:1: grid: given ['lr']; must be a mapping"),
    ("grid: {lr: 0.1}", "x.yaml:1:8: grid.lr: given 0.1; must be a list"),
    ("exclude: {lr: 0.1}", "x.yaml:1:1: exclude: given {'lr': 0.1}; must be a list"),
    ("exclude: [5]", "x.yaml:1:11: exclude.0: given 5; must be a mapping"),
    ("include: 5", "x.yaml:1:1: include: given 5; must be a list"),
    ("seeds: 3", "x.yaml:1:1: seeds: given 3; must be a list"),
    ("seeds: [0, x]", "x.yaml:1:12: seeds.1: given 'x'; must be an integer"),
    ("asha: true", "x.yaml:1:1: asha: given True; must be a mapping"),
    ("name: 5", "x.yaml:1:1: name: given 5; must be a string"),
    # out of range
    ("recipe: {lr: -1}", "x.yaml:1:10: recipe.lr: given -1; must be greater than 0"),
    ("recipe: {lr: .inf}", "x.yaml:1:10: recipe.lr: given inf; must be a finite number"),
    (
        "recipe: {arch: resnet188}",
        "x.yaml:1:10: recipe.arch: unknown architecture 'resnet188'; did you mean 'resnet18'?",
    ),
    ("recipe: {augment: [crop, flap]}", "x.yaml:1:10: recipe.augment: unknown augmentation 'flap'; did you mean"),
    (
        "recipe: {precision: fp8}",
        "x.yaml:1:10: recipe.precision: given 'fp8'; must be 'auto', 'fp32', 'bf16' or 'fp16'",
    ),
    ("recipe: {dataset: ''}", "x.yaml:1:10: recipe.dataset: given ''; must be text"),
    ("recipe: {epochs: 5, warmup_epochs: 5}", "x.yaml:1:1: recipe: warmup_epochs: 5 leaves no epoch after it"),
    ("separate: {}", "x.yaml:1:1: separate: points is missing; it must be given"),
    ("name: a\nseparate: {max_seeds: 5}", "x.yaml:2:1: separate: points is missing; it must be given"),
    ("asha: {grace_period: 2.5}", "x.yaml:1:8: asha.grace_period: 2.5 epochs is not a whole number"),
    ("resources: {workers: 0}", "x.yaml:1:13: resources.workers: given 0; must be greater than or equal to 1"),
    ("resources: {gpus_per_worker: many}", "x.yaml:1:13: resources.gpus_per_worker: given 'many'; must be 'auto' or"),
    ("name: ../x", "x.yaml:1:1: name: '../x' cannot name a run"),
    # items of the grid, and combinations
    ("grid:\n  lr:\n    - 0.1\n    - -1", "x.yaml:4:7: grid.lr: given -1; must be greater than 0"),
    ("grid: {lr: [0.1, .nan]}", "x.yaml:1:18: grid.lr: given nan; must be a finite number"),
    ("grid: {epochs: [1, true]}", "x.yaml:1:20: grid.epochs: given True; must be an integer"),
    ("grid: {arch: [resnet18, vit]}", "x.yaml:1:25: grid.arch: unknown architecture 'vit'; choose one of resnet18"),
    ("grid: {augment: [[crop], [flap]]}", "x.yaml:1:26: grid.augment: unknown augmentation 'flap'"),
    ("grid: {augment: [crop]}", "x.yaml:1:18: grid.augment: given 'crop'; must be a list"),
    ("include: [{lr: 1}, {lr: -1}]", "x.yaml:1:21: the trial {lr: -1}: lr: given -1; must be greater than 0"),
    (
        "name: a\ngrid: {epochs: [9, 5], warmup_epochs: [0, 7]}",
        "x.yaml:2:1: the trial {epochs: 5, warmup_epochs: 7}: warmup_epochs: 7 leaves no epoch after it",
    ),
]


@pytest.mark.parametrize(("text", "expected"), LOCATED)
def test_a_mistake_is_shown_with_its_place_and_what_is_allowed(file: Path, text: str, expected: str):
    assert message(file, text).startswith(expected)


SCHEMA = Experiment.model_json_schema()
SECTIONS = {
    name: list(SCHEMA["$defs"][option["$ref"].rpartition("/")[2]]["properties"])
    for name, value in SCHEMA["properties"].items()
    for option in value.get("anyOf", [value])
    if "$ref" in option
}
"""The keys of each section of an experiment file, as pydantic's JSON schema lists them."""


def test_the_schema_has_the_sections_that_are_known():
    assert {"recipe", "asha", "confirm", "resources"} <= SECTIONS.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_key_of_any_section_is_shown_with_its_line_and_the_nearest_key(file: Path, section: str):
    for key in SECTIONS[section]:
        misspelt = key + key[-1]
        text = message(file, f"name: a\n{section}:\n  {misspelt}: 3")
        assert text.startswith("x.yaml:3:3: unknown ")
        assert text.endswith(f" {misspelt!r}; did you mean {key!r}?")


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lr=5e-3", {"lr": 0.005}),
        ("augment=[crop, flip]", {"augment": ["crop", "flip"]}),
        ("nesterov=true", {"nesterov": True}),
        ("arch= resnet34 ", {"arch": "resnet34"}),
        (" lr =1", {"lr": 1}),
        # text is taken as it is: a path is no YAML
        ("dataset=/data/a=b: [c]", {"dataset": "/data/a=b: [c]"}),
        ("dataset=2024", {"dataset": "2024"}),
    ],
)
def test_an_assignment_is_read_as_the_field_is(text: str, value: dict[str, Any]):
    assert parse_overrides([text]) == value


def test_the_last_of_two_assignments_counts():
    assert parse_overrides(["lr=1", "lr=2"]) == {"lr": 2}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["lr=0.1", "lr=0.01"], "--grid lr=0.01: lr is given twice; write --grid lr=0.1,0.01"),
        (["lr=0.1", "momentum=0", " lr = 0.1 "], "lr is given twice; write --grid lr=0.1,0.1"),
        (["lr=0.1", "lr=log:1e-4:1"], "--grid lr=log:1e-4:1: lr is given twice; leave one of them out"),
        (["arch.depth=2", "arch.depth=3"], "arch.depth is given twice; write --grid arch.depth=2,3"),
    ],
)
def test_the_first_of_two_axes_of_one_field_is_not_dropped(texts: list[str], expected: str):
    with pytest.raises(ExperimentError, match=f"{re.escape(expected)}$"):
        parse_axes(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr", "--set lr: write it as field=value, for example --set lr=0.05"),
        ("=3", "--set =3: unknown recipe field ''"),
        ("epoch=3", "--set epoch=3: unknown recipe field 'epoch'; did you mean 'epochs'?"),
        ("augment=[crop", "--set augment=[crop:1:6: not valid YAML"),
        ("lr=!!python/name:os.system", "--set lr=!!python/name:os.system:1:1: the tag"),
        ("lr=2020-01-01", "--set lr=2020-01-01:1:1: 2020-01-01 is read as a date"),
        ("lr=", "--set lr=None: given None; must be a number"),
        ("lr=abc", "--set lr='abc': given 'abc'; must be a number"),
        ("lr=-1", "--set lr=-1: given -1; must be greater than 0"),
        ("arch=resnet188", "--set arch='resnet188': unknown architecture 'resnet188'; did you mean 'resnet18'?"),
        ("augment=crop", "--set augment='crop': given 'crop'; must be a list"),
        ("epochs=0", "--set epochs=0: given 0; must be greater than or equal to 1"),
    ],
)
@pytest.mark.parametrize("content", ["{}", "recipe: {lr: 1, epochs: 7}\ngrid: {lr: [1], arch: [resnet18]}"])
def test_a_mistake_in_an_assignment_is_not_blamed_on_the_file(file: Path, content: str, text: str, expected: str):
    assert message(file, content, text).startswith(expected)


def test_an_assignment_changes_the_recipe(file: Path):
    assert read(file, "recipe: {lr: 1, epochs: 7}", "lr=2").recipe == Recipe(lr=2, epochs=7)


def test_an_assignment_fixes_the_axis_of_its_field(file: Path):
    experiment = read(file, "grid: {lr: [0.1, 0.2], arch: [resnet18, resnet34]}", "lr=0.5")
    assert [(t.recipe.lr, t.recipe.arch) for t in experiment.trials()] == [(0.5, "resnet18"), (0.5, "resnet34")]


def test_an_assignment_of_a_list_is_one_value_of_its_axis(file: Path):
    (trial,) = read(file, "grid: {augment: [[], [crop]]}", "augment=[crop, flip]").trials()
    assert trial.recipe.augment == ("crop", "flip")


def test_fixing_the_only_axis_keeps_the_grid_beside_include(file: Path):
    experiment = read(file, "grid: {lr: [0.1, 0.2]}\ninclude: [{optimizer: adam, lr: 0.001}]", "lr=0.5")
    assert [(t.recipe.optimizer, t.recipe.lr) for t in experiment.trials()] == [("sgd", 0.5), ("adam", 0.5)]


def test_an_assignment_of_the_seed_replaces_the_seeds(file: Path):
    experiment = read(file, "seeds: [0, 1, 2]", "seed=7")
    assert [trial.recipe.seed for trial in experiment.trials()] == [7]


# ---------------------------------------------------------------- options


def test_changes_replace_top_level_keys_and_merge_resources(file: Path):
    experiment = read(
        file,
        "name: a\nasha: {grace_period: 2}\nresources: {workers: 2, cpus_per_worker: 3}",
        name="b",
        asha=None,
        seeds=[4, 5],
        resources={"workers": 4},
    )
    assert experiment.name == "b"
    assert experiment.asha is None
    assert experiment.seeds == (4, 5)
    assert (experiment.resources.workers, experiment.resources.cpus_per_worker) == (4, 3)


def test_an_axis_of_an_option_takes_the_place_of_dependent_ones_of_its_name(file: Path):
    text = "name: a\ngrid: {optimizer: {sgd: {momentum: [0.8, 0.9], nesterov: [true]}, adam: {}}, lr: [0.1]}"
    experiment = read(file, text, grid={"momentum": [0.5, 0.6]})
    assert experiment.grid == {
        "optimizer": {"sgd": {"nesterov": (True,)}, "adam": {}},
        "lr": (0.1,),
        "momentum": (0.5, 0.6),
    }


@pytest.mark.parametrize("sampler", ["grid", "random", "sobol", "tpe"])
@pytest.mark.parametrize(
    ("grid", "axis", "expected"),
    [
        (
            "{optimizer: {adam: {lr: [1]}}, lr: [2]}",
            "optimizer.adam.lr",
            "lr is one both of its own and below optimizer",
        ),
        (
            "{lr: [2], optimizer: {adam: {lr: [1]}}}",
            "optimizer.adam.lr",
            "lr is one both of its own and below optimizer",
        ),
        (
            "{optimizer: {sgd: {lr: [1]}}, schedule: {cosine: {lr: [2]}}}",
            "schedule.cosine.lr",
            "lr is one both below optimizer: sgd and below schedule: cosine",
        ),
        ("{optimizer: {sgd: {optimizer: [adam]}}}", "optimizer.sgd.optimizer", "optimizer is one both of its own and"),
    ],
)
def test_an_axis_at_two_places_of_one_combination_is_refused_for_every_sampler(
    file: Path, grid: str, axis: str, expected: str, sampler: str
):
    rest = "" if sampler == "grid" else "\nsamples: 4"
    text = message(file, f"sampler: {sampler}\ngrid: {grid}{rest}")
    assert expected in text
    assert text.endswith("a combination would have two values of it; remove one of the two")
    if sampler != "tpe":
        assert text.startswith(f"x.yaml:2:{8 + grid.rindex('{' + axis.rpartition('.')[2] + ':')}: ")
        options = {"name": "a", "grid": parse_value(grid, name="grid"), "samples": None if sampler == "grid" else 4}
        with pytest.raises(ExperimentError, match=f"^grid.{axis}: a grid takes an axis once"):
            default_experiment("a", changes={**options, "sampler": sampler})


def test_an_axis_may_stand_below_several_values_of_one_axis(file: Path):
    text = "grid: {optimizer: {sgd: {lr: [0.1, 0.2]}, adam: {lr: [0.001]}}}"
    assert [trial.recipe.lr for trial in read(file, text).trials()] == [0.1, 0.2, 0.001]
    both = text.replace("grid: {", "grid: {lr: [1], ")
    assert [trial.recipe.lr for trial in read(file, both, grid={"lr": [0.5]}).trials()] == [0.5, 0.5]


def test_a_run_of_an_earlier_version_with_an_axis_at_two_places_can_still_be_read(tmp_path: Path):
    (tmp_path / "experiment.yaml").write_text("name: a\ngrid: {optimizer: {adam: {lr: [1]}}, lr: [2]}")
    assert read_run(Folder.at(tmp_path)).grid["lr"] == (2,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "../x"}, "name: '../x' cannot name a run"),
        ({"seeds": [1, 1]}, "seeds: [1, 1] names a seed twice"),
        ({"seeds": [-1]}, "seeds.0: given -1; must be greater than or equal to 0"),
        ({"resources": {"workers": 9999}}, "resources.workers: given 9999; must be less than or equal to 4096"),
    ],
)
def test_a_mistake_in_an_option_is_not_blamed_on_the_file(file: Path, changes: dict[str, Any], expected: str):
    assert message(file, "name: a\nseeds: [0]\nresources: {workers: 1}", **changes).startswith(expected)


def test_a_mistake_in_the_file_is_not_blamed_on_an_option_of_the_same_section(file: Path):
    text = message(file, "resources: {cpus_per_worker: 0}", resources={"workers": 2})
    assert text.startswith("x.yaml:1:13: resources.cpus_per_worker: given 0")


@pytest.mark.parametrize("grid", ["~", "{lr: ~}", "{lr: 5}", "[lr]", "{lr: {choice: [0.1]}}", "{optimizer: {sgd: {}}}"])
def test_a_mistake_in_an_axis_of_an_option_is_said_whatever_the_file_has_as_grid(file: Path, grid: str):
    text = message(file, f"grid: {grid}", grid={"lr": [0.1, -1]})
    assert "lr: -1}: lr: given -1; must be greater than 0" in text


def test_a_list_below_a_value_is_refused_where_that_value_is_set(file: Path):
    text = message(file, "grid: {optimizer: {sgd: [0.8, 0.9]}}", "optimizer=sgd")
    assert text.startswith(
        "x.yaml:1:8: grid.optimizer: the value 'sgd' of the axis 'optimizer' has [0.8, 0.9] below it"
    )


@pytest.mark.parametrize(
    ("sets", "changes", "expected"),
    [
        ((), {"grid": None}, "grid: given None; must be a mapping"),
        ((), {"grid": 5}, "grid: given 5; must be a mapping"),
        (("seed=1",), {"seeds": 5}, "--set seed=1 and --seeds 5 were given"),
        (("seed=1",), {"seeds": (4, 5)}, "--set seed=1 and --seeds 4,5 were given"),
    ],
)
def test_what_python_gives_in_place_of_a_grid_or_of_seeds_is_one_message(
    file: Path, sets: tuple[str, ...], changes: dict[str, Any], expected: str
):
    assert expected in message(file, "name: a", *sets, **changes)


@pytest.mark.parametrize(
    ("sets", "changes", "expected"),
    [
        ({"epoch": 3}, {}, "--set epoch=3: unknown recipe field 'epoch'; did you mean 'epochs'?"),
        ({}, {"sedds": [0]}, "unknown key 'sedds'; did you mean 'seeds'?"),
        ({}, {"sedds": None}, "unknown key 'sedds'; did you mean 'seeds'?"),
        ({}, {"resources": {"workrs": 2}}, "unknown key of resources 'workrs'; did you mean 'workers'?"),
        ({}, {"recipe": {"epoch": 3}}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
        ({}, {"include": [{"epoch": 3}]}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
        ({}, {"exclude": [{"epoch": 3}]}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
        ({}, {"grid": {"optimizer": {"sgd": {"epoch": [3]}}}}, "unknown recipe field 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_a_misspelt_key_in_python_gets_the_nearest_one(
    file: Path, sets: dict[str, Any], changes: dict[str, Any], expected: str
):
    file.write_text("name: a")
    with pytest.raises(ExperimentError) as caught:
        read_experiment(file, overrides=sets, changes=changes)
    assert str(caught.value).endswith(expected)


def test_without_a_file_the_default_recipe_is_changed():
    experiment = default_experiment("train", overrides={"lr": 0.5}, changes={"name": "mine"})
    assert experiment == Experiment(name="mine", recipe=Recipe(lr=0.5))


def test_without_a_file_a_mistake_has_no_place():
    with pytest.raises(ExperimentError, match=r"^recipe: nesterov: true needs a momentum above 0"):
        default_experiment("train", overrides={"nesterov": True, "momentum": 0})


def test_asha_that_a_command_leaves_out_is_right_all_the_same(file: Path):
    assert "asha.reduction_factor: given 1" in message(file, "asha: {reduction_factor: 1}", asha=None)
    # what depends on the recipe is not asked: --no-asha is there for it
    assert read(file, "asha: {grace_period: 99}\nrecipe: {val_size: 0}", asha=None).asha is None
