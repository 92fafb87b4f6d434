"""Where a result comes from: the command, the code, the versions and the machine."""

import json
import os
import platform
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from raytrain import __version__
from raytrain.provenance.repository import changes_of, commit_of
from raytrain.user_code.installed import packages

PACKAGES = ("torch", "torchvision", "timm", "ray", "numpy", "pyarrow")
CODE_FILE = "_code.json"
"""Name of a file in the package with the commit of the code, for a cluster that has no copy of the repository."""


def describe_code() -> dict[str, Any]:
    """Return versions, and commit and uncommitted changes of a git repository, if there is one.

    It is the one that this process runs in, else the one that raytrain itself is run from; on a cluster, the one that
    the job was submitted from. The changes are those of tracked code, with secrets masked.
    """
    return {
        "raytrain": __version__,
        "python": platform.python_version(),
        "packages": {**packages(), **{name: _version(name) for name in PACKAGES}},
        **_describe_repository(),
    }


def _describe_repository() -> dict[str, Any]:
    package = Path(str(files("raytrain")))
    packed = package / CODE_FILE
    if packed.is_file():
        sent = json.loads(packed.read_text())
        return {name: sent.get(name) for name in ("git_commit", "git_diff", "git_diff_left_out")}
    found = ((commit_of(folder), folder) for folder in (Path(), package))
    commit, folder = next((one for one in found if one[0]), (None, Path()))
    diff, left_out = changes_of(folder) if commit else (None, [])
    return {
        "git_commit": commit,
        "git_diff": diff,
        "git_diff_left_out": left_out,
    }


def describe_machine() -> dict[str, Any]:
    """Return the system, processor, cores, memory in bytes and GPUs of this machine."""
    import torch  # takes over a second, and `raytrain results` reads manifests without it

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus,
    }


def command_line() -> list[str]:
    """Return the command that this process was started with, its program by name."""
    program = os.path.basename(sys.argv[0])  # noqa: PTH119 (argv[0] need not be a path)
    return ["raytrain" if program == "__main__.py" else program, *sys.argv[1:]]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
