"""A run folder on its way home: copied from shared storage, or as one archive that the cluster prints.

`python -m raytrain.cluster.transfer FOLDER` packs it there.
"""

import base64
import binascii
import contextlib
import gzip
import io
import json
import logging
import os
import re
import shutil
import stat
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raytrain.errors import JobError, RunFolderError
from raytrain.provenance.manifest import NAME as MANIFEST
from raytrain.runs import REPORT
from raytrain.runs.folder import EXPERIMENT, WRITTEN, refuse_links
from raytrain.runs.writing.lock import run_locked
from raytrain.storage.folder import Folder, StoredFile

log = logging.getLogger(__name__)

BEGIN = "-----BEGIN RUN FOLDER-----\n"
END = "-----END RUN FOLDER-----"
LEFT = "Checkpoints that stay on the cluster, in MiB: "
MAX_BYTES = 256 * 2**20
"""Size in bytes of a run folder above which its checkpoints stay on the cluster, since the archive is sent as a log."""
LARGEST = 4 * 2**30
"""Most bytes that an archive may unpack to, and that a file in shared storage may have."""
STORED = "The run folder is in shared storage: "
LINE = 2**16
"""Number of base64 characters per line of the log that carries the archive."""
SHOWN = frozenset({EXPERIMENT, MANIFEST, "events.jsonl", "trials.jsonl", "metrics.jsonl", "predictions.npz"})
"""Names of the files that a report is made of: those of the run, and those in the folder of a trial."""


def pack(folder: Path) -> tuple[bytes, int]:
    """Return `folder` as a tar.gz archive, and the size in bytes of the checkpoints that are not in it.

    They are left out where the folder has more than `MAX_BYTES`.
    """
    total = sum(size for _, size in _entries(folder))
    left = 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, size in _entries(folder):
            if "checkpoint" in name.parts and total > MAX_BYTES:
                left += size
            else:
                with contextlib.suppress(FileNotFoundError):  # as a checkpoint, while the run goes on
                    _add(archive, folder, name)
    return buffer.getvalue(), left


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the name and size of every file and link in a run folder but Ray's own; what vanishes meanwhile is left."""
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".ray"]
        links = [name for name in folders if Path(at, name).is_symlink()]
        for name in [*names, *links]:
            path = Path(at, name)
            with contextlib.suppress(FileNotFoundError):
                yield path.relative_to(folder), path.lstat().st_size


