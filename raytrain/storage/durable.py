"""Files that a power failure leaves whole: their bytes are on the disk before a name leads to them.

A rename alone does not do that. The disk may hold the new name and none of the bytes, so that the file is empty, or
full of zeros, when the machine is on again.
"""

import errno
import os
from pathlib import Path

_NOT_POSSIBLE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EACCES}
"""Error numbers where a disk cannot flush a file or folder, or where a folder may be written to but not read."""


def sync(path: str | Path) -> None:
    """Return when what is in the file or folder at `path` is on the disk.

    Where the disk cannot flush it, as some network disks cannot flush folders, this returns at once.

    Raises:
        OSError: The disk failed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_POSSIBLE:
            raise


def sync_names(folder: str | Path, *, known: Path) -> None:
    """Return when the names in a folder, and the names of the folders above it that are new, are on the disk.

    Args:
        folder: Folder in which a name is new.
        known: The nearest folder above it, or the folder itself, that was there before.
    """
    path = Path(folder)
    sync(path)
    while path != known and path != path.parent:
        path = path.parent
        sync(path)


def nearest_folder(path: str | Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    path = Path(path)
    return next(parent for parent in (path, *path.parents) if parent.exists())
