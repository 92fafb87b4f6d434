"""The pages of the documentation site that are not files in docs/: hooks for mkdocs, named in mkdocs.yml.

`make docs` builds the site. Its further pages are the start on your own images (from README.md), the reference of
the commands (from the Typer application), that of the Python API (from `raytrain/__init__.pyi`, which mkdocstrings
reads without importing PyTorch), and a page for each file of the repository that a document links, such as an
experiment or a record: so the links of the documents work on GitHub and in the site.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".csv": "text"}
FENCE = re.compile(r"(^````*\w*\n.*?^````*$)", flags=re.DOTALL | re.MULTILINE)


def on_files(files: "Files", *, config: "MkDocsConfig") -> "Files":
    """Add the pages that are not files in docs/, and those of the linked files, to the pages of the site."""
    from mkdocs.structure.files import File

    pages = {"start.md": start_page(), "cli.md": cli_page(), "api.md": api_page()}
    texts = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    for path in linked_files([*texts, ("README.md", section_of_readme())]):
        pages[site_path(path)] = file_page(path)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: "Page", config: "MkDocsConfig", files: "Files") -> str:  # noqa: ARG001
    """Point the links of a document in docs/ to the pages of the site."""
    if page.file.generated_by is not None:
        return markdown
    return with_site_links(markdown, of=f"docs/{page.file.src_uri}", at=page.file.src_uri)


def start_page() -> str:
    """Return the page on the start with your own images: that section of README.md."""
    text = f"# Start on your own images in five minutes\n\n{section_of_readme()}"
    return with_site_links(text, of="README.md", at="start.md")


def section_of_readme() -> str:
    """Return what README.md says under "Your own images"."""
    return (ROOT / "README.md").read_text().split("\n## Your own images\n")[1].split("\n## ")[0].strip() + "\n"


def cli_page() -> str:
    """Return the reference of all commands with their arguments and options, as the program itself knows them."""
    import typer.main

    from raytrain.cli.app import app

    lines = ["# Command reference", "", "Generated from the program. [commands.md](commands.md) has examples.", ""]
    for name, command in commands_of(typer.main.get_command(app)):
        context = command.make_context(name, [], resilient_parsing=True)
        lines += [f"## {name}", "", "```text", f"{name} {' '.join(command.collect_usage_pieces(context))}", "```", ""]
        lines += [plain(re.sub(r"(?<!\n)\n(?!\n)", " ", command.help.strip())), ""]
        for kind in ("argument", "option"):
            records = [one.get_help_record(context) for one in command.params if one.param_type_name == kind]
            rows = [f"| `{record[0]}` | {plain(record[1])} |" for record in records if record]
            lines += [f"| {kind} | meaning |", "| :-- | :-- |", *rows, ""] if rows else []
    return "\n".join(lines)


def commands_of(group: Any, name: str = "raytrain") -> Iterator[tuple[str, Any]]:
    """Yield every command that is not a group, with its full name."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def plain(text: str) -> str:
    """Return a help text with what Markdown would take for its own escaped, on one line for each paragraph."""
    return re.sub(r"([|*_<>\[\]])", r"\\\1", text)


def api_page() -> str:
    """Return the reference of the public names of the Python API, for mkdocstrings to fill in."""
    lines = [
        "# Python reference",
        "",
        "Generated from the code. [python.md](python.md) shows how they go together.",
        "",
    ]
    for name, path in public_names():
        lines += [f"::: {path}", "    options:", f"      heading: raytrain.{name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


def public_names() -> list[tuple[str, str]]:
    """Return the public names of raytrain in alphabetical order, functions first, and where each is defined."""
    imports = ast.parse((ROOT / "raytrain/__init__.pyi").read_text()).body
    found = [
        (name.name, f"raytrain.{node.module}.{name.name}")
        for node in imports
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    return sorted(found, key=lambda one: (one[0][0].isupper(), one[0]))


def links(text: str) -> list[str]:
    """Return the targets of the links and images in a Markdown text, outside of its code blocks."""
    prose = FENCE.sub("", text)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:|#", target)]


def linked_files(documents: list[tuple[str, str]]) -> set[str]:
    """Return the files and folders outside of docs/ that documents link, directly or through one that is Markdown.

    Args:
        documents: Path of each document from the root of the repository, and its text.
    """
    found: set[str] = set()
    waiting = list(documents)
    while waiting:
        path, text = waiting.pop()
        for target in links(text):
            linked = normpath(f"{dirname(path)}/{target.split('#')[0]}".lstrip("/"))
            if linked in found or linked.startswith("docs/") or not (ROOT / linked).exists():
                continue
            found.add(linked)
            if linked.endswith(".md"):
                waiting.append((linked, (ROOT / linked).read_text()))
            elif (ROOT / linked).is_dir():
                waiting.append((f"{linked}/", folder_list(linked)))
    return found


def folder_list(path: str) -> str:
    """Return a Markdown list of the files in a folder of the repository that a page can show."""
    shown = [file for file in sorted((ROOT / path).iterdir()) if file.suffix in {*LANGUAGES, ".md"}]
    return "".join(f"- [{file.name}]({file.name})\n" for file in shown if file.stat().st_size < 100_000)


def site_path(path: str) -> str:
    """Return where the site has a file or folder of the repository, as a path below docs/."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"files/{path}/index.md"
    return f"files/{path}" if path.endswith(".md") else f"files/{path}.md"


def file_page(path: str) -> str:
    """Return the page that shows a file of the repository, or lists a folder."""
    file = ROOT / path
    if file.is_dir():
        return with_site_links(f"# {path}\n\n{folder_list(path)}", of=f"{path}/", at=site_path(path))
    text = file.read_text()
    if file.suffix == ".md":
        return with_site_links(text, of=path, at=site_path(path))
    return f"# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"


def with_site_links(text: str, *, of: str, at: str) -> str:
    """Return a Markdown text with its links to files of the repository as links to pages of the site.

    A link to what does not exist stays as it is: mkdocs refuses it.

    Args:
        text: Markdown text.
        of: Path of the document, from the root of the repository; of a folder with a slash at its end.
        at: Path of its page below docs/.
    """

    def moved(match: re.Match[str]) -> str:
        target, mark, anchor = match[1].partition("#")
        path = normpath(f"{dirname(of)}/{target}".lstrip("/"))
        if not target or not (ROOT / path).exists():
            return match[0]
        return f"]({relpath(site_path(path), dirname(at) or '.')}{mark}{anchor})"

    parts = FENCE.split(text)
    parts[::2] = [re.sub(r"\]\((?![a-z]+:)([^)\s]+)\)", moved, prose) for prose in parts[::2]]
    return "".join(parts)
