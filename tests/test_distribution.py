"""The source distribution holds all that the wheel is built from, and no tests; a release has absolute links."""

import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pathspec
import pytest
from ruamel.yaml import YAML

from raytrain.cluster.template import TEMPLATES
from raytrain.experiment.shipped import SHIPPED_FILES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def targets() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def chosen(patterns: list[str], files: list[str]) -> set[str]:
    """Return the files that Hatch takes for patterns: they read as those of .gitignore."""
    return set(pathspec.GitIgnoreSpec.from_lines(patterns).match_files(files))


def test_the_sdist_has_no_tests(targets: dict[str, Any], tracked: list[str]) -> None:
    assert not [name for name in chosen(targets["sdist"]["include"], tracked) if name.startswith("tests/")]


def test_a_sdist_with_tests_would_be_seen(targets: dict[str, Any], tracked: list[str]) -> None:
    assert "tests/test_distribution.py" in chosen([*targets["sdist"]["include"], "/tests"], tracked)


def test_the_wheel_can_be_built_from_the_sdist(targets: dict[str, Any], tracked: list[str]) -> None:
    inside = chosen(targets["sdist"]["include"], tracked)
    wheel = chosen(targets["wheel"]["include"], tracked)
    assert {"raytrain/__init__.py", *(f"experiments/{name}" for name in SHIPPED_FILES)} <= wheel
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wheel | {"README.md", "hatch_build.py", *project["license-files"]} <= inside


def test_each_line_of_the_sdist_names_something_that_is_there(targets: dict[str, Any], tracked: list[str]) -> None:
    assert [line for line in targets["sdist"]["include"] if not chosen([line], tracked)] == []


def built(kind: str, folder: Path, *, address: str, source: Path = ROOT) -> Path:
    """Build a wheel or an sdist in `folder`, and return its path."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    environment = {**os.environ, "RAYTRAIN_URL": address}
    subprocess.run(words, cwd=source, env=environment, check=True, capture_output=True)
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def metadata_of(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(about).decode())


def test_a_release_names_the_address_and_every_link_of_its_readme_leads_there(tmp_path: Path) -> None:
    about = metadata_of(built("wheel", tmp_path, address="https://example.org/me/raytrain/"))
    assert dict(line.split(", ") for line in about.get_all("Project-URL", [])) == {
        "Homepage": "https://example.org/me/raytrain",
        "Documentation": "https://example.org/me/raytrain/blob/main/docs/README.md",
        "Changelog": "https://example.org/me/raytrain/blob/main/CHANGELOG.md",
        "Issues": "https://example.org/me/raytrain/issues",
    }
    readme = str(about.get_payload())
    targets = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith(("https://", "#"))
        inside = target.removeprefix("https://example.org/me/raytrain/blob/main/")
        assert inside == target or (ROOT / inside.partition("#")[0]).exists()


@pytest.fixture(scope="module")
def plain_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built without an address."""
    return built("wheel", tmp_path_factory.mktemp("plain"), address="")


def test_without_an_address_the_readme_stays_as_it_is(plain_wheel: Path) -> None:
    about = metadata_of(plain_wheel)
    assert about.get_all("Project-URL") is None
    assert str(about.get_payload()).strip() == (ROOT / "README.md").read_text().strip()


def test_the_wheel_has_a_template_for_each_kind_of_cluster_as_it_is_here(plain_wheel: Path) -> None:
    inside = "raytrain/cluster/templates/"
    with ZipFile(plain_wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name.startswith(inside)}
    assert found == {f"{inside}{file}": (ROOT / inside / file).read_bytes() for file in TEMPLATES.values()}


def test_a_wheel_from_the_sdist_of_a_release_keeps_its_links(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path, address="https://example.org/me/raytrain")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    about = metadata_of(built("wheel", tmp_path, address="", source=unpacked))
    assert "](https://example.org/me/raytrain/blob/main/LICENSE)" in str(about.get_payload())
    assert len(about.get_all("Project-URL", [])) == 4


@pytest.mark.parametrize("template", ["cluster.yaml", "cluster.gcp.yaml", "cluster.local.yaml"])
def test_what_a_cluster_file_copies_to_the_nodes_can_be_installed_there(template: str, tmp_path: Path) -> None:
    copied = YAML(typ="safe", pure=True).load((ROOT / template).read_text())["file_mounts"].values()
    for name in (one for one in copied if not one.startswith("~")):  # not the token of the user's
        (tmp_path / name).symlink_to(ROOT / name)
    assert metadata_of(built("wheel", tmp_path / "dist", address="", source=tmp_path))["Name"] == "raytrain"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("![a report](docs/report.png)", "![a report](https://x/raw/main/docs/report.png)"),
        ("[a](docs/a.md#b), [c](#d)", "[a](https://x/blob/main/docs/a.md#b), [c](#d)"),
        ("[a](https://y/z) (docs/a.md)", "[a](https://y/z) (docs/a.md)"),
    ],
)
def test_links_and_pictures_of_the_repository_become_absolute(text: str, expected: str) -> None:
    assert runpy.run_path(str(ROOT / "hatch_build.py"))["with_absolute_links"](text, "https://x") == expected
