"""JSON Lines files that are appended to, and may end in a line that a kill cut short."""

import json
from collections.abc import Iterator
from typing import Any

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder


def as_line(values: dict[str, Any]) -> bytes:
    """Return an object as a line."""
    return json.dumps(values).encode() + b"\n"


def read_lines(folder: Folder, name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file; a last line that a kill cut short is left out.

    Raises:
        RunFolderError: A line other than the last is not JSON.
    """
    if not folder.exists(name):
        return
    lines = folder.read(name).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise RunFolderError(f"{folder}/{name}:{number}: is damaged: {error}") from error


def drop_torn_line(folder: Folder, name: str) -> None:
    """Remove a last line that a kill left half written, so that the next line starts on its own."""
    content = folder.read(name) if folder.exists(name) else b""
    if not content.endswith(b"\n") and content:
        folder.write(name, content[: content.rfind(b"\n") + 1])
