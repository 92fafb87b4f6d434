"""The documents say what is so: links, commands, flags, file names, the tree, the import contract, the tables."""

import ast
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from raytrain import errors
from raytrain.cli.app import app
from raytrain.experiment.reading import read_experiment
from raytrain.training.choices import (
    ARCH_CHOICES,
    AUGMENT_CHOICES,
    LOOKAHEAD_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
)
from raytrain.training.recipe import Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/LOG.md", *DOCS]
PRESENT = ["README.md", "CONTRIBUTING.md", *DOCS]
"""Documents that speak of the project as it is; the changelog and the log may name what is gone."""
YAML = sorted([*ROOT.glob("cluster*.yaml"), *(ROOT / "experiments").rglob("*.yaml")])


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def blocks(document: str, *languages: str) -> list[str]:
    """Return the code blocks of a document that are marked with one of `languages`; "" for those without a mark."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), flags=re.DOTALL | re.MULTILINE)
    return [code for language, code in found if language in languages]


def commands() -> list[str]:
    """Return every `raytrain ...` line in a code block of a document or in the comments of a YAML file."""
    shells = ("", "bash", "sh", "shell", "console", "text")
    lines = [line for document in PRESENT for code in blocks(document, *shells) for line in code.splitlines()]
    lines = [re.sub(r"^\s*(\$ )?", "", line) for line in lines]
    lines += [line.removeprefix("#").strip() for path in YAML for line in path.read_text().splitlines()]
    found = [line for line in lines if re.match(r"raytrain [a-z]+( |$)", line)]
    return sorted({re.split(r"  |\s#", line)[0].strip() for line in found})


def parse(arguments: list[str], group: Any = None) -> None:
    """Parse the arguments of `raytrain`, down to a subcommand and to the command behind `submit --`."""
    command, context_name = group or typer.main.get_command(app), "raytrain"
    while hasattr(command, "commands"):
        context_name, *arguments = arguments
        if context_name not in command.commands:
            raise ValueError(f"No such command {context_name!r}")
        command = command.commands[context_name]
    with command.make_context(context_name, list(arguments)):
        pass
    if context_name == "submit":
        parse(arguments[arguments.index("--") + 1 :])


def table(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table below a heading."""
    section = text_of(document).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_to_a_file(document: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", prose) if "://" not in link]
    missing = [link for link in links if not (ROOT / document).parent.joinpath(link).exists()]
    assert missing == []


def unused(pictures: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return the pictures that no text names, be it whole, with a star or with a part that an f-string fills in."""
    named = {name for text in texts for name in re.findall(r"[\w*{}-]+\.(?:svg|png)\b", text)}
    patterns = [re.sub(r"\{\w*\}", "*", name) for name in named]
    patterns = [one for one in patterns if one.partition(".")[0].strip("*")]  # "*.png" would be any
    return [one for one in pictures if not any(fnmatchcase(one, pattern) for pattern in patterns)]


PICTURES = sorted(path.name for path in (ROOT / "docs" / "pictures").iterdir())


def test_every_picture_is_made_by_a_script() -> None:
    scripts = [path.read_text() for folder in ("docs", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    assert len(PICTURES) >= 5
    assert unused(PICTURES, scripts) == []


def test_every_picture_is_shown_on_a_page() -> None:
    shown = [link for document in PRESENT for link in re.findall(r"\]\(([^)#]+)\)", text_of(document))]
    assert [name for name in PICTURES if not any(link.endswith(f"pictures/{name}") for link in shown)] == []


def test_a_picture_that_no_script_makes_would_be_found() -> None:
    scripts = ['"*.png"', 'f"results-{width}.svg"', "writes mlflow-*.png", '"live.png"']
    pictures = ["live.png", "mlflow-table.png", "results-80.svg", "results-80.png", "alive.png"]
    assert unused(pictures, scripts) == ["results-80.png", "alive.png"]


def test_every_document_in_docs_is_linked_in_their_list_which_the_readme_links() -> None:
    listed = text_of("docs/README.md")
    assert [name for name in DOCS if f"({name.removeprefix('docs/')})" not in listed] == ["docs/README.md"]
    assert "(docs/README.md)" in README


def test_the_readme_has_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(
    ("experiment", "sentence"),
    [
        ("accurate", r"`accurate` reaches ([\d.]+) % test accuracy \(([\d.]+) % with .+?\)\s+in (\d+) minutes"),
        ("fast", r"`fast` ([\d.]+) % \(([\d.]+) %\) in (\d+):"),
        ("standard", r"`standard`, a ResNet-18, reaches ([\d.]+) % \(([\d.]+) %\) in (\d+):"),
    ],
)
def test_the_accuracy_on_cifar10_in_the_readme_is_that_of_its_record(experiment: str, sentence: str) -> None:
    record = json.loads(text_of(f"experiments/records/{experiment}.json"))
    finished = [one for one in record["results"] if one["status"] == "finished"]
    plain, views = (100 * fmean(one[name] for one in finished) for name in ("test_accuracy", "test_tta_accuracy"))
    minutes = median(one["seconds"] for one in finished) / 60
    assert len(finished) == len(record["results"]), "every seed that was started is reported"
    (counts,) = re.findall(r"\[means of (\d+) and (\d+) seeds\]", README)
    seeds = {**dict(zip(("accurate", "fast"), counts, strict=True)), "standard": "1"}
    assert seeds[experiment] == str(len(finished))
    assert re.findall(sentence, README) == [(f"{plain:.2f}", f"{views:.2f}", f"{minutes:.0f}")]


def test_the_documents_have_commands_to_check() -> None:
    assert len(commands()) >= 40


@pytest.mark.parametrize("command", commands())
def test_every_raytrain_line_in_the_documents_parses(command: str) -> None:
    arguments = shlex.split(command)[1:]
    parse(arguments)
    shown = {code.split("\n")[0].removeprefix("# ") for name in PRESENT for code in blocks(name, "yaml")}
    for argument in arguments:
        if argument.endswith(".yaml"):
            assert (ROOT / argument).is_file() or argument in shown


@pytest.mark.parametrize(
    "line", ["compare --no-such-option", "cluster begin x.yaml", "submit -- compare --no-such-option"]
)
def test_a_wrong_line_would_not_parse(line: str) -> None:
    with pytest.raises(Exception, match="No such"):
        parse(shlex.split(line))


@pytest.mark.parametrize("document", PRESENT)
def test_every_command_named_in_a_sentence_exists(document: str, every_command: dict[str, Any]) -> None:
    named = re.findall(r"`raytrain ([a-z]+)(?: ([a-z]+))?", text_of(document))
    known = set(every_command)
    unknown = [words for words in named if words[0] not in known and " ".join(words).strip() not in known]
    assert unknown == []


@pytest.mark.parametrize("document", PRESENT)
def test_every_option_named_in_a_sentence_belongs_to_its_command(document: str, every_command: dict[str, Any]) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.DOTALL | re.MULTILINE)
    known = every_command
    for line in re.findall(r"`raytrain ([a-z][^`]*)`", prose):
        for part in line.replace("\n", " ").split(" -- "):
            words = part.split()
            command = known.get(" ".join(words[:2])) or known.get(words[0])
            options = [word.split("=")[0] for word in words if word.startswith("-")]
            taken = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
            assert set(options) <= {*taken, "--help"}, line


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a Python file, docstrings among them, with "X" for what an f-string fills in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)


def unknown_options(text: str, known: dict[str, Any]) -> list[str]:
    """Return the options behind `raytrain COMMAND` in a text, up to the end of the sentence, that the command lacks."""
    found: list[str] = []
    for line in re.findall(r"\braytrain ([a-z]+[^`\n]*?)(?=[.;,)](?:\s|$)|`|\n|$)", text):
        for part in line.split(" -- "):
            words = part.split()
            command = known.get(" ".join(words[:2])) or known.get(words[0])
            options = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
            taken = (
                {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} if command else options
            )
            found += sorted(options - taken - {"--help"})
    return found


def test_every_option_in_a_message_or_docstring_belongs_to_its_command(every_command: dict[str, Any]) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {text}": unknown
        for path in (ROOT / "raytrain").rglob("*.py")
        for text in texts(path)
        if "raytrain " in text and (unknown := unknown_options(text, every_command))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("finish it with: raytrain resume X --repairs; or add --force", ["--repairs"]),
        ("raytrain submit --wait -- compare quick --no-such", ["--no-such"]),
        ("raytrain resume X --repair. Or use --force", []),
    ],
)
def test_a_wrong_option_in_a_message_would_be_found(
    text: str, unknown: list[str], every_command: dict[str, Any]
) -> None:
    assert unknown_options(text, every_command) == unknown


def test_the_list_of_commands_is_complete(every_command: dict[str, Any]) -> None:
    assert [row[0].strip("`") for row in table("docs/commands.md", "Commands")] == list(every_command)


def test_the_list_of_flags_is_complete(every_command: dict[str, Any]) -> None:
    listed: set[tuple[str, str]] = set()
    for flags, names, _ in table("docs/commands.md", "Flags"):
        for flag in re.findall(r"`(.+?)`", flags):
            listed |= {(name, flag) for name in re.findall(r"`(.+?)`", names)}
    assert listed == {
        (name, flag)
        for name, command in every_command.items()
        for option in command.params
        if option.param_type_name == "option" and option.name != "help"
        for flag in (*option.opts, *option.secondary_opts)
    }


def test_the_list_of_functions_with_their_arguments_is_complete() -> None:
    fields = {
        "arch": ARCH_CHOICES,
        "augment": AUGMENT_CHOICES,
        "optimizer": OPTIMIZER_CHOICES,
        "schedule": SCHEDULE_CHOICES,
        "lookahead": LOOKAHEAD_CHOICES,
    }
    rows = dict(table("docs/experiments.md", "Functions with arguments"))
    assert {field.strip("`"): re.findall(r"`(.+?)`", functions) for field, functions in rows.items()} == {
        field: [
            f"{name}({', '.join(arguments)})" if (arguments := components.arguments(name)) else name
            for name in components.entries
        ]
        for field, components in fields.items()
    }


def test_the_table_of_sources_names_fields_and_what_the_code_names() -> None:
    code = "".join(path.read_text() for path in (ROOT / "raytrain").rglob("*.py"))
    rows = table("docs/experiments.md", "Sources")
    fields = [field for names, _, _ in rows for field in re.findall(r"`(\w+)`", names)]
    assert {"grad_clip", "bias_lr_factor", "bn_momentum", "tta"} <= set(fields) <= set(Recipe.model_fields)
    cited = {paper for _, sources, _ in rows for paper in re.findall(r"arXiv:[\d.]+\d", sources)}
    assert len(cited) >= 20
    assert [paper for paper in sorted(cited) if paper not in code] == []


def test_the_list_of_exit_codes_is_that_of_the_code() -> None:
    assert errors.exit_codes_table() in text_of("docs/commands.md")


@pytest.mark.parametrize("document", PRESENT)
def test_every_yaml_block_is_a_valid_experiment(document: str, tmp_path: Path) -> None:
    for code in blocks(document, "python"):
        if name := re.match(r"# (\w+\.py)\n", code):  # a file that an experiment names
            (tmp_path / name[1]).write_text(code)
    for index, code in enumerate(blocks(document, "yaml")):
        path = tmp_path / f"block-{index}.yaml"
        path.write_text(code)
        assert read_experiment(path).trials()


@pytest.mark.parametrize("document", [*PRESENT, *(str(path.relative_to(ROOT)) for path in YAML)])
def test_every_python_file_that_is_named_exists(document: str) -> None:
    named = set(re.findall(r"(?<![\w./])(?:raytrain|tests|benchmarks)/[\w/]+\.py\b", text_of(document)))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_what_contributing_says_to_enter_a_choice_in_is_there() -> None:
    rows = table("CONTRIBUTING.md", "Add a choice")
    assert len(rows) >= 4
    for _, write, enter in rows:
        code = (ROOT / "raytrain" / re.findall(r"`([\w/]+\.py)`", write)[0]).read_text()
        for name in re.findall(r"`([A-Z]+)`", enter):
            assert re.search(rf"^{name}\b", code, flags=re.MULTILINE)


def test_the_import_contract_in_contributing_is_the_one_that_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    (shown,) = [code for code in blocks("CONTRIBUTING.md", "") if code.startswith("__main__")]
    assert [line.split("  ")[0].strip() for line in shown.splitlines()] == layers


def test_no_package_has_more_modules_than_contributing_allows() -> None:
    (most,) = re.findall(r"A package has at most (\d+) modules", (ROOT / "CONTRIBUTING.md").read_text())
    modules = [path for path in (ROOT / "raytrain").rglob("*.py") if path.name != "__init__.py"]
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    assert {package: count for package, count in counts.items() if count > int(most)} == {}


def test_the_top_of_raytrain_has_at_most_the_five_files_that_contributing_allows() -> None:
    assert "the top of `raytrain/` at most 5 files of Python" in (ROOT / "CONTRIBUTING.md").read_text()
    files = sorted(path.name for path in (ROOT / "raytrain").glob("*.py"))  # __init__.py and __main__.py count
    assert len(files) <= 5, files


def test_the_tree_in_the_readme_has_the_packages_on_disk() -> None:
    (tree,) = re.findall(r"```\nraytrain/\n(.*?)```", README, flags=re.DOTALL)
    shown = [name for line in tree.splitlines() for name in re.findall(r"(\S+)/(?= )", line.split("   ")[0] + " ")]
    assert sorted(shown) == sorted(path.parent.name for path in (ROOT / "raytrain").glob("*/__init__.py"))


@pytest.mark.parametrize(
    ("document", "tables"),
    [
        ("README.md", 2),
        ("docs/benchmarks.md", 2),
        ("docs/data.md", 2),
        ("docs/statistics.md", 2),
        ("docs/faults.md", 1),
        ("docs/fine-tuning.md", 1),
        ("docs/search.md", 2),
    ],
)
def test_the_tables_of_records_are_what_the_records_say(
    document: str, tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from record import DOCUMENTS as WITH_RECORDS
    from record import with_tables

    assert document in WITH_RECORDS
    assert text_of(document).count("<!-- end of ") >= tables
    assert with_tables(text_of(document)) == text_of(document)


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        name for document in PRESENT for name in re.findall(r"(?:`|^)make ([a-z-]+)", text_of(document), re.MULTILINE)
    }
    assert {"demo", "test", "bench"} <= named <= targets


def test_every_test_that_make_check_leaves_out_exists() -> None:
    named = (ROOT / "tests" / "longer.txt").read_text(encoding="utf-8").splitlines()
    missing = [
        one
        for one in named
        if f"def {one.partition('::')[2]}(" not in (ROOT / one.partition("::")[0]).read_text(encoding="utf-8")
    ]
    assert named
    assert not missing, "`make longer` writes tests/longer.txt anew"


def test_make_looks_into_every_file_with_tests_that_start_ray(marked_files: set[Path]) -> None:
    (pattern,) = re.findall(r"grep -lrE .*'(\S+)' tests\)", (ROOT / "Makefile").read_text())
    assert [file for file in marked_files if not re.search(pattern, file.read_text())] == []
    for mark in ("ray", "cluster", "gpu"):
        assert re.search(pattern, f"@pytest.mark.{mark}")


@pytest.mark.slow
@pytest.mark.timeout(240)  # 20 s on two idle cores, 78 s on busy ones
def test_the_start_on_ones_own_images_works_as_the_readme_shows_it(
    tiny_images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = README.split("## Your own images")[1].split("\n## ")[0]
    (experiment,) = re.findall(r"```yaml\n# first.yaml\n(.*?)```", section, flags=re.DOTALL)
    lines = re.findall(r"^raytrain (.+?)(?:  .*)?$", section, flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    shutil.copytree(tiny_images, "photos")
    shutil.copy("photos/test/dark/00.png", "photo.jpg")
    Path("first.yaml").write_text(experiment)
    smaller = ["image_size=8", "width=4", "epochs=1", "arch=resnet9"]
    small = ["--local", *(word for change in smaller for word in ("--set", change))]  # seconds, and no Ray
    for line in lines:
        arguments = shlex.split(line)
        result = CliRunner().invoke(app, [*arguments, *(small if arguments[0] in {"plan", "compare"} else [])])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert "dark" in result.output
    assert opened == [(tmp_path / "runs/first/report.html").as_uri()]
