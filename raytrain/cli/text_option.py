"""Options whose text must not be empty: an empty variable of a script would pass for an option that was not given."""

from typing import Any

import typer


def text_option(*names: str, **settings: Any) -> Any:
    """Return an option of typer's that refuses an empty text.

    Args:
        names: Its names, such as "--log"; without any, the parameter's.
        settings: What typer.Option takes.
    """
    return typer.Option(*names, callback=_refuse_empty, **settings)


def _refuse_empty(text: str | None) -> str | None:
    if text == "":
        raise typer.BadParameter("the text is empty; give a value, or leave the option out")
    return text
