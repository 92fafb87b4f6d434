"""This machine: the memory and cores that this process may use, its GPUs, and how to reach it without a proxy.

A container or SLURM may leave the process less memory and fewer cores than the machine has.
"""

import math
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.request import getproxies_environment

DEVICE = "RAYTRAIN_DEVICE"
"""Environment variable that names the device of a run in one process."""
CGROUPS = Path("/sys/fs/cgroup")
"""Folder of the control groups, on Linux."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""File that lists the control groups of this process, on Linux."""
SHARED_MEMORY = Path("/dev/shm")
"""Folder of the memory that processes share, on Linux."""
RESOURCES = (resource.RLIMIT_DATA, resource.RLIMIT_AS)
"""Limits of a process that bound its memory: `ulimit -d` and `ulimit -v`."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names by which a machine reaches itself."""


def named_device() -> str:
    """Return the device that RAYTRAIN_DEVICE names for a run in one process; "" where it is not set."""
    return os.environ.get(DEVICE, "")


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


def usable_cores(*, cgroups: Path = CGROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    Those are the cores of the machine, or those that `taskset` or SLURM allots to the process, or as many as the share
    of time of its control groups comes to, where that is less. A part of a core counts as one.

    Args:
        cgroups: Folder of the control groups.
        own_groups: File that lists those of this process.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([there, *(max(1, math.ceil(share)) for share in _core_shares(cgroups, own_groups))])


def free_shared_memory() -> int | None:
    """Return the bytes that are free in /dev/shm, where processes share memory; None where there is no such folder.

    Docker gives a container 64 MB of it, unless `--shm-size` says more.
    """
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def without_proxy() -> dict[str, str]:
    """Return the variables of the environment with which HTTP to this machine goes to it directly.

    They are `no_proxy` and `NO_PROXY`, since some programs read the one and some the other, with the hosts that are
    listed there already. {} where no proxy is named, or where none is used for any host ("*").
    """
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if not getproxies_environment() or listed.strip() == "*":
        return {}
    hosts = ",".join(dict.fromkeys([*filter(None, listed.split(",")), *LOOPBACK]))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def _group_limits(cgroups: Path, own_groups: Path) -> Iterator[int]:
    """Yield the limits of memory of this process's groups and of all groups above them."""
    for group, version in _groups("memory", cgroups, own_groups):
        text = _read(group / ("memory.limit_in_bytes" if version == 1 else "memory.max"))
        if text.isdigit():  # "max" is none
            yield int(text)


def _core_shares(cgroups: Path, own_groups: Path) -> Iterator[float]:
    """Yield the cores that the time of this process's groups comes to, and that of all groups above them."""
    for group, version in _groups("cpu", cgroups, own_groups):
        if version == 1:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        else:
            quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):  # "max", or -1, is none
            yield int(quota) / int(period)


def _groups(controller: str, cgroups: Path, own_groups: Path) -> Iterator[tuple[Path, Literal[1, 2]]]:
    """Yield the folders of this process's groups and of all groups above them, each with the version of its tree."""
    for line in _read(own_groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # version 2 has no name of a controller here, and one tree for all of them
        tree: Path = cgroups / controller if controllers else cgroups
        group = PurePosixPath(path)
        for above in (group, *group.parents):  # in a container, the tree may begin at the group
            yield tree / str(above).lstrip("/"), 1 if controllers else 2


def _read(path: Path) -> str:
    """Return the text of a file; "" where there is none, as without Linux."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