def _add(archive: tarfile.TarFile, folder: Path, name: Path) -> None:
    path = folder / name
    if not stat.S_ISREG(path.lstat().st_mode):
        archive.add(path, f"./{name.as_posix()}", recursive=False)  # who unpacks it refuses it
        return
    with path.open("rb") as file:  # its size and content at the same time: a run may write it or replace it
        content = file.read()
        member = archive.gettarinfo(arcname=f"./{name.as_posix()}", fileobj=file)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def received(text: str, *, job: str) -> bytes | str | None:
    """Return what `main` has printed into a log: the archive, or the URI of the run folder; None where it is not whole.

    Checkpoints that were left out are warned of.

    Args:
        text: The log, which comes from the cluster.
        job: Name of the job, for the warning.
    """
    if STORED in text:
        return text.partition(STORED)[2].splitlines()[0]
    archive, whole, _ = text.partition(BEGIN)[2].partition(END)
    if not whole:
        return None
    try:
        content = base64.b64decode(archive)
    except binascii.Error:
        return None
    if left := re.search(rf"^{re.escape(LEFT)}(\d{{1,12}})$", text.partition(BEGIN)[0], re.MULTILINE):
        log.warning(
            "the checkpoints of %s stay on the cluster, because the run folder has more than %d MiB (%s of "
            "checkpoints). So `raytrain export` works on the cluster only. To have all of it, submit with --out and "
            "the URI of storage that the nodes share",
            *(job, MAX_BYTES // 2**20, left[1]),
        )
    return content


def unpack(content: bytes, folder: Path) -> None:
    """Write an archive of `pack` to `folder`, over what an earlier state of the same run left there.

    Raises:
        JobError: Another run is there, or one that was continued there; or the archive is damaged or holds what no run
            folder has.
        RunFolderError: A link leads out of the folder, or another command works on it.
        PreflightError: The folder cannot be written.
    """
    refuse_links(Folder.at(folder))
    try:
        with run_locked(Folder.at(folder)):
            _unpack(content, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, KeyError) as error:
        raise JobError(f"the archive of {folder.name} cannot be unpacked ({error}); nothing was copied") from error


def _unpack(content: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        size = 0
        for member in archive:
            if not (member.isfile() or member.isdir()) or not _is_inside(member.name):
                raise JobError(f"the archive of {folder.name} holds {member.name[:80]!r}, which no run folder has")
            size += member.size  # what the next step of the loop reads
            if size > LARGEST:
                raise JobError(
                    f"the archive of {folder.name} unpacks to more than {LARGEST:,} bytes; nothing was copied"
                )
        arrived = {name: _content(archive, name) for name in (EXPERIMENT, MANIFEST, "events.jsonl")}
        if problem := _in_the_way(arrived.get, Folder.at(folder)):
            raise JobError(problem)
        arriving = folder.with_name(f".{folder.name}.arriving")
        if arriving.is_symlink():
            arriving.unlink()
        shutil.rmtree(arriving, ignore_errors=True)
        archive.extractall(arriving, filter="data")
    here = Folder.at(folder)
    if any(content != (here.read(name) if here.exists(name) else None) for name, content in arrived.items()):
        (folder / REPORT).unlink(missing_ok=True)  # of an earlier state; a later one may have none
    shutil.copytree(arriving, folder, dirs_exist_ok=True)
    shutil.rmtree(arriving)


def _content(archive: tarfile.TarFile, name: str) -> bytes | None:
    try:
        file = archive.extractfile(f"./{name}")
    except KeyError:
        return None
    return file.read() if file else None


def _in_the_way(arriving: Callable[[str], bytes | None], target: Folder) -> str | None:
    """Return why a run must not be written over what `target` holds; None where that is an earlier state of it.

    Args:
        arriving: Function that returns the content of a file of the run that arrives, or None.
        target: Folder that it is to be written to.
    """

    def here(name: str) -> bytes | None:
        return target.read(name) if target.exists(name) else None

    if not any(target.exists(name) for name in (EXPERIMENT, *WRITTEN)):
        return None
    advice = "nothing was copied. Move it away, or choose another --out"
    old, new = _sessions(here(MANIFEST)), _sessions(arriving(MANIFEST))
    same = old[:1] == new[:1] if old else here(EXPERIMENT) == arriving(EXPERIMENT)
    if not same:
        return f"{target} holds another run; {advice}"
    if old != new[: len(old)]:
        return f"{target} holds this run, and it was continued there; {advice}"
    return None


def _sessions(manifest: bytes | None) -> list[str]:
    """Return when the commands that worked on a run began, by its manifest; none for a manifest that is damaged.

    The first one tells a run from others of its name. `experiment.yaml` does not: a run may grow by seeds and trials.
    """
    try:
        return [str(session["started"]) for session in json.loads(manifest or b"{}")["sessions"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _is_inside(name: str) -> bool:
    """Return whether a relative name stays in its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and "\\" not in name


def main() -> None:
    """Print the archive of the folder that the command line names, as text; of one in object storage, where it is."""
    named = Folder.at(sys.argv[1])
    if not named.exists("experiment.yaml"):
        raise SystemExit(f"{named}: there is no run folder")
    if (folder := named.local_path) is None:
        sys.stdout.write(f"{STORED}{named}\n")
        return
    packed, left = pack(folder)
    if left:
        sys.stdout.write(f"{LEFT}{left / 2**20:.0f}\n")
    text = base64.b64encode(packed).decode()
    lines = (text[start : start + LINE] + "\n" for start in range(0, len(text), LINE))
    sys.stdout.writelines([BEGIN, *lines, END + "\n"])


if __name__ == "__main__":
    main()


@dataclass(frozen=True)
class Pulled:
    """A summary of a copied run folder.

    Attributes:
        files: Number of files that were copied because they were new or had changed.
        size: Size of the copied files in bytes.
        unchanged: Number of files that had not changed.
    """

    files: int
    size: int
    unchanged: int


def pull(source: Folder, target: Path) -> Pulled:
    """Copy the files of the run folder `source` that `target` lacks or has in an older state.

    Files that only `target` has stay, but for the report of earlier results. A file is replaced as a whole, so a pull
    that is interrupted leaves nothing torn; the next one goes on.

    Raises:
        RunFolderError: There is no run folder at `source`, a file of it would be written elsewhere or is too large, a
            link leads out of `target`, `target` holds another run or one that was continued there, or another command
            works on it.
        PreflightError: `target` cannot be written.
    """
    if not source.exists("experiment.yaml"):
        raise RunFolderError(f"{source}: is not a run folder; give the URI that ends in the run's name")
    files = [file for file in source.files() if not file.name.startswith(".ray/")]
    if outside := next((file.name for file in files if not _is_inside(file.name)), None):
        raise RunFolderError(f"{source} holds {outside[:80]!r}, which would be written outside of {target}")
    if large := next((file.name for file in files if file.size > LARGEST), None):
        raise RunFolderError(f"{source}/{large} is larger than {LARGEST:,} bytes; nothing was copied")
    refuse_links(Folder.at(target))

    def there(name: str) -> bytes | None:
        return source.read(name, most=LARGEST) if source.exists(name) else None

    with run_locked(Folder.at(target)):
        if problem := _in_the_way(there, Folder.at(target)):
            raise RunFolderError(problem)
        new = [file for file in files if not _is_here(file, target)]
        later = any(PurePosixPath(file.name).name in SHOWN for file in new)
        if not later:  # a report that was made here since then shows the same results
            new = [file for file in new if file.name != REPORT or not _is_here(file, target, of_any_size=True)]
        elif all(file.name != REPORT or file in new for file in files):
            (target / REPORT).unlink(missing_ok=True)
        # the manifest first: it tells which run this is, where the copy is interrupted
        copied = [file for file in sorted(new, key=lambda one: one.name != MANIFEST) if _copy(file, source, target)]
    return Pulled(len(copied), sum(file.size for file in copied), len(files) - len(new))


def _is_here(file: StoredFile, target: Path, *, of_any_size: bool = False) -> bool:
    with contextlib.suppress(OSError):
        here = (target / file.name).stat()
        return (of_any_size or here.st_size == file.size) and here.st_mtime_ns >= file.modified
    return False


def _copy(file: StoredFile, source: Folder, target: Path) -> bool:
    """Copy a file; return whether it was still there, for a run that goes on removes checkpoints."""
    try:
        content = source.read(file.name, most=LARGEST)
    except FileNotFoundError:
        return False
    path = target / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    if file.modified:
        os.utime(part, ns=(file.modified, file.modified))
    part.replace(path)
    return True
