"""Tests of raytrain.machine: the memory and the cores that a process may use, under control groups of both versions."""

import os
import resource
from pathlib import Path

import pytest

from raytrain import machine
from raytrain.machine import memory_limit, usable_cores

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def unlimited_process(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: unlimited)


def limit_of(tmp_path: Path, own: str, **limits: str) -> int:
    (tmp_path / "own").write_text(own)
    for name, text in limits.items():
        file = tmp_path / "tree" / name.replace("__", "/").replace("_in_", ".limit_in_").replace("_max", ".max")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return memory_limit(cgroups=tmp_path / "tree", own_groups=tmp_path / "own")


def test_what_is_free_of_shared_memory_is_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    status = os.statvfs(tmp_path)
    assert machine.free_shared_memory() == pytest.approx(status.f_bavail * status.f_frsize, rel=0.1)
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")
    assert machine.free_shared_memory() is None


def test_without_groups_the_memory_of_the_machine_counts(tmp_path: Path):
    assert memory_limit(cgroups=tmp_path / "none", own_groups=tmp_path / "none") == MACHINE


def test_the_limit_of_a_group_of_version_2_counts(tmp_path: Path):
    assert limit_of(tmp_path, "0::/job\n", job__memory_max="1048576\n") == 1048576


def test_a_lower_limit_above_the_group_counts(tmp_path: Path):
    limits = {"job__step__memory_max": "max\n", "job__memory_max": "4096\n", "memory_max": "8192\n"}
    assert limit_of(tmp_path, "0::/job/step\n", **limits) == 4096


def test_the_limit_of_a_group_of_version_1_counts(tmp_path: Path):
    own = "4:cpu,cpuacct:/other\n3:memory:/job\n"
    limits = {"memory__job__memory_in_bytes": "2048\n", "memory__other__memory_in_bytes": "1\n"}
    assert limit_of(tmp_path, own, **limits) == 2048


def test_in_a_container_the_tree_begins_at_the_group(tmp_path: Path):
    assert limit_of(tmp_path, "3:memory:/outside/job\n", memory__memory_in_bytes="2048\n") == 2048


def test_no_limit_is_told_from_a_high_one(tmp_path: Path):
    assert limit_of(tmp_path, "3:memory:/\n", memory__memory_in_bytes="9223372036854771712\n") == MACHINE


def test_a_limit_of_the_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (1 << 20, resource.RLIM_INFINITY))
    assert memory_limit(cgroups=tmp_path, own_groups=tmp_path / "none") == 1 << 20


def cores_of(tmp_path: Path, own: str, **files: str) -> int:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "tree" / name.replace("__", "/").replace("cpu_", "cpu.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_cores(cgroups=tmp_path / "tree", own_groups=tmp_path / "own")


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
def test_the_cores_that_the_process_is_allotted_count(tmp_path: Path):
    assert cores_of(tmp_path, "0::/\n") == 8
    assert cores_of(tmp_path, "0::/\n", cpu_max="max 100000\n") == 8


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("150000", 2), ("20000", 1), ("9900000", 8)])
def test_a_share_of_time_in_version_2_is_that_many_cores_and_a_part_is_one(tmp_path: Path, quota: str, cores: int):
    assert cores_of(tmp_path, "0::/job\n", job__cpu_max=f"{quota} 100000\n", cpu_max="max 100000\n") == cores


@pytest.mark.usefixtures("eight_cores")
def test_a_share_of_time_in_version_1_counts_and_no_share_does_not(tmp_path: Path):
    own = "4:cpu,cpuacct:/job\n"
    files = {"cpu__job__cpu_cfs_period_us": "100000\n", "cpu__cpu_cfs_quota_us": "-1\n"}
    assert cores_of(tmp_path, own, **files, cpu__job__cpu_cfs_quota_us="300000\n") == 3
    assert cores_of(tmp_path, own, cpu__job__cpu_cfs_quota_us="-1\n") == 8
