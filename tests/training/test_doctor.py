"""Tests of `raytrain doctor`: what it finds here, and what it says of what is missing."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.errors import PreflightError
from raytrain.training.doctor import ObjectStore, _disk, _memory, check_machine

GIB = 2**30


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_machine_on_which_trials_run_passes_and_stays_as_it_was(tmp_path: Path) -> None:
    ended = doctor("--local", "--out", str(tmp_path / "runs"))
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert [line[:2] for line in lines] == ["✓ "] * 6
    assert [line[2:].partition(":")[0] for line in lines] == ["versions", "device", "storage", "disk", "memory", "data"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("raytrain.training.doctor.free_bytes", lambda _: 2**30)
    ended = doctor("--local", "--out", str(tmp_path / "file"), "--dataset", "cifar10")
    assert ended.exit_code == 3
    assert "✗ storage: " in ended.stdout
    assert "  Choose an --out that can be written." in ended.stdout
    assert "✗ disk: 1.0 GiB free" in ended.stdout
    assert "raytrain data fetch cifar10" in ended.stdout


def test_a_data_set_of_the_hub_is_one_to_fetch_until_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path))
    arguments = ("--local", "--out", str(tmp_path / "runs"), "--dataset", "hf:someone/birds")
    ended = doctor(*arguments)
    assert ended.exit_code == 3
    assert "With a network: raytrain data fetch hf:someone/birds." in ended.stdout
    monkeypatch.setattr("raytrain.data.sources.is_fetched", lambda *_: True)
    ended = doctor(*arguments)
    assert ended.exit_code == 0, ended.output
    assert "✓ data: hf:someone/birds needs no download" in ended.stdout


def test_a_data_set_of_own_code_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_parts.py").write_text("def few(*, image_size, count: int = 4):\n    raise NotImplementedError\n")
    ended = doctor("--local", "--out", "runs", "--dataset", "my_parts.py:few(count=8)")
    assert ended.exit_code == 0, ended.output
    assert "✓ data: my_parts.py:few(count=8) needs no download" in ended.stdout
    assert "no such file" in doctor("--local", "--out", "runs", "--dataset", "absent.py:few").output


def test_json_has_every_check(tmp_path: Path) -> None:
    checks = json.loads(doctor("--local", "--out", str(tmp_path), "--json").stdout)["checks"]
    assert {tuple(check) for check in checks} == {("name", "ok", "found", "advice")}
    assert all(check["ok"] for check in checks)


def test_a_device_that_cannot_compute_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", broken)
    found = {check.name: check for check in check_machine(out=str(tmp_path), dataset="digits")}
    assert (found["device"].ok, found["device"].found) == (False, "no kernel image is available")


@pytest.mark.parametrize(
    ("images", "store", "said"),
    [
        (4 * GIB, ObjectStore(5 * GIB, shared=6 * GIB, folder=Path("/tmp"), disk=1 * GIB), ""),
        (7 * GIB, ObjectStore(5 * GIB, shared=6 * GIB, folder=Path("/tmp"), disk=3 * GIB), "object store has 5.0 GiB"),
        (1 * GIB, ObjectStore(5 * GIB, shared=GIB // 16, folder=Path("/tmp"), disk=2 * GIB), "docker run --shm-size"),
        (1 * GIB, ObjectStore(5 * GIB, shared=None, folder=Path("/tmp"), disk=0), ""),
        (7 * GIB, ObjectStore(5 * GIB), "object store has 5.0 GiB"),
    ],
)
def test_images_without_room_in_memory_are_warned_of(images: int, store: ObjectStore, said: str) -> None:
    problem = store.problem(images)
    assert said in problem
    assert bool(problem) is bool(said)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (ObjectStore(5 * GIB, shared=6 * GIB, folder=Path("/tmp"), disk=1 * GIB), "object store has 5.0 GiB; the rest"),
        (ObjectStore(5 * GIB, shared=GIB // 16, folder=Path("/tmp"), disk=6 * GIB), "/dev/shm has 0.1 GiB free; the"),
    ],
)
def test_images_without_room_on_the_disk_either_are_refused(store: ObjectStore, said: str) -> None:
    with pytest.raises(PreflightError, match="set TMPDIR") as refused:
        store.problem(7 * GIB)
    assert said in str(refused.value)
    assert f"/tmp has {store.disk / GIB:.1f} GiB free" in str(refused.value)


def test_doctor_names_the_store_and_what_is_free_around_it() -> None:
    good = ObjectStore(5 * GIB, shared=6 * GIB, folder=Path("/tmp"), disk=50 * GIB).check()
    assert (good.ok, good.found) == (
        True,
        "5.0 GiB for images in memory, /dev/shm has 6.0 GiB free, /tmp has 50.0 GiB free",
    )
    small = ObjectStore(5 * GIB, shared=GIB // 16, folder=Path("/tmp"), disk=50 * GIB).check()
    assert small.ok
    assert "docker run --shm-size" in small.found
    full = ObjectStore(5 * GIB, shared=6 * GIB, folder=Path("/tmp"), disk=GIB).check()
    assert (full.ok, "TMPDIR" in full.advice) == (False, True)
    cluster = ObjectStore(5 * GIB).check()
    assert (cluster.ok, cluster.found) == (True, "at least 5.0 GiB for images in memory on each node")


def test_memory_and_disk_are_said_in_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("memory_limit", 12 * GIB), ("most_in_memory", 3 * GIB), ("free_bytes", 50 * GIB)):
        monkeypatch.setattr(f"raytrain.training.doctor.{name}", lambda *_, size=size: size)
    assert _memory().startswith("12.0 GiB; images that take more than 3.0 GiB stay in files in ")
    assert _memory().endswith(", 50.0 GiB free")


def test_a_folder_whose_name_is_too_long_is_a_failed_check():
    check = _disk("x" * 300)
    assert not check.ok
    assert "too long" in check.found
