"""Files that are replaced as a whole: what one held before stays if the writing fails."""

import contextlib
import os
from pathlib import Path

from raytrain.errors import ExperimentError, RaytrainError, StorageError
from raytrain.storage.trouble import FULL


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, in the place of an earlier one.

    A device, a pipe and the file behind a link are written to as they are.

    Raises:
        OSError: It cannot be written; nothing of it is left.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def not_written(path: Path, error: OSError) -> RaytrainError:
    """Return the error of a command that could not write a file that the user has named."""
    if error.errno in FULL:
        return StorageError(f"{path}: cannot be written: {error.strerror}; make room, or choose a file elsewhere")
    return ExperimentError(f"{path}: cannot be written: {error.strerror}; choose a file in an existing folder")
