"""The documentation as a site: `make docs` builds it; these tests look at the pages that are not files in docs/."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import raytrain

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("site_pages")


def test_every_document_in_docs_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1].split("\n\n")[0]
    shown = set(re.findall(r": ([\w-]+\.md)$", navigation, flags=re.MULTILINE))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == shown - {"start.md", "cli.md", "api.md"}


@pytest.mark.parametrize(
    ("link", "of", "at", "moved"),
    [
        ("[b](b.md#c)", "docs/a.md", "a.md", "[b](b.md#c)"),
        ("[log](../experiments/LOG.md#x)", "docs/a.md", "a.md", "[log](files/experiments/LOG.md#x)"),
        ("[set](../experiments/fast.yaml)", "docs/a.md", "a.md", "[set](files/experiments/fast.yaml.md)"),
        ("[all](../experiments)", "docs/a.md", "a.md", "[all](files/experiments/index.md)"),
        ("[faults](../docs/faults.md)", "experiments/LOG.md", "files/experiments/LOG.md", "[faults](../../faults.md)"),
        ("[data](docs/data.md)", "README.md", "start.md", "[data](data.md)"),
        ("[gone](../gone.md)", "docs/a.md", "a.md", "[gone](../gone.md)"),
        ("[far](https://example.org/a.md)", "docs/a.md", "a.md", "[far](https://example.org/a.md)"),
        ("```\n[b](../README.md)\n```", "docs/a.md", "a.md", "```\n[b](../README.md)\n```"),
    ],
)
def test_a_link_leads_to_the_page_that_the_site_has_of_a_file(
    site: ModuleType, link: str, of: str, at: str, moved: str
) -> None:
    assert site.with_site_links(link, of=of, at=at) == moved


def test_a_linked_folder_and_a_linked_document_bring_the_files_that_they_link(site: ModuleType) -> None:
    found = site.linked_files([("docs/a.md", "[the student's](../experiments/student) and [b](b.md)")])
    assert {"experiments/student", "experiments/student/table.yaml", "experiments/student/claims.csv"} <= found
    assert {path.split("/")[0] for path in found} == {"experiments"}


def test_the_command_reference_has_every_command_and_flag_of_the_written_list(site: ModuleType) -> None:
    page = site.cli_page()
    commands, flags = (ROOT / "docs/commands.md").read_text().split("\n## Commands\n")[1].split("\n## Flags\n")
    names = re.findall(r"^\| `([a-z ]+)` \|", commands, flags=re.MULTILINE)
    assert re.findall(r"^## raytrain (.+)$", page, flags=re.MULTILINE) == names
    rows = re.findall(r"^\| `(.*?)` \|", page, flags=re.MULTILINE)
    shown = {flag for row in rows for flag in re.findall(r"--[a-z-]+", row)}
    assert shown == set(re.findall(r"`(--[a-z-]+)`", "".join(re.findall(r"^\| .*? \|", flags, flags=re.MULTILINE))))


def test_the_python_reference_has_every_public_name(site: ModuleType) -> None:
    names = re.findall(r"heading: raytrain\.(\w+)$", site.api_page(), flags=re.MULTILINE)
    assert sorted(names) == sorted(raytrain.__all__)
