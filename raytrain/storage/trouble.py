"""What a message says where storage cannot be read or written, and what to do then."""

import errno
from pathlib import Path

from raytrain.storage.disk import free_bytes
from raytrain.storage.retry import passes

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a disk, a quota or a largest file size that has no room left."""


def why_not(where: str, error: OSError, *, size: int, disk: Path | None, retry_s: float) -> str:
    """Return why a file or folder cannot be read or written.

    Args:
        where: Path or URI of the file or folder.
        error: Error of the last try.
        size: Number of bytes that were to be written.
        disk: Folder on the local disk, which may not have been made yet; None in object storage.
        retry_s: Seconds for which it was tried again.
    """
    if error.errno in FULL:
        free = f", {free_bytes(disk):,} are free" if disk else ""
        return (
            f"{where}: no space is left: {size:,} bytes were to be written{free}.\n"
            "Free some space; the same command goes on from there."
        )
    if passes(error):
        tried = f" for {retry_s:.0f} s" if retry_s else ""
        return f"{where}: the storage does not answer{tried}: {error}"
    return f"{where}: cannot be written: {error}"
