"""Bring a run folder from shared storage to this machine, and only what is new of it."""

import os
from dataclasses import dataclass
from pathlib import Path

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder, StoredFile


@dataclass(frozen=True)
class Pulled:
    """What was brought.

    Attributes:
        files: Files that were new or had changed.
        size: Their bytes.
        unchanged: Files that were here already.
    """

    files: int
    size: int
    unchanged: int


def pull(source: Folder, target: Path) -> Pulled:
    """Copy the files of the run folder `source` that `target` lacks or has in an older state.

    Files that only `target` has stay. A file is replaced as a whole, so a pull that is interrupted leaves
    nothing torn; the next one goes on.

    Raises:
        RunFolderError: There is no run folder at `source`.
    """
    if not source.exists("experiment.yaml"):
        raise RunFolderError(f"{source}: there is no run folder; give the URI that ends in the run's name")
    files = [file for file in source.files() if not file.name.startswith(".ray/")]
    new = [file for file in files if not _is_here(file, target)]
    for file in new:
        _copy(file, source, target)
    return Pulled(len(new), sum(file.size for file in new), len(files) - len(new))


def _is_here(file: StoredFile, target: Path) -> bool:
    try:
        here = (target / file.name).stat()
    except OSError:
        return False
    return here.st_size == file.size and here.st_mtime_ns >= file.modified


def _copy(file: StoredFile, source: Folder, target: Path) -> None:
    path = target / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(source.read(file.name))
    if file.modified:
        os.utime(part, ns=(file.modified, file.modified))
    part.replace(path)
