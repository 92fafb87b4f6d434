"""The source of user code as text: a file or a module, and what it imports from beside it.

Sources are kept in this process by the digest of their content. A process that trains gets them with the trial.
"""

import ast
import difflib
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from raytrain.errors import ExperimentError, ModelError, counted
from raytrain.storage.bounded import read_bounded
from raytrain.user_code.reference import DIGEST_LENGTH, Reference

MAX_FILES = 500
"""Largest number of files of one source."""
MAX_BYTES = 5_000_000
"""Largest size of one source, in bytes."""
MAX_DIFF_LINES = 40
"""Largest number of lines of a difference that is shown."""
NOT_BESIDE = frozenset({"raytrain", *sys.stdlib_module_names})
"""Names that are never taken from beside a file."""

Files = dict[str, str]
"""Text of each file, by its path relative to the folder that imports start from, with slashes."""


@dataclass(frozen=True)
class Source:
    """The text of some code.

    Attributes:
        files: Text of each file, by its path relative to `root`.
        root: Folder on this machine that the files were read from; None where they came as text.
    """

    files: Files
    root: Path | None = field(default=None, compare=False)

    @property
    def sha256(self) -> str:
        """SHA-256 of the names and the texts of the files, 64 hex digits."""
        content = hashlib.sha256()
        for name, text in sorted(self.files.items()):
            for part in (name, text):
                encoded = part.encode()
                content.update(f"{len(encoded)}:".encode())
                content.update(encoded)
        return content.hexdigest()

    @property
    def digest(self) -> str:
        """The first hex digits of `sha256`, as references name it."""
        return self.sha256[:DIGEST_LENGTH]

    def full_path(self, name: str) -> str:
        """Return the path that a file was read from; its name where it came as text."""
        return str(self.root / name) if self.root else name

    def shown_path(self, name: str) -> str:
        """Return the path of a file as messages name it: relative to the working folder where it is inside."""
        return path_from_here(self.full_path(name))

    def __str__(self) -> str:
        lines = {name: text.count("\n") + (not text.endswith("\n")) for name, text in self.files.items()}
        return ", ".join(f"{name} ({counted(count, 'line')})" for name, count in sorted(lines.items()))


_KEPT: dict[str, Source] = {}


def path_from_here(path: str | Path) -> str:
    """Return a path as messages name it: relative to the working folder where it is inside."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working folder has been deleted
        return str(path)
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def keep(source: Source) -> str:
    """Keep a source in this process, so that references with its digest can be imported; return the digest.

    The same source read again from another folder is from there on the one in that folder.
    """
    if source.root or source.digest not in _KEPT:
        _KEPT[source.digest] = source
    return source.digest


def lies_inside(name: object) -> bool:
    """Return whether the name of a file, which somebody else may have written, is a path below its source's folder."""
    return isinstance(name, str) and "\0" not in name and all(part.strip(".") for part in name.split("/"))


def keep_all(sources: Mapping[str, Files]) -> None:
    """Keep sources that came from elsewhere, by digest.

    Raises:
        ModelError: The text of one is not what its digest says, or one of its names is no path below its folder.
    """
    for digest, files in sources.items():
        source = Source(dict(files))
        if outside := [name for name in files if not lies_inside(name)]:
            raise ModelError(f"the code {digest} has a file {outside[0]!r}, which is no path below its folder")
        if source.digest != digest:
            raise ModelError(f"the code of {', '.join(files)} has been changed: its digest is no longer {digest}")
        keep(source)


def kept(digest: str | None) -> Source | None:
    """Return the source of a digest, or None where this process has not been given it."""
    return _KEPT.get(digest or "")


def texts_of(digests: Iterable[str]) -> dict[str, Files]:
    """Return the files of the sources that this process keeps, by digest, as they travel."""
    return {digest: source.files for digest in digests if (source := kept(digest))}


