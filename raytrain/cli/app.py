"""The `raytrain` command. Commands read options, call one function and print; torch and Ray are imported in them."""

import io
import logging
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from raytrain import __version__
from raytrain.cli import data, model
from raytrain.cli.cluster import cluster, doctor
from raytrain.cli.completion import join_bash_words
from raytrain.cli.examples import add_examples
from raytrain.cli.experiment import fields, new, plan, run
from raytrain.cli.runs import analysis, diff, judge, log, removal, rerun, results, view
from raytrain.errors import PreflightError, RayLostError, RaytrainError, did_you_mean
from raytrain.execution import signals
from raytrain.execution.interruption import exit_code
from raytrain.report.text.visible import VisibleFormatter, visible

_COMPLETE = "_RAYTRAIN_COMPLETE"
"""Environment variable by which a shell asks for completions."""


class _Commands(TyperGroup):
    """Ends a command with one message and its exit code where raytrain raised on purpose."""

    def main(self, *args: Any, **options: Any) -> Any:
        if os.environ.get(_COMPLETE) == "complete_bash":
            join_bash_words(os.environ)
        if _COMPLETE in os.environ:  # Typer breaks an explanation at this width, and to fish each line is a completion
            os.environ["TERMINAL_WIDTH"] = "1000"
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        signals.process.begin()
        try:
            _refuse_to_start_nowhere()
            super().invoke(ctx)
            sys.stdout.flush()
        except RayLostError as error:
            from raytrain.cli.output import leave

            typer.echo(f"raytrain: {visible(str(error))}", err=True)
            leave(error.exit_code)
        except typer.BadParameter as error:
            error.message = _with_nearest(_with_given(error))
            raise
        except RaytrainError as error:
            typer.echo(f"raytrain: {visible(str(error))}", err=True)  # it may cite a file of somebody else's
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            typer.echo("raytrain: interrupted", err=True)
            raise typer.Exit(exit_code(interrupt)) from None
        except OSError as error:
            from raytrain.cli.closed_output import end_of_output

            if (code := end_of_output(error)) is None:
                raise
            raise typer.Exit(code) from None


def _refuse_to_start_nowhere() -> None:
    """Raise PreflightError where the working folder has been deleted: any path that is typed would be an error."""
    try:
        Path.cwd()
    except OSError as error:
        raise PreflightError(
            f"the working folder is gone, or cannot be read ({error.strerror}); change into another one: cd"
        ) from error


def _with_given(error: typer.BadParameter) -> str:
    """Return typer's message about an option, with what was given where pydantic, which typer asks, leaves it out."""
    problems = getattr(error.__cause__, "errors", None)  # of pydantic, which older versions of typer do not ask
    problem = next(iter(problems()), {}) if problems else {}
    expected, started, _ = str(problem.get("msg", "")).partition(", unable to parse")
    if not (started or expected.startswith("Input should be ")):
        return error.message
    expected = expected.removeprefix("Input should be ").replace("a valid integer", "a whole number")
    return f"given {problem['input']!r}; must be {expected.replace('a valid ', 'a ')}"


def _with_nearest(message: str) -> str:
    """Return typer's message about an option; of a wrong choice with the nearest one, or all where none is near."""
    message = message.removeprefix("Value error, ")  # how pydantic, which typer asks, begins
    wrong = r"(?P<quote>['\"])(?P<given>.*)(?P=quote) is not one of (?P<choices>'.*')\."
    found = re.fullmatch(wrong, message, re.DOTALL)
    if not found:
        return message
    choices = re.findall(r"'([^']*)'", found["choices"])
    said = did_you_mean(found["given"], choices) or f"choose one of {', '.join(choices)}"
    return f"unknown choice {found['given']!r}; {said}"


app = typer.Typer(
    cls=_Commands,
    help="Train, compare and tune image classifiers, on a laptop or a Ray cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    *(run, plan, results, diff, rerun, removal, analysis, judge, view, log),
    *(model, cluster, doctor, fields, data, new),
):
    commands.add_commands(app)
add_examples(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"raytrain {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 (its callback has printed it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Read the options before a command."""
    if logging.lastResort:  # prints the warnings of commands that set up no log
        logging.lastResort.setFormatter(VisibleFormatter())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows "?" in its place
