"""JSON Lines files that are appended to, and may end in a line that a kill cut short."""

import codecs
import json
import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from raytrain.errors import RunFolderError, StorageError
from raytrain.storage.folder import Folder

log = logging.getLogger(__name__)

_DECODER = json.JSONDecoder()

MAX_BYTES = 256 * 2**20
"""Largest size of a file that is read as a whole, in bytes: a million events, or a million images' predictions."""


def as_line(values: dict[str, Any]) -> bytes:
    """Return an object as a line."""
    return json.dumps(values).encode() + b"\n"


def read_lines(
    folder: Folder, name: str, *, check: Callable[[object], None] = lambda _: None, advice: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file; a last line that a kill cut short is left out.

    A line that repeats the one before it, letter by letter, is left out with a warning: every line has a time, an epoch
    or a number of starts, so it was copied by mistake.

    Args:
        folder: Folder with the file.
        name: Name of the file.
        check: Function that raises ValueError for an object that may not be in the file.
        advice: What to do about a damaged file: the second line of the error.

    Raises:
        RunFolderError: The file cannot be read, or a line other than the last is not JSON or not what it should be.
    """
    if not folder.exists(name):
        return
    lines = read_whole(folder, name).split(b"\n")
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line]
    repeated = [number for (_, before), (number, line) in pairwise(numbered) if line == before]
    if len(repeated) > 1:
        what = f"{len(repeated):,} lines repeat the line before them, and are left out"
        log.warning("%s/%s: %s; the first is line %d", folder, name, what, repeated[0])
    elif repeated:
        log.warning("%s/%s:%d: repeats the line before it, and is left out", folder, name, repeated[0])
    copied = {*repeated}
    for number, line in numbered:
        if number in copied:
            continue
        try:
            value = _value_of(line)
            if not isinstance(value, dict):
                raise ValueError("is no object in braces")  # noqa: TRY004, TRY301 (damage, as what `check` raises)
            check(value)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and _is_torn(line):
                return
            raise RunFolderError(f"{folder}/{name}:{number}: is damaged: {error}\n{advice}".rstrip()) from error
        yield value


def _value_of(line: bytes) -> Any:
    """Return what `json.loads` does, in half the time for a line without blanks around it: events come by thousands."""
    try:
        text = line.decode()
        value, end = _DECODER.raw_decode(text)
    except ValueError:
        return json.loads(line)
    return value if end == len(text) else json.loads(line)


def read_whole(folder: Folder, name: str) -> bytes:
    """Return the content of a file.

    Args:
        folder: The folder.
        name: Name of the file.

    Raises:
        RunFolderError: It cannot be read, as where it is a folder, a device, or larger than `MAX_BYTES`.
        StorageError: The storage does not answer.
    """
    try:
        return folder.read(name, most=MAX_BYTES)
    except StorageError:
        raise
    except OSError as error:
        raise RunFolderError(
            f"{folder}/{name}: cannot be read: {error.strerror or error}; put a copy of the file there"
        ) from error


def mend_last_line(folder: Folder, name: str) -> None:
    """Have a last line that a kill cut short end, so that the next one starts on its own.

    If only its newline is missing, it gets one; `read_lines` takes it as it is. Else what is there of it is removed.
    """
    content = folder.read(name) if folder.exists(name) else b""
    whole, newline, last = content.rpartition(b"\n")
    if _is_object(last):
        folder.append(name, b"\n")
    elif last:
        folder.write(name, whole + newline)


def _is_object(line: bytes) -> bool:
    """Return whether a line is an object up to its closing brace: no beginning of a longer object is one."""
    try:
        return isinstance(_value_of(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_torn(line: bytes) -> bool:
    """Return whether a line may be the beginning of one that was written here.

    After a power failure, zeros may stand where the disk had made room and nothing was written.
    """
    if _is_object(line):
        return False
    line = line.rstrip(b"\0")
    if not line:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(line)  # the cut may be within a character
    except UnicodeDecodeError:
        return False
    return line.startswith(b"{") and line[1:2] in {b"", b'"'}
