"""Names that installed packages give by entry points, with a package that is a folder on the path."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import raytrain
from raytrain.cli.app import app
from raytrain.errors import ExperimentError
from raytrain.experiment.reading import read_experiment
from raytrain.experiment.words import read_words
from raytrain.provenance.versions import describe_code

NETS = """
from torch import nn


def flat(num_classes, image_size, depth: int = 1):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))


def halves(progress):
    return 0.5
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a package with entry points, by group."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def installing(package: str, version: str = "1.2", **entries: str) -> None:
        module = package.replace("-", "_")
        (site / module).mkdir()
        (site / module / "__init__.py").write_text("")
        (site / module / "nets.py").write_text(NETS)
        about = site / f"{module}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [f"[raytrain.{group}]\n{entry}\n" for group, entry in entries.items()]
        (about / "entry_points.txt").write_text("\n".join(lines))

    return installing


def test_a_name_of_a_package_is_the_code_it_names(install: Install, tmp_path: Path) -> None:
    install("some-nets", architectures="flat = some_nets.nets:flat", schedules="halves = some_nets.nets:halves")
    path = tmp_path / "one.yaml"
    path.write_text("recipe: {schedule: halves, epochs: 1}\ngrid: {arch: [resnet9, flat, {flat: {depth: 2}}]}\n")
    recipes = [trial.recipe for trial in read_experiment(path).trials()]
    named = raytrain.code("some_nets.nets:flat")
    assert [one.arch for one in recipes] == ["resnet9", named, f"{named}(depth=2)"]
    assert recipes[0].schedule == raytrain.code("some_nets.nets:halves")
    assert recipes[1].build_network(3)[1].out_features == 3
    assert read_words(["flat", "resnet9"]) == (None, ["flat", "resnet9"])


def test_a_folder_of_the_same_name_does_not_stand_for_an_installed_package(install: Install, tmp_path: Path) -> None:
    install("some-nets", architectures="flat = some_nets.nets:flat")
    beside = tmp_path / "some_nets"
    beside.mkdir()
    (beside / "__init__.py").write_text("")
    (beside / "nets.py").write_text("def flat(num_classes):\n    raise OSError\n")
    path = tmp_path / "one.yaml"
    path.write_text("recipe: {arch: flat}\n")
    (trial,) = read_experiment(path).trials()
    assert trial.recipe.build_network(3)[1].out_features == 3


def test_the_manifest_and_the_list_of_names_say_the_package_and_its_version(install: Install) -> None:
    install("some-nets", architectures="flat = some_nets.nets:flat")
    assert describe_code()["packages"]["some-nets"] == "1.2"
    shown = CliRunner().invoke(app, ["fields", "arch"]).stdout
    assert "flat: some_nets.nets:flat, of some-nets 1.2" in shown
    assert all(one in shown for one in ("  resnet18\n", "  timm:NAME", "  torchvision:NAME"))


def test_a_name_of_raytrains_own_goes_before_that_of_a_package(install: Install, tmp_path: Path) -> None:
    install("some-nets", architectures="resnet9 = some_nets.nets:flat")
    (tmp_path / "one.yaml").write_text("recipe: {arch: resnet9}\n")
    assert read_experiment(tmp_path / "one.yaml").recipe.arch == "resnet9"


@pytest.mark.parametrize(
    ("value", "twice", "problem"),
    [
        (
            "some_nets.nets:flat",
            True,
            r"flat is a name of more-nets 1\.2 and of some-nets 1\.2; write which: more",
        ),
        ("some_nets.nets", False, r"some-nets 1\.2 says that flat is 'some_nets\.nets', .*must be a module and a name"),
        ("some_nets.gone:flat", False, r"there is no module 'some_nets\.gone'"),
        ("some_nets.nets:round", False, r"nets\.py: has no 'round'; it has flat, halves"),
    ],
    ids=["two packages", "no name", "no module", "no such name"],
)
def test_a_name_that_means_nothing_is_one_message(
    install: Install, tmp_path: Path, value: str, twice: bool, problem: str
) -> None:
    install("some-nets", architectures=f"flat = {value}")
    if twice:
        install("more-nets", architectures="flat = more_nets.nets:flat")
    (tmp_path / "one.yaml").write_text("recipe: {arch: flat}\n")
    with pytest.raises(ExperimentError, match=problem):
        read_experiment(tmp_path / "one.yaml")
