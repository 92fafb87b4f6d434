"""Text that a user has typed, and that may be a path."""

import os
from pathlib import Path

from raytrain.errors import PreflightError


def expanded(text: str | Path) -> Path:
    """Return the path that a text is, with the home folder in the place of a `~` at its beginning.

    The shell leaves the `~` of a variable and of --out=~/runs as it is.

    Raises:
        PreflightError: There is no such user, or the user has no home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise PreflightError(f"{text}: has no home folder here; set HOME, or give a path without ~") from None


def is_there(text: str | Path) -> bool:
    """Return whether a text is the path of something; False too for what can be no path.

    `Path.exists` raises OSError for a name that is longer than the file system allows, and a list of values or the
    name of a data set may be as long.
    """
    return os.path.exists(text)  # noqa: PTH110


def is_a_file(text: str | Path) -> bool:
    """Return whether a text is the path of a file; False too for what can be no path."""
    return os.path.isfile(text)  # noqa: PTH113


def is_a_folder(text: str | Path) -> bool:
    """Return whether a text is the path of a folder; False too for what can be no path."""
    return os.path.isdir(text)  # noqa: PTH112
