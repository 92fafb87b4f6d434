"""A git repository as a manifest describes it: its commit, and the changes of its code that are not committed.

A working folder may be somebody else's, and its `.git/config` and `.gitattributes` may name programs that git runs:
to show a diff, to convert a file, to watch the folder, or to fetch what is missing. None of them is run here.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from raytrain.provenance.masking import masked

GIT_TIMEOUT_S = 10
MAX_FILES = 200
"""Most changed files whose changes are kept."""
MAX_DIFF = 200_000
"""Most characters of a diff that are kept."""
NO_DIFF_VARIABLE = "RAYTRAIN_NO_DIFF"
"""Environment variable that leaves the diff out, if it is set to anything but 0 or nothing."""
CODE = (
    *(".py", ".pyi", ".pyx"),
    *(".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"),
    *(".sh", ".toml", ".yaml", ".yml", "Makefile", "Dockerfile"),
)
"""Ends of the names of files whose changes are kept; of others the name is kept."""
SECRET_FILES = re.compile(r"(^|[/._-])(secrets?|credentials?|passwords?|id_rsa|id_ed25519)([/._-]|$)", re.IGNORECASE)
"""Paths that are left out even where they are code."""

_HARMLESS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.pager": "cat",
    "diff.ignoreSubmodules": "all",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",  # a folder that looks like a repository is none
}
_DIFF = (
    *("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames"),
    *("--ignore-submodules=all", "--submodule=short"),
)
_FILTER = re.compile(r"filter\..*\.(clean|smudge|process|required)", re.DOTALL)


class Changes(NamedTuple):
    """What differs from the last commit in the tracked files of a repository.

    Attributes:
        diff: Changes of code, as git shows them, with secrets masked; "" where there are none, None where it was not
            asked for or cannot be read.
        left_out: Paths of changed files whose content is not in `diff`.
    """

    diff: str | None
    left_out: list[str]


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder's repository is at, or None outside of one or without git."""
    return _git("rev-parse", "HEAD", cwd=folder)


def has_commit(folder: Path, commit: str) -> bool:
    """Return whether the repository of a folder still has a commit."""
    known = re.fullmatch(r"[0-9a-f]{7,64}", commit) is not None  # a manifest may say anything
    return known and _git("cat-file", "-e", f"{commit}^{{commit}}", cwd=folder) is not None


def changes_of(folder: Path) -> Changes:
    """Return how the tracked files of a folder's repository differ from its last commit.

    Only changes of code are kept, for what else is tracked may be large, or nobody else's business. What looks like a
    password, a token or a key in them is masked.
    """
    if os.environ.get(NO_DIFF_VARIABLE, "0") not in {"", "0"}:
        return Changes(None, [])
    top = _git("rev-parse", "--show-toplevel", cwd=folder)
    filters = _filters_off(folder)
    # a setting may name another folder, such as a home folder, as the one whose files are compared
    if top is None or filters is None or not (Path(top) / ".git").exists():
        return Changes(None, [])
    listed = _git(*_DIFF, "--name-only", "-z", cwd=Path(top), settings=filters)
    if listed is None:
        return Changes(None, [])
    changed = [name for name in listed.split("\0") if name]
    kept = [name for name in changed if name.endswith(CODE) and not SECRET_FILES.search(name)][:MAX_FILES]
    diff = _git(*_DIFF, "--", *kept, cwd=Path(top), settings=filters) if kept else ""
    return Changes(diff and masked(diff[:MAX_DIFF]), [name for name in changed if name not in kept])


def _filters_off(folder: Path) -> dict[str, str] | None:
    """Return settings that turn every content filter off: git would run its program on each file that has changed.

    None where the settings cannot be read, and so may hold filters.
    """
    names = _git("config", "--list", "--name-only", "-z", cwd=folder)
    if names is None:
        return None
    set_ = [name for name in names.split("\0") if _FILTER.fullmatch(name)]
    return {name: "false" if name.endswith(".required") else "" for name in set_}


def _git(*arguments: str, cwd: Path, settings: Mapping[str, str] | None = None) -> str | None:
    program = shutil.which("git")
    if program is None or not Path(program).is_absolute():  # one in the working folder is not git
        return None
    try:
        done = subprocess.run(
            [program, "--no-pager", "--literal-pathspecs", *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
            cwd=cwd,
            env=_environment({**_HARMLESS, **(settings or {})}),
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for git in which `settings` hold, whatever the repository's own say."""
    environment = dict(os.environ)
    given = os.environ.get("GIT_CONFIG_COUNT", "0")
    count = int(given) if given.isdecimal() else 0
    for index, (name, value) in enumerate(settings.items(), start=count):
        environment |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    return environment | {
        "GIT_CONFIG_COUNT": str(count + len(settings)),
        "GIT_ALLOW_PROTOCOL": "none",  # nothing is fetched for a repository that lacks objects
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",  # the index is not written, so no hook hears of it
        "GIT_TERMINAL_PROMPT": "0",
    }
