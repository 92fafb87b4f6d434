"""The source distribution holds all that the wheel is built from, and no tests, which would fail there."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pathspec
import pytest

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
    assert {"raytrain/__init__.py", "experiments/quick.yaml"} <= wheel
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wheel | {project["readme"], *project["license-files"]} <= inside


def test_each_line_of_the_sdist_names_something_that_is_there(targets: dict[str, Any], tracked: list[str]) -> None:
    assert [line for line in targets["sdist"]["include"] if not chosen([line], tracked)] == []
