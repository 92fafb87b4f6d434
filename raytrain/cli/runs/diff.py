"""`raytrain diff`: two runs or trials beside each other."""

# The imports inside functions load SciPy and pyarrow: at the top they would make
# `raytrain --help` take 3.2 s instead of 0.5 s.

from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.completion import run_or_trial_names
from raytrain.cli.options import Json, Out
from raytrain.errors import RunFolderError
from raytrain.report.document import document
from raytrain.report.text.columns import as_text, terminal_width
from raytrain.report.text.visible import in_one_line

if TYPE_CHECKING:
    from raytrain.comparison.side_by_side import Side

RunOrTrial = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="RUN[/TRIAL]",
        autocompletion=run_or_trial_names,
        help="Name, folder or URI of a run, or a trial of it.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add `diff` to the application."""
    app.command()(diff)


def diff(first: RunOrTrial, second: RunOrTrial, out: Out = "runs", json: Json = False) -> None:
    """Show how two runs or trials differ: recipes, data, code, versions, machine, and test accuracies."""
    from raytrain.cli.output import tolerant_output
    from raytrain.comparison.side_by_side import side_by_side
    from raytrain.report.tables import SIDES_LEFT, accuracy_columns, difference_columns

    found = side_by_side(_side(first, out), _side(second, out))
    with tolerant_output():
        if json:
            typer.echo(document(found.as_dict()), nl=False)
            return
        typer.echo(in_one_line(f"first: {found.first}, second: {found.second}"))
        if found.differences:
            typer.echo(as_text(difference_columns(found), left=SIDES_LEFT, width=terminal_width()), nl=False)
        else:
            typer.echo("The recipes, data, code, versions and machines are the same.")
        if found.accuracies:
            typer.echo("\n" + as_text(accuracy_columns(found), left=SIDES_LEFT, width=terminal_width()), nl=False)
        else:
            typer.echo("No test accuracies can be put beside each other: a side has no finished trial.")


def _side(name: str, out: str) -> "Side":
    from raytrain.analysis.record import read_record
    from raytrain.comparison.side_by_side import Side
    from raytrain.inference.export import find_trial
    from raytrain.runs.folder import open_run

    try:
        return Side(read_record(open_run(name, out=out)))
    except RunFolderError:
        if "/" not in name:
            raise
        record, trial, _ = find_trial(name, out=out)
        return Side(record, trial)