def read(reference: Reference, *, folder: Path, installed: bool = False) -> Reference:
    """Read and keep the source behind a reference without a digest; return the reference with its digest.

    A reference to a file then has its name alone: identity is by content, wherever the file lies.

    Args:
        reference: File, relative to `folder` unless absolute; or module, beside `folder`, in the working folder or
            installed.
        folder: Folder of the experiment file, or the working folder.
        installed: Whether a module is looked for where packages are installed only: a folder of the same name does not
            stand for a package whose version is written down.

    Raises:
        ExperimentError: It is missing, cannot be read, is not Python, or is too large; the message names file and line.
    """
    if reference.is_file:
        path = (folder / reference.file_or_module).resolve()
        if "." in path.stem:
            better = f"{path.stem.replace('.', '_').strip('_')}.py"
            raise ExperimentError(
                f"{path_from_here(path)} cannot be imported, since its name has a dot before .py; rename it, such as "
                f"{better}"
            )
        source = _closure([path.name], path.parent, only=None)
        return Reference(path.name, reference.attribute, keep(source))
    top = reference.file_or_module.partition(".")[0]
    beside = [] if installed else [str(folder.resolve()), str(Path.cwd())]
    searched = [*beside, *sys.path]
    spec = PathFinder.find_spec(top, searched) or _linked(top)
    if spec is None or top in NOT_BESIDE or not (spec.origin or spec.submodule_search_locations):
        raise ExperimentError(
            f"there is no module {top!r} beside the experiment file, in the working folder or installed; "
            f"give a file, such as {top}.py:{reference.attribute}, or the name of a package"
        )
    found = Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or [])))
    root = found.parent.parent if found.name == "__init__.py" else found.parent
    files = list(_files_of(reference.file_or_module, root))
    inside = reference.file_or_module.replace(".", "/")
    if not {f"{inside}.py", f"{inside}/__init__.py"} & set(files):
        raise ExperimentError(
            f"there is no module {reference.file_or_module!r} in {path_from_here(root)}; check the name before "
            "the colon"
        )
    source = _closure(files, root, only=None if str(root) in beside else top)
    return Reference(reference.file_or_module, reference.attribute, keep(source))


def _linked(top: str) -> ModuleSpec | None:
    """Return where a package is that `pip install -e` has installed by a finder of its own, not by a path."""
    if top in NOT_BESIDE or top == "__main__":  # the latter's file is that of the command
        return None
    try:
        return find_spec(top)  # of a name without a dot, this runs no code of the package
    except ValueError:  # a module that was made in this process, from no file
        return None


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return what differs between two sources, as a unified diff of at most `MAX_DIFF_LINES` lines."""
    lines: list[str] = []
    for name in sorted({*before, *now}):
        old, new = (files.get(name, "").splitlines() for files in (before, now))
        lines += difflib.unified_diff(old, new, f"{name} before", f"{name} now", lineterm="", n=1)
    more = [f"... and {counted(len(lines) - MAX_DIFF_LINES, 'more line')}"] if len(lines) > MAX_DIFF_LINES else []
    return "\n".join([*lines[:MAX_DIFF_LINES], *more])


def _closure(entries: list[str], root: Path, *, only: str | None) -> Source:
    """Return the files and all that they import from `root`, directly or not.

    Args:
        entries: Paths relative to `root`.
        root: Folder that imports start from.
        only: The one top-level module to follow; None for all that lie in `root`.
    """
    files: Files = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        files[name] = _text(root / name)
        if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
            raise ExperimentError(
                f"{root / entries[0]}: imports more than {MAX_FILES} files or {MAX_BYTES / 1e6:.0f} MB from its own "
                "folder; that is too much to travel with a trial. Install the package where trials run, and import it "
                "in a small file"
            )
        for module in _imported(files[name], name, path_from_here(root / name)):
            top = module.partition(".")[0]
            if (only is None and top not in NOT_BESIDE) or top == only:
                waiting += _files_of(module, root)
    return Source(files, root)


def _text(path: Path) -> str:
    try:
        return read_bounded(path, most=MAX_BYTES).decode("utf-8-sig")  # Python, too, takes no notice of a BOM
    except FileNotFoundError:
        raise ExperimentError(f"{path_from_here(path)}: no such file; check the path before the colon") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{path_from_here(path)}: cannot be read: {error}; give a file of Python code in UTF-8"
        ) from None


def _files_of(module: str, root: Path) -> Iterator[str]:
    """Yield the files of a module in `root` and of the packages around it; none where it is not there."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        inside = Path(*parts[:length])
        for candidate in (inside / "__init__.py", inside.with_suffix(".py")):
            if (root / candidate).is_file():
                yield candidate.as_posix()
                break


def _imported(text: str, name: str, path: str) -> Iterator[str]:
    """Yield the full names of the modules that a file may import, and of what may be a module in one."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ExperimentError(f"{path}:{error.lineno}: is not valid Python: {error.msg}") from None
    except ValueError as error:
        raise ExperimentError(f"{path}: is not Python: {error}") from None
    except (RecursionError, MemoryError):  # both of Python's parser, which has limits of its own
        raise ExperimentError(f"{path}: is nested too deeply for Python to read it") from None
    package = list(Path(name).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
