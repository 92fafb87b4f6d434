"""Files that others name, read up to a limit: a device such as /dev/zero has no end, and a sparse file no content."""

import errno
import os
import stat
from pathlib import Path

BLOCK = 2**20
"""Bytes that are read at a time of a pipe or a device, whose size is not known."""


def read_bounded(path: Path, *, most: int, regular: bool = True) -> bytes:
    """Return the content of a file.

    Args:
        path: File to read.
        most: Largest size in bytes.
        regular: Whether to refuse devices and pipes, links to them included.

    Raises:
        OSError: The file cannot be read, is larger than `most`, or is no regular file; `strerror` says which.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # without O_NONBLOCK, opening a pipe waits for somebody who writes into it
    descriptor = os.open(path, os.O_RDONLY | (getattr(os, "O_NONBLOCK", 0) if regular else 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if regular and not stat.S_ISREG(found.st_mode):
            raise not_regular(path)
        if found.st_size > most:
            raise too_large(path, most=most)
        # not `most` at once: Python reserves what it is asked for, and 16 threads that read images would reserve 4 GiB
        parts = [file.read(found.st_size + 1)]
        size = len(parts[0])
        while parts[-1] and size <= most:
            parts.append(file.read(BLOCK))
            size += len(parts[-1])
    if size > most:
        raise too_large(path, most=most)
    return b"".join(parts)


def too_large(path: object, *, most: int) -> OSError:
    """Return the error of a file that is larger than `most` bytes."""
    return OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))


def not_regular(path: object) -> OSError:
    """Return the error of a device, a pipe or a folder in the place of a file."""
    return OSError(errno.EINVAL, "no regular file", str(path))
