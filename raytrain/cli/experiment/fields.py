"""`raytrain fields` and `raytrain schema`: what an experiment file may say."""

import re
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import field_names
from raytrain.cli.options import Json
from raytrain.errors import ExperimentError, did_you_mean
from raytrain.report.document import document

if TYPE_CHECKING:
    from raytrain.experiment.reference import FieldReference


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (fields, schema):
        app.command()(command)


def fields(
    field: Annotated[
        str | None,
        typer.Argument(
            metavar="FIELD",
            show_default="all, in short",
            autocompletion=field_names,
            help="A field to explain in full.",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="LIBRARY:NAME",
            show_default=False,
            help="With `fields arch`: list the networks of a library that begin so, such as timm:resnet.",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table, with everything.")] = False,
    json: Json = False,
) -> None:
    """List the fields of a recipe, or explain one: its meaning, default and choices."""
    from raytrain.experiment.reference import recipe_fields

    if markdown and json:
        raise ExperimentError("--markdown and --json were given; give one of them")
    known = {one.name: one for one in recipe_fields()}
    if field is not None and field not in known:
        hint = did_you_mean(field, known) or "`raytrain fields` lists them"
        raise ExperimentError(f"there is no recipe field {field!r}; {hint}")
    if like is not None:
        _print_family(field, like, markdown=markdown, json=json)
        return
    chosen = [known[field]] if field else list(known.values())
    if json:
        typer.echo(document({"fields": [vars(one) for one in chosen]}), nl=False)
    elif markdown:
        typer.echo(_markdown(chosen), nl=False)
    elif field:
        typer.echo(_explained(known[field]))
    else:
        _print_list(chosen)


def schema() -> None:
    """Print the JSON Schema of an experiment file, for editors that complete and check YAML.

    Write it to schema.json, and into the first line of the file: # yaml-language-server: $schema=schema.json
    """
    from raytrain.experiment.reference import experiment_schema

    typer.echo(dumps(experiment_schema(), indent=2, ensure_ascii=False))


def _print_list(found: "list[FieldReference]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("field", "default"):
        table.add_column(heading, no_wrap=True)
    table.add_column("meaning")
    for one in found:
        table.add_row(*map(Text, (one.name, _default(one), in_short(one.meaning))))
    console = Console()
    with console.capture() as printed:  # Rich ends the process itself where the reader has gone
        console.print(table)
    typer.echo(printed.get() + "\n`raytrain fields FIELD` explains one of them, with its choices.")


def _print_family(field: str | None, like: str, *, markdown: bool, json: bool) -> None:
    """Print the networks of a library whose names begin so, and the pretrained weights of each."""
    if field != "arch":
        raise ExperimentError(f"--like lists networks; write `raytrain fields arch --like {like}`")
    if markdown:
        raise ExperimentError("--markdown and --like were given; give one of them")
    from raytrain.models.families import family  # PyTorch takes 2 s to import

    networks = family(like)
    if json:
        typer.echo(document({"networks": [vars(one) for one in networks]}), nl=False)
        return
    longest = max(len(one.name) for one in networks)
    for one in networks:
        typer.echo(f"{one.name:{longest}}  {', '.join(one.weights)}".rstrip())


def _markdown(found: "list[FieldReference]") -> str:
    """Return the fields as a Markdown table."""
    from raytrain.report.text.columns import as_markdown

    columns = {
        "field": [f"`{one.name}`" for one in found],
        "type": [one.kind for one in found],
        "default": [f"`{_default(one)}`" if one.default != "" else "–" for one in found],
        "meaning": [one.meaning for one in found],
        "choices": [", ".join(f"`{choice}`" for choice in one.choices) for one in found],
    }
    return as_markdown(columns, left=set(columns))


def in_short(meaning: str) -> str:
    """Return the first part of what a field means, up to where it goes into detail."""
    return re.split(r"\.(?: (?=[A-Z])|$)|: |; | \(|, with arguments", meaning, maxsplit=1)[0]


def _explained(one: "FieldReference") -> str:
    from raytrain.models.libraries import LIBRARIES
    from raytrain.user_code.installed import GROUPS, installed

    lines = [f"{one.name}: {one.kind}, {_default(one)} by default", "", one.meaning]
    if one.choices:
        lines += ["", "Choices:", *(f"  {choice}" for choice in one.choices)]
    if given := installed(one.name):
        lines += ["", "Of installed packages:", *(f"  {each}" for each in given)]
    families = [f"{library}:NAME, a network of {library}" for library in LIBRARIES] if one.name == "arch" else []
    if families:
        families.append("  (`raytrain fields arch --like timm:resnet` lists those that begin so)")
    if one.name in GROUPS:
        lines += ["", "Or:", *(f"  {family}" for family in families), "  my_file.py:NAME, code of your own"]
    if one.changes_epoch_time:
        lines += ["", "An epoch takes another time when it changes."]
    return "\n".join(lines)


def _default(one: "FieldReference") -> str:
    return dumps(one.default) if isinstance(one.default, bool | list) else str(one.default) or "empty"
