"""The README says what is so: links, commands, the tree, the tables."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from raytrain.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/LOG.md"]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Return every `raytrain ...` line of the README and of the experiments' headers."""
    texts = [README, *(path.read_text() for path in sorted((ROOT / "experiments").rglob("*.yaml")))]
    found = re.findall(r"^(?:#   )?(raytrain [a-z]+.*?)(?:   .*)?$", "\n".join(texts), flags=re.MULTILINE)
    return [command.partition("  #")[0].strip() for command in found]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document: str) -> None:
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / document).parent.joinpath(link).exists()]
    assert missing == []


def test_the_documents_have_commands_to_check() -> None:
    assert len(commands()) >= 10


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_raytrain_line_in_the_documents_parses(command: str) -> None:
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(command)[1:]
    subcommand = group.commands[name]  # type: ignore[attr-defined]
    with subcommand.make_context(name, arguments):
        pass
    for argument in arguments:
        if argument.endswith(".yaml"):
            assert (ROOT / argument).is_file()


def test_a_wrong_line_would_not_parse() -> None:
    group = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option"):
        group.commands["compare"].make_context("compare", ["--no-such-option"])  # type: ignore[attr-defined]


def test_the_tree_in_the_readme_is_the_tree_on_disk() -> None:
    (tree,) = re.findall(r"```\nraytrain/\n(.*?)```", README, flags=re.DOTALL)
    shown = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    package = ROOT / "raytrain"
    there = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert shown == there - {"__init__.py"}


def test_the_tables_in_the_readme_are_what_the_records_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from record import with_tables

    assert "<!-- record:" in README
    assert with_tables(README) == README


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)`?", README))
    assert {"demo", "test"} <= named <= targets
