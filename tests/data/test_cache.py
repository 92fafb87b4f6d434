import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from raytrain.data import ImageDataset, LabelledImages, data_home
from raytrain.data.cache import cached
from raytrain.data.images import image_dataset
from raytrain.errors import DataError

NO_NAME = "x" * 300
"""Longer than a file system allows: to look there is an OSError for root too, as that of a folder without access."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


class Builder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> ImageDataset:
        self.calls += 1
        images = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
        part = LabelledImages(images, np.arange(4))
        return image_dataset(part, part, classes=("a", "b", "c", "d"))


def test_the_environment_says_where_data_sets_are(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert data_home() == home
    monkeypatch.delenv("RAYTRAIN_DATA")
    assert data_home().name == "raytrain"


def test_the_second_call_reads_what_the_first_stored():
    build = Builder()
    first, second = cached("key", build), cached("key", build)
    assert build.calls == 1
    assert (second.classes, second.fingerprint) == (first.classes, first.fingerprint)
    np.testing.assert_array_equal(second.train.images, first.train.images)
    np.testing.assert_array_equal(second.test.labels, first.test.labels)


def test_another_key_is_built_anew():
    build = Builder()
    cached("one", build)
    cached("two", build)
    assert build.calls == 2


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_last_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def overwrite(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04 not ours")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def of_another_shape(file: Path) -> None:
    file.write_bytes(b"[1, 2]")


def nested(file: Path) -> None:
    file.write_bytes(b"[" * 100_000)


@pytest.mark.parametrize("damage", [truncate, flip_last_byte, overwrite, empty, of_another_shape, nested, Path.unlink])
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "dataset.json"])
def test_a_damaged_entry_is_built_again_and_repaired(name: str, damage, home: Path):
    build = Builder()
    first = cached("key", build)
    damage(home / "decoded" / "key" / name)
    assert cached("key", build).fingerprint == first.fingerprint
    assert build.calls == 2
    cached("key", build)
    assert build.calls == 2


def test_what_an_interrupted_writer_left_is_no_obstacle(home: Path):
    (home / "decoded" / "key.partial").mkdir(parents=True)
    (home / "decoded" / "key.partial" / "train_images.npy").write_bytes(b"half")
    build = Builder()
    cached("key", build)
    cached("key", build)
    assert build.calls == 1
    assert not (home / "decoded" / "key.partial").exists()


def test_a_full_disk_keeps_nothing_of_an_entry(home: Path, monkeypatch: pytest.MonkeyPatch):
    def fill(file: Path, array: np.ndarray) -> None:
        file.write_bytes(array.tobytes()[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    build = Builder()
    with monkeypatch.context() as patched:
        patched.setattr("raytrain.data.cache.np.save", fill)
        assert len(cached("key", build).train) == 4
    assert [file.suffix for file in (home / "decoded").iterdir()] in ([], [".lock"])
    cached("key", build)
    cached("key", build)
    assert build.calls == 2


def test_a_home_that_cannot_be_written_is_done_without(home: Path):
    home.write_text("a file where the folder should be")
    build = Builder()
    assert len(cached("key", build).train) == 4


def test_a_home_that_may_not_be_entered_is_done_without(home: Path, monkeypatch: pytest.MonkeyPatch):
    build = Builder()
    monkeypatch.setenv("RAYTRAIN_DATA", str(home.parent / NO_NAME))
    assert len(cached("key", build).train) == 4


def test_an_error_of_the_builder_passes_and_leaves_nothing():
    def fail() -> ImageDataset:
        raise DataError("corrupt")

    with pytest.raises(DataError, match="corrupt"):
        cached("key", fail)
    build = Builder()
    cached("key", build)
    assert build.calls == 1


def test_ten_threads_build_once():
    build = Builder()
    start = threading.Barrier(10)

    def work(_: int) -> None:
        start.wait()
        cached("key", build)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert build.calls == 1
