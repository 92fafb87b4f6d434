"""Tests of `raytrain doctor`: what it finds here, and what it says of what is missing."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.errors import PreflightError
from raytrain.training.doctor import Check, ObjectStore, _disk, _memory, check_machine, checked, refuse_full_store

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


TMP = Path("/tmp")
SLOWER = "; /dev/shm is too small, so images are in files, which is slower: "
MORE_SHARED = "give a container more of it, such as docker run --shm-size=8g"


@pytest.mark.parametrize(
    ("store", "images", "why"),
    [
        (ObjectStore(5 * GIB, shared=6 * GIB, folder=TMP, disk=GIB), 4 * GIB, ""),
        (ObjectStore(5 * GIB, shared=5 * GIB, folder=TMP, disk=0), 5 * GIB, ""),
        (ObjectStore(5 * GIB, folder=TMP), 5 * GIB, ""),
        (ObjectStore(5 * GIB, shared=6 * GIB, folder=TMP, disk=2 * GIB), 7 * GIB, "Ray's object store has 5.0 GiB"),
        (ObjectStore(5 * GIB, shared=6 * GIB, folder=TMP, disk=50 * GIB), 7 * GIB, "Ray's object store has 5.0 GiB"),
        (ObjectStore(5 * GIB), 7 * GIB, "Ray's object store has 5.0 GiB"),
        (ObjectStore(5 * GIB, shared=GIB // 2, folder=TMP, disk=GIB), GIB, "/dev/shm has 0.5 GiB free"),
        (ObjectStore(5 * GIB, shared=0, folder=TMP, disk=GIB), GIB, "/dev/shm has 0.0 GiB free"),
    ],
)
def test_images_without_room_in_memory_are_warned_of(
    store: ObjectStore, images: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_full_store(images, store)
    advice = f": {MORE_SHARED}" if "/dev/shm" in why else ""
    rest = f"the images take {images / GIB:.1f} GiB, and {why}; the rest is read from files, which is slower{advice}"
    assert caplog.messages == ([rest] if why else [])


@pytest.mark.parametrize(
    ("store", "why"),
    [
        (ObjectStore(5 * GIB, shared=6 * GIB, folder=TMP, disk=2 * GIB - 1), "Ray's object store has 5.0 GiB"),
        (ObjectStore(5 * GIB, shared=GIB // 2, folder=TMP, disk=7 * GIB - 1), "/dev/shm has 0.5 GiB free"),
    ],
)
def test_images_without_room_on_the_disk_either_are_refused(store: ObjectStore, why: str) -> None:
    with pytest.raises(PreflightError) as refused:
        refuse_full_store(7 * GIB, store)
    assert str(refused.value).splitlines() == [
        f"the images take 7.0 GiB, and {why}; the rest does not fit the disk either: /tmp has {store.disk / GIB:.1f} "
        "GiB free.",
        "Free memory or disk space there, set TMPDIR to a folder with more, or train with a smaller image_size.",
    ]


@pytest.mark.parametrize(
    ("store", "ok", "around"),
    [
        (
            ObjectStore(5 * GIB, shared=6 * GIB, folder=TMP, disk=50 * GIB),
            True,
            "/dev/shm has 6.0 GiB free, /tmp has 50.0",
        ),
        (
            ObjectStore(5 * GIB, shared=5 * GIB, folder=TMP, disk=2 * GIB),
            True,
            "/dev/shm has 5.0 GiB free, /tmp has 2.0",
        ),
        (ObjectStore(5 * GIB, folder=TMP, disk=2 * GIB - 1), False, "/tmp has 2.0"),
        (ObjectStore(5 * GIB, folder=TMP), False, "/tmp has 0.0"),
        (ObjectStore(5 * GIB, shared=0, folder=TMP, disk=3 * GIB), True, "/dev/shm has 0.0 GiB free, /tmp has 3.0"),
    ],
)
def test_doctor_names_the_store_and_what_is_free_around_it(store: ObjectStore, ok: bool, around: str) -> None:
    check = store.check()
    assert (check.name, check.ok) == ("Ray's object store", ok)
    slower = SLOWER + MORE_SHARED if store.shared == 0 else ""
    assert check.found == f"5.0 GiB for images in memory, {around} GiB free{slower}"
    assert check.advice == "Free disk space in /tmp, or set TMPDIR to a folder with more."


def test_of_a_cluster_doctor_names_the_smallest_store() -> None:
    check = ObjectStore(5 * GIB).check()
    assert (check.ok, check.found) == (True, "at least 5.0 GiB for images in memory on each node")


@pytest.mark.parametrize(("free", "ok"), [(50 * GIB, True), (2 * GIB, True), (2 * GIB - 1, False), (GIB // 2, False)])
def test_memory_and_disk_are_said_in_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, ok: bool) -> None:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path))
    for name, size in (("memory_limit", 12 * GIB), ("most_in_memory", 3 * GIB), ("free_bytes", free)):
        monkeypatch.setattr(f"raytrain.training.doctor.{name}", lambda *_, size=size: size)
    left = f"{free / GIB:.1f} GiB free"
    assert _memory() == f"12.0 GiB; images that take more than 3.0 GiB stay in files in {tmp_path}, {left}"
    check = _disk(str(tmp_path / "runs"))
    assert (check.ok, check.found) == (ok, f"{left} for {tmp_path / 'runs'}")
    assert check.advice == "Free disk space, or choose another --out."


@pytest.mark.parametrize(("given", "advice"), [("", "what to do\nand more"), ("do this", "do this")])
def test_a_failed_check_says_the_first_line_of_its_error_and_what_to_do(given: str, advice: str) -> None:
    def look() -> str:
        raise PreflightError("what is wrong\nwhat to do\nand more")

    assert checked("device", look, advice=given) == Check("device", ok=False, found="what is wrong", advice=advice)


def test_a_folder_whose_name_is_too_long_is_a_failed_check():
    check = _disk("x" * 300)
    assert not check.ok
    assert "too long" in check.found
