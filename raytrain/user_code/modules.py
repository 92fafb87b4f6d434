"""User code imported from its text, each source apart from all others.

The modules of a source are called `raytrain_user_code_<digest>.my_net`: two versions of a file stand side by side in
one process, and nothing of `sys.path` changes. Inside them, `import my_layers` finds the file beside, at any time.
"""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import logging
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.user_code.isolation import isolated
from raytrain.user_code.reference import Reference
from raytrain.user_code.source import Source, kept, path_from_here

log = logging.getLogger(__name__)

_PREFIX = "raytrain_user_code_"
_COMPILED: dict[tuple[str, str], str] = {}
"""Name of each file that was imported, by the digest of its source and the path that it was compiled under."""


@cache
def imported(reference: Reference) -> Callable[..., Any]:
    """Return the class or function that a reference names.

    Args:
        reference: With the digest of a source that this process keeps.

    Raises:
        ExperimentError: The code fails when it is imported, or has no such name, where the message names file and
            line; or this process has not been given it.
    """
    source = kept(reference.digest)
    if source is None:
        raise ExperimentError(
            f"{reference} is code that came with a run or a model, and that nobody has allowed to run; "
            "look at it, then add --allow-code, or allow_code=True in Python"
        )
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    inside = reference.file_or_module.removesuffix(".py") if reference.is_file else reference.file_or_module
    try:
        with isolated() as changed:
            module = importlib.import_module(f"{_PREFIX}{reference.digest}.{inside}")
    except (Exception, SystemExit) as error:
        raise ExperimentError(explained(error, source)) from error
    for change in changed:
        log.warning("%s sets %s when it is imported; this is undone: other trials would change with it", source, change)
    found = getattr(module, reference.attribute, None)
    file = source.shown_path(_file_of(inside, source) or reference.file_or_module)
    if found is None:
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ExperimentError(
            f"{file}: has no {reference.attribute!r}; it has {', '.join(sorted(known)) or 'no class or function'}"
        )
    if not callable(found):
        raise ExperimentError(
            f"{file}: {reference.attribute} is {type(found).__name__}; name a class or a function that makes one"
        )
    return found


def definition(function: Callable[..., Any], reference: Reference) -> str:
    """Return `file:line` where a class or function is defined, or the file that the reference names."""
    source = kept(reference.digest)
    code = getattr(function, "__code__", None) or getattr(getattr(function, "__init__", None), "__code__", None)
    file = _file_in(source, code.co_filename) if source and code else None
    return f"{source.shown_path(file)}:{code.co_firstlineno}" if source and code and file else reference.file_or_module


def explained(error: BaseException, source: Source, *, otherwise: str = "") -> str:
    """Return an error of user code as one sentence, with the file and the line of that code where it happened.

    Args:
        error: The error.
        source: The code.
        otherwise: What is named where no line of that code was running.
    """
    if isinstance(error, SyntaxError):
        return f"{path_from_here(error.filename or str(source))}:{error.lineno}: is not valid Python: {error.msg}"
    frames = [
        f"{source.shown_path(file)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if (file := _file_in(source, frame.filename))
    ]
    where = f"{frames[-1] if frames else otherwise or source}: "
    reason = str(error).strip().splitlines()
    return f"{where}{type(error).__name__}{': ' + reason[0] if reason else ''}"


def line_in_user_code(error: BaseException) -> str | None:
    """Return `file:line` of the user's code that was running when an error was raised; None where there was none."""
    lines = [
        f"{path_from_here(frame.f_code.co_filename)}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(_PREFIX)
    ]
    return lines[-1] if lines else None


def _file_in(source: Source, compiled: str) -> str | None:
    """Return the name of a file in a source, by the path that it was compiled under; None for another file."""
    return _COMPILED.get((source.digest, compiled))


def _file_of(module: str, source: Source) -> str | None:
    """Return the file of a module in a source; "" for a package without one."""
    inside = module.replace(".", "/")
    for candidate in (f"{inside}/__init__.py", f"{inside}.py"):
        if candidate in source.files:
            return candidate
    return "" if any(name.startswith(f"{inside}/") for name in source.files) else None


class _Loader(importlib.abc.InspectLoader):
    """What imports one module from text."""

    def __init__(self, source: Source, file: str, prefix: str) -> None:
        self._source = source
        self._file = file
        self._prefix = prefix

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 (the signature of a loader)
        """Return the text, which tracebacks show too."""
        return self._source.files.get(self._file, "")

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        """Return whether other modules lie below."""
        return not self._file or Path(self._file).name == "__init__.py"

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the compiled text, under the path that messages name."""
        path = self._source.full_path(self._file)
        _COMPILED[self._source.digest, path] = self._file
        return compile(self.get_source(fullname), path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the text with an `import` that looks beside it first."""
        if not self._file:
            return
        module.__file__ = self._source.full_path(self._file)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_beside(self._source, self._prefix)}
        exec(self.get_code(module.__name__), vars(module))


def _import_beside(source: Source, prefix: str) -> Callable[..., Any]:
    """Return `__import__` for the modules of a source."""

    def import_(
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        top = name.partition(".")[0]
        if level == 0 and _file_of(top, source) is not None:
            module = builtins.__import__(f"{prefix}.{name}", globals, locals, tuple(fromlist or ("__name__",)), 0)
            return module if fromlist else sys.modules[f"{prefix}.{top}"]
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    return import_


class _Finder(importlib.abc.MetaPathFinder):
    """What finds the modules of kept sources."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 (the signature of a finder)
        target: types.ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of a source; None for any other."""
        if not fullname.startswith(_PREFIX):
            return None
        prefix, _, inside = fullname.partition(".")
        source = kept(prefix.removeprefix(_PREFIX))
        if source is None:
            return None
        file = _file_of(inside, source) if inside else ""
        if file is None:
            return None
        loader = _Loader(source, file, prefix)
        return importlib.machinery.ModuleSpec(fullname, loader, is_package=loader.is_package(fullname))


_FINDER = _Finder()
