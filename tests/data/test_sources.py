import math
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torchvision import datasets

from raytrain.data import DATASETS, advised_where_gone, load, refuse
from raytrain.data.data_key import DataKey
from raytrain.errors import DataError, PreflightError

CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


class Downloader:
    """Stands in for a data set class of torchvision; a file in the root says that it is there."""

    def __init__(self, error: Exception | None = None) -> None:
        self.downloads = 0
        self.error = error

    def __call__(self, root: Path, *, train: bool, download: bool) -> Any:
        there = root / "there"
        if not there.exists():
            if not download:
                raise RuntimeError("Dataset not found or corrupted.")
            if self.error:
                raise self.error
            self.downloads += 1
            print("Downloading")  # noqa: T201
            time.sleep(0.02)
            there.touch()
        count = 20 if train else 10
        channels_first = np.random.default_rng(int(train)).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        classes = [f"class {label}" for label in range(10)]
        return SimpleNamespace(
            data=channels_first.transpose(0, 2, 3, 1), targets=[n % 10 for n in range(count)], classes=classes
        )


def test_a_folder_that_may_not_be_looked_for_is_one_message_with_the_advice(tmp_path: Path):
    there = str(tmp_path / ("x" * 300))  # an OSError for root too, as that of no access
    with (
        pytest.raises(DataError, match=r"cannot be listed .*\nMove it back\."),
        advised_where_gone(there, "Move it back."),
    ):
        load(there, image_size=8)


@pytest.mark.parametrize("image_size", [8, 32])
def test_digits_are_those_of_scikit_learn(image_size: int):
    dataset = load("digits", image_size=image_size)
    assert dataset.train.images.shape == (1437, image_size, image_size, 3)
    assert dataset.test.images.shape == (360, image_size, image_size, 3)
    both = np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels)
    np.testing.assert_array_equal(both, np.bincount(load_digits().target))
    assert dataset.train.images.min() == 0
    np.testing.assert_array_equal(dataset.train.images[..., 0], dataset.train.images[..., 2])


def test_digits_scale_sixteen_grey_levels_to_the_whole_range():
    dataset = load("digits", image_size=8)
    known = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    found = {image[..., 1].tobytes() for part in (dataset.train, dataset.test) for image in part.images}
    assert found == known


def test_digits_are_the_same_every_time():
    assert load("digits", image_size=16).fingerprint == load("digits", image_size=16).fingerprint


def test_every_name_is_that_of_its_function():
    assert {name: source.__name__ for name, source in DATASETS.items()} == {name: name for name in DATASETS}


@pytest.mark.parametrize(("name", "loader"), CIFAR.items())
def test_cifar_is_fetched_once_and_then_read_without_network(
    name: str, loader: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    downloader = Downloader()
    monkeypatch.setattr(datasets, loader, downloader)
    first = load(name, image_size=32)
    downloader.error = URLError("no network")
    second = load(name, image_size=32)
    assert downloader.downloads == 1
    assert first.fingerprint == second.fingerprint
    assert first.train.images.shape == (20, 32, 32, 3)
    assert first.train.images.flags.c_contiguous
    assert first.classes[3] == "class 3"
    assert capsys.readouterr().out == ""


def test_cifar_is_resized_on_demand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets, "CIFAR10", Downloader())
    assert load("cifar10", image_size=16).test.images.shape == (10, 16, 16, 3)


@pytest.mark.parametrize(
    "error",
    [
        URLError("no route"),
        OSError("disk full"),
        RuntimeError("File not found or corrupted."),
        IncompleteRead(b""),
    ],
)
@pytest.mark.parametrize(("name", "loader"), CIFAR.items())
def test_a_failed_download_says_what_to_do(
    name: str, loader: str, error: Exception, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(datasets, loader, Downloader(error))
    with pytest.raises(PreflightError) as caught:
        load(name, image_size=32)
    assert caught.value.exit_code == 3
    assert caught.value.__cause__ is error
    for part in (str(home), f"raytrain data fetch {name}", "RAYTRAIN_DATA", "--set dataset=digits"):
        assert part in str(caught.value)


def test_an_archive_of_other_content_is_refused_by_its_checksum(home: Path, monkeypatch: pytest.MonkeyPatch):
    folder = home / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"half a file")

    def corrupt(url: str, filename: str) -> None:
        Path(filename).write_bytes(f"not what {url} holds".encode())

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", corrupt)
    with pytest.raises(PreflightError, match="File not found or corrupted"):
        load("cifar10", image_size=32)


def test_ten_threads_fetch_once(monkeypatch: pytest.MonkeyPatch):
    downloader = Downloader()
    monkeypatch.setattr(datasets, "CIFAR10", downloader)
    start = threading.Barrier(10)

    def work(_: int) -> None:
        start.wait()
        load("cifar10", image_size=32)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))
    assert downloader.downloads == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "cifar1O",
            r"unknown data set 'cifar1O'; did you mean 'cifar10'\?$",
        ),
        ("nowhere/at/all", r"unknown data set 'nowhere/at/all'; choose one of"),
        ("nofs://bucket/data", r"nofs://bucket/data cannot be opened"),
    ],
)
def test_an_unknown_name_is_answered_with_what_is_allowed(given: str, message: str):
    with pytest.raises(DataError, match=message):
        load(given, image_size=32)


def test_a_folder_without_data_is_told_what_it_must_hold(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"holds no data set; .* train\*\.parquet and test\*\.parquet, or train/<class>/"
    ):
        load(str(tmp_path), image_size=32)


@pytest.mark.parametrize(("absent", "code"), [("torch", 0), ("numpy", 1)])  # numpy shows that the guard can fail
def test_importing_the_package_leaves_torch_out(absent: str, code: int):
    program = f"import sys, raytrain.data; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_storage_that_takes_the_connection_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raytrain.data.layouts.source_folder.ANSWER_TIMEOUT_S", 2.0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DataError, match="does not answer within 2 s; check the address"):
            load(f"s3://bucket/data?endpoint_override=127.0.0.1:{port}&scheme=http", image_size=8)


def test_skip_bad_is_refused_where_a_function_of_the_users_reads_the_images():
    found = load("digits", image_size=8)
    refuse(found, skip_bad=True, name="birds/cat.png")
    with pytest.raises(DataError, match=r"skip_bad has no effect on birds\.py:load, which reads its images itself"):
        refuse(found, skip_bad=True, name="birds.py:load@0123456789ab(size=3)")


def test_recipes_share_their_test_images_unless_a_field_decides_otherwise():
    recorded = {"dataset": "photos", "test_size": 0.2, "columns": "", "skip_bad": False}  # by an earlier version
    assert DataKey.of_test_images(recorded) == DataKey.of_test_images(
        {**recorded, "follow_links": False, "image_size": 64, "background": "black", "lr": 0.1}
    )
    for change in ({"follow_links": True}, {"skip_bad": True}, {"test_size": 0.3}, {"columns": "{label: x}"}):
        assert DataKey.of_test_images({**recorded, **change}) != DataKey.of_test_images(recorded)


@pytest.mark.parametrize("size", [math.inf, math.nan, 1.5, -1.0])
def test_a_test_size_that_is_none_is_refused_also_where_the_data_set_has_a_test_part(size: float):
    with pytest.raises(DataError, match=r"^test_size is .*; give 0 for none, a share below 1, or a whole number"):
        load("digits", image_size=8, test_size=size)
