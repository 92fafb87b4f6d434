"""Tests of raytrain.experiment.reference: the fields of a recipe, and the JSON Schema of an experiment file."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.reference import experiment_schema, recipe_fields
from raytrain.experiment.sections import Section
from raytrain.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Draft202012Validator(experiment_schema())
EXPERIMENTS = sorted([*(ROOT / "experiments").glob("*.yaml"), *(ROOT / "experiments" / "student").glob("*.yaml")])
IN_THE_DOCS = [
    (page.name, number, block)
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(re.findall(r"```yaml\n(# \w+\.yaml\n.*?)```", page.read_text(), re.DOTALL))
]


def plain(text: str) -> Any:
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))  # keys as an editor sees them: text


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_fits_the_schema_and_names_it(path: Path):
    SCHEMA.validate(plain(path.read_text()))
    where = "../schema.json" if path.parent.name == "student" else "schema.json"
    assert f"# yaml-language-server: $schema={where}\n" in path.read_text()


@pytest.mark.parametrize(("page", "number", "block"), IN_THE_DOCS)
def test_every_experiment_of_the_documents_fits_the_schema(page: str, number: int, block: str):
    del page, number
    SCHEMA.validate(plain(block))


@pytest.mark.parametrize(
    "text",
    [
        "recip: {}",
        "recipe: {learning_rate: 0.1}",
        "recipe: {lr: fast}",
        "recipe: {lr: 0}",
        "recipe: {arch: resnet19}",
        "recipe: {augment: [crops]}",
        "recipe: {augment: crop}",
        "recipe: {schedule: {trianglo: {peak: 0.3}}}",
        "recipe: {mix: cutmax}",
        "recipe: {precision: fp64}",
        "grid: {lr: 0.1}",
        "grid: {lr: []}",
        "grid: {rate: [0.1]}",
        "grid: {lr: {loguniform: [0.1]}}",
        "grid: {optimizer: {sgd: {momentun: [0.9]}}}",
        "include: [{momentun: 0.9}]",
        "exclude: [{lr: fast}]",
        "asha: {grace: 1}",
        "seeds: [-1]",
        "sampler: bayes",
        "resources: {workers: 0}",
    ],
)
def test_what_an_experiment_does_not_take_does_not_fit_the_schema(text: str):
    assert list(SCHEMA.iter_errors(plain(text)))


def test_the_schema_beside_the_shipped_experiments_is_the_one_that_the_command_prints():
    assert json.loads((ROOT / "experiments" / "schema.json").read_text()) == experiment_schema()


def test_every_field_has_a_type_a_meaning_and_its_default():
    listed = recipe_fields()
    assert [one.name for one in listed] == list(Recipe.model_fields)
    assert all(one.kind and one.meaning.endswith((".", ")")) for one in listed)
    again = Recipe.model_validate({one.name: one.default for one in listed})
    assert again == Recipe()


def test_the_kind_says_the_limits_and_the_choices_name_arguments():
    found = {one.name: one for one in recipe_fields()}
    assert found["lr"].kind == "number > 0"
    assert found["batch_size"].kind == "whole number ≥ 1"
    assert found["label_smoothing"].kind == "number ≥ 0, < 1"
    assert found["val_size"].kind == "number ≥ 0"
    assert found["epochs"].kind == "whole number ≥ 1, ≤ 1,000,000"
    assert found["seed"].kind == "whole number ≥ 0, < 2³²"
    assert found["arch"].kind == found["columns"].kind == "text or mapping"
    assert found["background"].kind == "text"
    assert "triangle(start, peak, end)" in found["schedule"].choices
    assert found["mix"].choices == ("none", "cutmix", "mixup", "cutmix_or_mixup")
    assert found["precision"].choices == ("auto", "fp32", "bf16", "fp16")
    assert found["arch"].changes_epoch_time
    assert not found["lr"].changes_epoch_time


def test_the_page_of_fields_is_what_the_command_prints():
    printed = CliRunner().invoke(app, ["fields", "--markdown"]).stdout
    assert (ROOT / "docs" / "fields.md").read_text().partition("\n\n|")[2] == printed.removeprefix("|")


def keys_of(section: type[Section], prefix: str = "") -> dict[str, str]:
    """Return the default of every key of an experiment file but those of the recipe, as the documents write it."""
    found: dict[str, str] = {}
    for name, field in section.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        if below := next((one for one in inner if issubclass(one, Section)), None):
            found |= keys_of(below, f"{name}.")
        elif field.annotation is not Recipe:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            empty = field.is_required() or field.default_factory or default in (None, [], {})
            found[prefix + name] = "–" if empty else f"`{default}`"
    return found


def test_the_page_on_experiments_lists_every_other_key_with_its_default():
    page = (ROOT / "docs" / "experiments.md").read_text()
    table = page.partition("### The other keys of the file\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(.+?)` \| .+? \| (.+?) \|", table, re.MULTILINE))
    assert "asha.grace_period" in listed
    assert listed == keys_of(Experiment)


def test_the_page_of_fields_shows_a_dash_for_an_empty_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|", (ROOT / "docs" / "fields.md").read_text(), re.MULTILINE))
    empty = [one.name for one in recipe_fields() if one.default == ""]
    assert {name: rows[name] for name in empty} == {"columns": "–", "resolution": "–"}


def test_the_command_lists_fields_explains_one_and_names_the_nearest():
    listed = CliRunner().invoke(app, ["fields"]).stdout
    assert all(re.search(rf"^{name} ", listed, re.MULTILINE) for name in Recipe.model_fields)
    one = CliRunner().invoke(app, ["fields", "mix"]).stdout
    assert one.startswith("mix: text or mapping, none by default\n")
    assert "  cutmix_or_mixup\n" in one
    (field,) = json.loads(CliRunner().invoke(app, ["fields", "lr", "--json"]).stdout)["fields"]
    assert (field["name"], field["default"], field["kind"]) == ("lr", 0.1, "number > 0")
    wrong = CliRunner().invoke(app, ["fields", "momentun"])
    assert wrong.exit_code == 2
    assert "there is no recipe field 'momentun'; did you mean 'momentum'?" in wrong.stderr


def test_the_command_prints_the_schema():
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == experiment_schema()
