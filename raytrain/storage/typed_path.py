"""Text that a user has typed, and that may be a path."""

import os
from pathlib import Path


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
