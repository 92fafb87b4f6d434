"""What a command takes along to a cluster: its experiment file, files of the user's, and raytrain itself."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from pathspec import GitIgnoreSpec

from raytrain.errors import PreflightError, counted
from raytrain.experiment.shipped import SHIPPED_FILES, shipped_file
from raytrain.provenance.versions import CODE_FILE, describe_code
from raytrain.user_code.source import kept

MAX_BYTES = 500 * 2**20
"""Largest size of a package in bytes; Ray's dashboard refuses 512 MiB and more."""
IGNORE_FILES = (".gitignore", ".rayignore")
LARGEST = 5
"""Number of files that the message about a too large package names."""
FILES = "files"
"""Folder of a package in which the command runs, with all files of the user's.

Ray puts a package on the import path of every process of a job. So nothing of the user's lies at its top: a `torch.py`
or a `sitecustomize.py` that was sent would otherwise run there.
"""


@dataclass
class Package:
    """A folder in which a command runs on a cluster as it does here.

    Attributes:
        folder: Local folder with raytrain, and with the files of the user's in the folder `FILES`; its copy is on the
            import path of the job.
        sizes: Size of each file in bytes, by the path that the command has it under, or by that of a module.
    """

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)

    def add_raytrain(self) -> None:
        """Add this very version of raytrain, its shipped experiments, and where the code comes from."""
        package = Path(str(files("raytrain")))
        sent = (".py", ".pyi", ".typed", ".yaml", ".html", ".css", ".js", ".md", ".txt", ".sh")
        for path in _kept(package):
            if path.suffix in sent:
                self._put(package / path, f"raytrain/{path.as_posix()}", self.folder)
        for name in SHIPPED_FILES:
            self._put(shipped_file(name), f"raytrain/_experiments/{name}", self.folder)
        code = self.folder / "raytrain" / CODE_FILE
        code.write_text(json.dumps(describe_code()))
        self.sizes[f"raytrain/{CODE_FILE}"] = code.stat().st_size

    def add(self, path: Path, *, beside: Path | None = None) -> None:
        """Add a file or a folder, less what its .gitignore and .rayignore leave out.

        It is called there as `name_beside` says.

        Args:
            path: The file or folder.
            beside: Experiment file of the command; None for a shipped one.

        Raises:
            PreflightError: It is not there, or has no name of its own.
        """
        there = name_beside(path, beside)
        if there in {"", ".."}:
            raise PreflightError(f"--send {path} has no name; name the folder itself, or what you need of it")
        if path.is_dir():
            self._copy(path, there)
        elif path.is_file():
            self._add(path, there)
        else:
            raise PreflightError(f"{path}: there is no such file or folder; check the path of --send")

    def add_user_code(self, digests: Iterable[str], *, beside: Path | None) -> None:
        """Add the files of the user's code, where the command and its experiment file find them again.

        Args:
            digests: Digests of the code, which this process has read.
            beside: Experiment file of the command; None for a shipped one.

        Raises:
            PreflightError: A file lies neither in the working folder nor beside an experiment file from elsewhere.
        """
        for source in filter(None, map(kept, digests)):
            for name in source.files:
                self.add_beside(Path(source.full_path(name)), beside=beside)

    def add_beside(self, path: Path, *, beside: Path | None) -> None:
        """Add a file that the command's experiment names, where it finds it again.

        Args:
            path: The file.
            beside: Experiment file of the command; None for a shipped one.

        Raises:
            PreflightError: It lies neither in the working folder nor beside an experiment file from elsewhere.
        """
        here, path = Path.cwd(), path.parent.resolve() / path.name  # a link travels as the file that it stands for
        # an experiment file from elsewhere stands alone at the top of the package, and so does what lies beside it
        tops = [beside.resolve().parent, here] if beside and is_from_elsewhere(beside) else [here]
        top = next((top for top in tops if path.is_relative_to(top)), None)
        if top is None:
            raise PreflightError(
                f"{path}: is outside of the folder {here}, so the command would not find it on the cluster; "
                "submit from a folder that has the experiment file, the code and the weights in it"
            )
        self._add(path, path.relative_to(top).as_posix())

    def check_size(self) -> None:
        """Refuse what a cluster would refuse.

        Raises:
            PreflightError: It is too large; the largest files are named.
        """
        total = sum(self.sizes.values())
        if total > MAX_BYTES:
            largest = sorted(self.sizes.items(), key=lambda item: -item[1])[:LARGEST]
            raise PreflightError(
                f"{total / 2**20:.0f} MiB are too much for a job (at most {MAX_BYTES / 2**20:.0f}); the largest files: "
                + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in largest)
                + ".\nPut data where the cluster can read it (s3://, a shared file system), "
                "or exclude files in a .rayignore."
            )

    def __str__(self) -> str:
        return f"{counted(len(self.sizes), 'file')}, {sum(self.sizes.values()) / 2**20:.1f} MiB"

    def _copy(self, source: Path, there: str) -> None:
        for path in _kept(source):
            self._add(source / path, f"{there}/{path.as_posix()}")

    def _add(self, source: Path, there: str) -> None:
        self._put(source, there, self.folder / FILES)

    def _put(self, source: Path, there: str, top: Path) -> None:
        target = top / there
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        self.sizes[there] = target.stat().st_size


def _kept(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` that its ignore files do not exclude, as paths relative to it."""
    ignored = GitIgnoreSpec.from_lines(["__pycache__/", ".git/", *_lines(folder / name for name in IGNORE_FILES)])
    for parent, folders, names in os.walk(folder):
        here = Path(parent).relative_to(folder)
        folders[:] = sorted(name for name in folders if not ignored.match_file(f"{(here / name).as_posix()}/"))
        yield from (here / name for name in sorted(names) if not ignored.match_file((here / name).as_posix()))


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        if file.is_file():
            yield from file.read_text(encoding="utf-8").splitlines()


def name_there(path: Path) -> str:
    """Return what a path is called in a package: the same if it is relative and inside the current directory."""
    return path.name if is_from_elsewhere(path) else path.as_posix()


def name_beside(path: Path, file: Path | None) -> str:
    """Return what a path is called in a package with an experiment file: as `name_there` says, or as `from_file`."""
    return from_file(path, file) or name_there(path)


def from_file(path: Path, file: Path | None) -> str | None:
    """Return the path from an experiment file to what lies beside it; None where the command's paths stay as they are.

    An experiment file from outside of the working folder is called by its name alone in a package, and what lies beside
    it lies beside it again.

    Args:
        path: The file or folder.
        file: The experiment file; None for a shipped one.
    """
    if file is None or not (is_from_elsewhere(file) and is_from_elsewhere(path)):
        return None
    whole, top = path.resolve(), file.resolve().parent
    return whole.relative_to(top).as_posix() if whole.is_relative_to(top) else None


def is_from_elsewhere(path: Path) -> bool:
    """Return whether a file or folder is called otherwise in a package: by its name alone."""
    return path.is_absolute() or ".." in path.parts


def with_path(arguments: Sequence[str], path: Path) -> list[str]:
    """Return `arguments` with `path` as it is called in a package, as a word of its own or after an option's `=`."""
    here, there = str(path), name_there(path)
    renamed = {here: there, f"--grid={here}": f"--grid={there}"}
    return [renamed.get(word, word) for word in arguments]
