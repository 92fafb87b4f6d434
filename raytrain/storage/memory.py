"""How much memory this process may use: that of the machine, or less where a limit is set."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
"""Folder of the control groups, on Linux."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""File that lists the control groups of this process, on Linux."""
RESOURCES = (resource.RLIMIT_DATA, resource.RLIMIT_AS)
"""Limits of a process that bound its memory: `ulimit -d` and `ulimit -v`."""


def memory_limit(*, cgroups: Path = CGROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Return the bytes of memory that this process may use at most.

    That is the memory of the machine, or the lowest limit of its control groups (version 1 or 2, as containers and
    SLURM set them) or of the process itself, where it is lower.

    Args:
        cgroups: Folder of the control groups.
        own_groups: File that lists those of this process.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_group_limits(cgroups, own_groups)]
    own = [resource.getrlimit(name)[0] for name in RESOURCES]
    return min([*limits, *(limit for limit in own if limit != resource.RLIM_INFINITY)])


def _group_limits(cgroups: Path, own_groups: Path) -> Iterator[int]:
    """Yield the limits of this process's groups and of all groups above them."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # version 2 has no name of a controller here, and one tree for all of them
        tree, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        group = PurePosixPath(path)
        for above in (group, *group.parents):  # in a container, the tree may begin at the group
            try:
                text = (tree / str(above).lstrip("/") / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # "max" is none
                yield int(text)
