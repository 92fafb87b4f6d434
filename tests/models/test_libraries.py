"""Networks of other libraries, by their names there."""

import json
import sys

import pytest
import torch
from torchvision import models
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.errors import ExperimentError
from raytrain.experiment.rehearsal.rehearsal import rehearse
from raytrain.experiment.trial import Trial
from raytrain.models.families import LibraryNetwork, family
from raytrain.training.choices import model_size
from raytrain.training.recipe import Recipe

SMALL = {"torchvision": "torchvision:squeezenet1_1", "timm": "timm:test_resnet"}


@pytest.mark.parametrize("library", SMALL)
def test_a_network_of_a_library_has_the_classes_of_the_data(library: str) -> None:
    pytest.importorskip(library)
    recipe = Recipe(arch=SMALL[library], image_size=32)
    for workers in (1, 2):
        rehearse([(recipe, 7)], workers=workers)
    network = recipe.build_network(7)
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert model_size(recipe, 7).parameters == sum(one.numel() for one in network.parameters())


def test_arguments_go_to_the_library_in_one_order() -> None:
    one = Recipe(arch="torchvision:resnet18(zero_init_residual=true, width_per_group=64)")
    assert one.arch == "torchvision:resnet18(width_per_group=64, zero_init_residual=true)"
    assert one.build_network(3).layer1[0].bn2.weight.sum() == 0
    assert Trial.of(one).id.startswith("torchvision-resnet18-sgd-")


@pytest.mark.parametrize(
    ("arch", "problem"),
    [
        ("torchvision:resnet19", r"torchvision has no network 'resnet19'; did you mean torchvision:resnet1?\d"),
        ("torchvision:fcn_resnet50", "torchvision has no network 'fcn_resnet50'"),
        ("torchvision:resnet18(depth=3)", r"architecture torchvision:resnet18\(depth=3\): TypeError: .*'depth'"),
        (
            "torchvision:googlenet(init_weights=false)",
            "returns a GoogLeNetOutputs for images of .*it must return one",
        ),
    ],
)
def test_what_the_library_does_not_have_is_one_message(arch: str, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem):
        rehearse([(Recipe(arch=arch, image_size=96), 3)])


def test_a_recipe_names_no_file_for_timm_to_read() -> None:
    with pytest.raises(ExperimentError, match="checkpoint_path names a file"):
        rehearse([(Recipe(arch="timm:resnet18d(checkpoint_path='x.pth')"), 3)])


def test_timm_is_asked_for_its_network_only_when_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    recipe = Recipe(arch="timm:resnet18d")
    with pytest.raises(ExperimentError, match=r"not installed; in the checkout of raytrain: pip install '\.\[timm\]'"):
        rehearse([(recipe, 3)])


def test_arguments_of_a_library_are_named() -> None:
    with pytest.raises(ValueError, match="give arguments by name"):
        Recipe(arch={"torchvision:resnet18": 3})  # type: ignore[arg-type]


def test_an_unknown_library_is_an_unknown_architecture() -> None:
    with pytest.raises(ValueError, match="has not been read"):  # it reads as a module of the user's
        Recipe(arch="keras:resnet18")


def test_the_names_of_a_family_begin_as_the_text_does_and_have_their_weights() -> None:
    assert family("torchvision:resnet") == [
        LibraryNetwork("torchvision:resnet101", ("IMAGENET1K_V1", "IMAGENET1K_V2")),
        LibraryNetwork("torchvision:resnet152", ("IMAGENET1K_V1", "IMAGENET1K_V2")),
        LibraryNetwork("torchvision:resnet18", ("IMAGENET1K_V1",)),
        LibraryNetwork("torchvision:resnet34", ("IMAGENET1K_V1",)),
        LibraryNetwork("torchvision:resnet50", ("IMAGENET1K_V1", "IMAGENET1K_V2")),
    ]
    assert [one.name for one in family("torchvision:*NEXT50")] == ["torchvision:resnext50_32x4d"]
    assert len(family("torchvision:")) == len(models.list_models(module=models))


def test_a_listed_name_of_timm_is_one_that_timm_builds_with_the_weights_behind_it() -> None:
    timm = pytest.importorskip("timm")
    (listed,) = family("timm:resnet18d")
    assert timm.is_model("resnet18d")
    assert listed.weights
    assert all(timm.is_model_pretrained(f"resnet18d.{tag}") for tag in listed.weights)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("arch --like resnet", "such as timm:resnet or torchvision:resnet"),
        ("arch --like torchvision:resnat", "torchvision has no such network; did you mean torchvision:resnet"),
        ("lr --like torchvision:resnet", "write `raytrain fields arch --like torchvision:resnet`"),
        ("arch --markdown --like torchvision:resnet", "--markdown and --like were given"),
    ],
)
def test_what_lists_no_family_is_one_message(words: str, problem: str) -> None:
    result = CliRunner().invoke(app, ["fields", *words.split()])
    assert (result.exit_code, problem in result.stderr) == (2, True)


def test_a_family_is_printed_in_lines_or_as_a_document() -> None:
    text = CliRunner().invoke(app, ["fields", "arch", "--like", "torchvision:resnet"]).stdout.splitlines()
    assert "torchvision:resnet18   IMAGENET1K_V1" in text
    written = json.loads(CliRunner().invoke(app, ["fields", "arch", "--like", "torchvision:resnet", "--json"]).stdout)
    assert [one["name"] for one in written["networks"]] == [line.split()[0] for line in text]


def test_without_timm_its_family_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ExperimentError, match=r"timm: needs timm.*pip install '\.\[timm\]'"):
        family("timm:resnet")
