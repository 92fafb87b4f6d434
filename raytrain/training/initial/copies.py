"""The copies in a run folder, `init/`, of the weights that its trials start from.

The trials find them there on whatever machine they are.
"""

import json
from typing import TYPE_CHECKING

from raytrain.errors import RunFolderError, StorageError
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import MAX_BYTES
from raytrain.training.initial.sources import (
    LARGEST,
    NONE,
    Source,
    remember_source,
    sha256,
    source_of,
    stored_name,
    weights_digest,
)

if TYPE_CHECKING:
    from torch import Tensor

INIT = "init"
"""Name of the folder in a run folder."""
FILES = "files.json"
"""Name of the file beside the copies that has the SHA-256 of each."""


def write_initial(run: Folder, contents: dict[str, bytes]) -> None:
    """Write the contents of weights into a run folder, by the names of `stored_name`; those that are there stay."""
    there = run / INIT
    known = _recorded(there) if there.exists(FILES) else {}
    for name, content in contents.items():
        if known.get(name) != sha256(content) or not there.exists(name):
            there.write(name, content)
    if new := {name: sha256(content) for name, content in contents.items()}:
        there.write(FILES, json.dumps(known | new, indent=1).encode())


def stored_content(run: Folder, init: str, arch: str) -> bytes | None:
    """Return the content of weights from a run folder; None where it is not there.

    Raises:
        RunFolderError: It has been changed, or cannot be read.
        StorageError: The storage does not answer.
    """
    there, name = run / INIT, stored_name(init, arch)
    if not there.exists(FILES) or not there.exists(name):
        return None
    try:
        content = there.read(name, most=LARGEST)
    except StorageError:
        raise
    except OSError as error:
        raise _unreadable(f"{there}/{name}", error) from error
    if sha256(content) != _recorded(there).get(name) or not sha256(content).startswith(weights_digest(init) or ""):
        raise RunFolderError(
            f"{there}/{name} has been changed: its SHA-256 is not the recorded one. Remove it, and give the command "
            "again that began the run"
        )
    return content


def stored_weights(run: Folder, init: str, arch: str) -> "dict[str, Tensor]":
    """Return the weights that a trial starts from, from the run folder.

    Raises:
        RunFolderError: They are missing there, or have been changed.
        ModelError: They cannot be read.
    """
    from raytrain.models.weights import read_weights

    content = stored_content(run, init, arch)
    if content is None:
        raise RunFolderError(
            f"{run}/{INIT}/{stored_name(init, arch)} is missing; give the command again that began the run"
        )
    return read_weights(content, name=f"init: {init}")


def keep_source(run: Folder, init: str, arch: str) -> None:
    """Let this process read the weights that a recipe's `init` names from a run folder that has a copy.

    Pretrained ones too: the library may have others by now.

    Raises:
        RunFolderError: The copy has been changed, or cannot be read.
        StorageError: The storage does not answer.
    """
    if init == NONE or source_of(init):
        return
    if content := stored_content(run, init, arch):
        remember_source(init, arch, Source(lambda: content))


def _recorded(there: Folder) -> dict[str, str]:
    try:
        return dict(json.loads(there.read(FILES, most=MAX_BYTES)))
    except StorageError:
        raise
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(f"{there}/{FILES}", error) from error


def _unreadable(where: str, error: Exception) -> RunFolderError:
    return RunFolderError(f"{where} cannot be read: {error}. Remove it, and give the command again that began the run")
