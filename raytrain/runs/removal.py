"""What is deleted of runs: whole run folders, and checkpoints that nobody needs any more. Links are never followed."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from raytrain.errors import RunFolderError, StorageError
from raytrain.runs.folder import EXPERIMENT, WRITTEN, is_from_a_run
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.runs.user_code import CODE, PARAMETERS
from raytrain.storage.folder import Folder
from raytrain.user_code.reference import DIGEST_LENGTH

_BESIDE = frozenset({"README.md", "report.html", "plots", "code", "init"})
"""Names of what is made for readers, and of what trials are given: the code and the weights of the user's own."""
_CODE = re.compile(rf"[0-9a-f]{{{DIGEST_LENGTH}}}|{re.escape(PARAMETERS)}.*")
"""Names in the folder of the user's code that a run writes."""
_PASSING = re.compile(r"\.ray|\.probe-.*|.*\.part|.*\.damaged\d*|\.DS_Store|Thumbs\.db")
"""Names that a check, a kill, a repair or the operating system leaves; `.ray` is Tune's, while a run lasts."""


def refuse_removal(folder: Folder, *, out: str) -> None:
    """Refuse to delete what is no run folder, or is reached by a link that leads out of the folder of runs.

    Args:
        folder: The folder, which has an experiment.yaml.
        out: Folder or URI of runs.

    Raises:
        RunFolderError: It is one; the message says why.
    """
    refuse_foreign(folder)
    path = folder.local_path
    if path is None:
        return
    runs = Path(out).resolve()
    below = "://" not in out and Path(os.path.normpath(path)).is_relative_to(os.path.normpath(Path(out).absolute()))
    if path.is_symlink() or (below and not path.resolve().is_relative_to(runs)):
        raise RunFolderError(
            f"{folder} is not deleted: it is a link to {path.resolve()}; name that folder, or remove the link yourself"
        )


def refuse_foreign(folder: Folder, *, instead: str = "") -> None:
    """Refuse to delete the contents of a folder that holds anything that no run writes, or that no run has written.

    A kill may have left the experiment alone, which is deleted last, or with the code, which is written first.

    Args:
        folder: The folder, which has an experiment.yaml.
        instead: What may be done instead, as the end of a sentence.

    Raises:
        RunFolderError: It is one; the message says what was found.
    """
    names = {name for name in folder.names() if not _PASSING.fullmatch(name)}
    if foreign := sorted(names - WRITTEN - _BESIDE - {EXPERIMENT}):
        listed = ", ".join(foreign[:5]) + (", …" if len(foreign) > 5 else "")
        raise RunFolderError(f"{folder} is not deleted: no run writes {listed}; move that away first{instead}")
    if names & WRITTEN:
        return
    left_by_a_kill = names <= {EXPERIMENT, CODE} and all(map(_CODE.fullmatch, (folder / CODE).names()))
    if not (left_by_a_kill and is_from_a_run(folder)):
        raise RunFolderError(
            f"{folder} is not deleted: beside {EXPERIMENT} there is nothing that a run writes; move what you want to "
            f"keep to another folder, and delete this one yourself{instead}"
        )


def remove_run(folder: Folder) -> None:
    """Delete a run folder. `experiment.yaml` goes last: after a kill, the same command goes on.

    Raises:
        StorageError: Something cannot be deleted.
    """
    empty_run(folder)
    path = folder.local_path
    if path is None:
        folder.remove()
        return
    try:
        path.rmdir()
    except OSError as error:
        raise _not_deleted(folder, error) from error


def empty_run(folder: Folder) -> None:
    """Delete what is in a run folder, which need not exist. `experiment.yaml` goes last, as by `remove_run`.

    Raises:
        StorageError: Something cannot be deleted.
    """
    path = folder.local_path
    names = sorted(folder.names(), key=lambda name: (name == EXPERIMENT, name in WRITTEN, name))
    try:
        if path is not None:
            for name in names:
                _delete(path / name)
            return
        files = {file.name for file in folder.files()}
        for name in names:
            if name in files:
                folder.delete(name)
            else:
                (folder / name).remove()
    except OSError as error:
        raise _not_deleted(folder, error) from error


def superfluous_checkpoints(folder: Folder, *, keep: Iterable[str]) -> list[str]:
    """Return the trials whose checkpoints may go: all that have any, but those of `keep`.

    Raises:
        RunFolderError: A checkpoint is reached by a link, and may lie elsewhere.
    """
    kept = {*keep}
    found: list[str] = []
    for trial in (folder / "trials").names():
        there = checkpoint_folder(folder, trial)
        if trial in kept or not there.names():
            continue
        path = there.local_path
        run = folder.local_path
        if path and run and path.resolve() != run.resolve() / "trials" / trial / there.name:
            raise RunFolderError(f"{there} is reached by a link, to {path.resolve()}; nothing was deleted")
        found.append(trial)
    return found


def remove_checkpoints(folder: Folder, trials: Iterable[str]) -> None:
    """Delete the checkpoints of trials; their results, curves and predictions stay.

    Raises:
        StorageError: One cannot be deleted.
    """
    for trial in trials:
        there = checkpoint_folder(folder, trial)
        try:
            if (path := there.local_path) is not None:
                _delete(path)
            else:
                there.remove()
        except OSError as error:
            raise _not_deleted(there, error) from error


def size_of(folder: Folder) -> int:
    """Return the size of all files in a folder in bytes; links count as themselves."""
    path = folder.local_path
    if path is None:
        return sum(file.size for file in folder.files())
    return sum(
        os.lstat(Path(parent) / name).st_size for parent, _, names in os.walk(path, followlinks=False) for name in names
    )


def _not_deleted(folder: Folder, error: OSError) -> StorageError:
    return StorageError(f"{folder} cannot be deleted ({error}); the same command tries again")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
