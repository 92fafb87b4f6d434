"""A question that is asked before what cannot be undone."""

import typer

from raytrain.errors import ExperimentError


def confirmed(question: str, *, yes: bool, unanswered: str) -> bool:
    """Return whether the user says yes.

    Args:
        question: What is asked.
        yes: Whether `--yes` has answered it.
        unanswered: Message where nobody answers, as in a script.

    Raises:
        ExperimentError: Nobody answers.
        KeyboardInterrupt: A signal ends the command.
    """
    if yes:
        return True
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as abort:
        typer.echo("", err=True)
        if isinstance(abort.__context__, KeyboardInterrupt):  # typer has made an Abort of it
            raise abort.__context__ from None
        raise ExperimentError(unanswered) from None
