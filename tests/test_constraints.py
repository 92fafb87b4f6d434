"""The pinned versions: complete, and free of addresses."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def addresses_and_options(text: str) -> list[str]:
    """Return the lines that are anything but `name==version` with an optional marker."""
    pin = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s;/:]+( ; .+)?")
    return [line for line in text.splitlines() if line and not pin.fullmatch(line)]


def test_the_constraints_name_versions_and_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert addresses_and_options(text) == []


@pytest.mark.parametrize(
    "line",
    ["torch @ https://example.org/torch.whl", "--index-url https://example.org", "-f wheels", "torch>=2"],
)
def test_the_constraints_guard_sees_an_address(line: str) -> None:
    assert addresses_and_options(f"ray==2.60.0\n{line}\n") == [line]


def test_every_declared_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[\[<>=~! ]", requirement)[0].replace(".", "-") for requirement in declared}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()
