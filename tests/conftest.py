"""What every test gets: its own folders, one torch thread, more time with Ray, a GPU or a skip."""

import functools
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# no test is to fail because the machine is busy: Hypothesis allows an example 200 ms, and judges how fast it draws them
settings.register_profile("raytrain", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("raytrain")

# These limits end tests that hang, they judge nothing: a nested TorchTrainer of two workers took 94 s on two cores of
# one machine and 68 s of another.
RAY_TIMEOUT_SECONDS = 720
# "/t-" and eight letters come after it, and 24 characters leave room for Ray's sockets (ray_backend.private_ray)
LONGEST_TEMPORARY_FOLDER = 13
# the tests that `make check` leaves to `make test`; `make longer` writes it
LONGER = Path(__file__).with_name("longer.txt")

# This process, and those that it starts, compute in one thread each. Threads that wait for each other spin: beside
# other tests, two trials on the digits took 56 s of processor time on two threads and 8 s on one (`trained` in
# cli/test_model.py). Here, because the conftest.py of a folder that is named on the command line is imported before
# `pytest_configure` is called, and may import torch.
os.environ["OMP_NUM_THREADS"] = "1"

RAYS_PROCESSES = "ignore:Exception ignored in. <function Popen.__del__:pytest.PytestUnraisableExceptionWarning"


def pytest_configure() -> None:
    """Have this process end by the signals that end a command, whatever started it."""
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # nohup, and a job in the background, ignore them, and so would commands
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, nor later among what that made: thousands of tests, PyTorch."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """Have `CliRunner` make the tree of commands once, as a process does: for each call, it takes 20 ms."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this process, and those that it starts, folders of their own for data and for temporary files.

    So no test touches the user's cache or what is known of earlier plans and clusters, and none sees what a test beside
    it leaves in the temporary folder: Ray's private folders, the address of a cluster that was started last.
    """
    data = tmp_path_factory.mktemp("data")  # first, so that pytest's own folder is not in the one that is removed
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= LONGEST_TEMPORARY_FOLDER else "/tmp"
    own = tempfile.mkdtemp(prefix="t-", dir=short)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTRAIN_DATA", str(data))
        patch.setenv("XDG_STATE_HOME", str(data / "state"))
        patch.setenv("TMPDIR", own)
        patch.setenv("RAY_TMPDIR", own)
        patch.setattr(tempfile, "tempdir", own)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # the tests use no network
        yield
    shutil.rmtree(own, ignore_errors=True)  # a process that was killed may still write


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Undo what a test set; one that never imported torch does not pay for it."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def usual_log_level() -> None:
    """Undo what a command of an earlier test or fixture set: after one with --quiet, a test would find no log."""
    logging.getLogger("raytrain").setLevel(logging.NOTSET)


@pytest.fixture
def empty_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs in this process write a report of empty files: its charts take seconds, and are not what is tested."""
    monkeypatch.setattr("raytrain.report.page.render", lambda *_, **__: "")
    monkeypatch.setattr("raytrain.report.page.pictures", lambda *_, **__: {"Loss_Test": b""})


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    """The port of moto, which stands in for S3 on loopback and has an empty bucket "ours"; it takes any credentials."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="ours")
        yield port
    server.stop()


MARKED_FILES = pytest.StashKey[set[Path]]()


@pytest.fixture
def marked_files(request: pytest.FixtureRequest) -> set[Path]:
    """Return the files, of those that were collected, with tests that are marked ray, cluster or gpu."""
    return request.config.stash[MARKED_FILES]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if any(map(item.get_closest_marker, ("ray", "cluster", "gpu")))]
    config.stash[MARKED_FILES] = {item.path for item in marked}
    longer = frozenset(LONGER.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid.partition("[")[0] in longer:
            item.add_marker("longer")
        starts_ray = item.get_closest_marker("ray") or item.get_closest_marker("cluster")
        if starts_ray and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(RAY_TIMEOUT_SECONDS))
        if starts_ray:  # of a Ray that did not come up in time and was started once more
            item.add_marker(pytest.mark.filterwarnings(RAYS_PROCESSES))
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests and not cuda_is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def make_splits() -> Any:
    """Return a function that draws small Splits whose class can be learnt: it is the bright column of the image."""
    import numpy as np

    from raytrain.data import LabelledImages, Splits
    from raytrain.data.split import channel_statistics

    def images(count: int, *, size: int, classes: int, draw: np.random.Generator) -> LabelledImages:
        labels = np.arange(count, dtype=np.int64) % classes
        pixels = draw.integers(0, 150, (count, size, size, 3), dtype=np.uint8)
        for row, label in enumerate(labels):
            pixels[row, :, size * label // classes] += 100
        return LabelledImages(images=pixels, labels=labels)

    def build(*, train: int = 48, val: int = 24, test: int = 20, size: int = 8, classes: int = 4) -> Splits:
        draw = np.random.default_rng(0)
        parts = [images(count, size=size, classes=classes, draw=draw) for count in (train, val, test)]
        mean, std = channel_statistics(parts[0].images)
        names = tuple(f"class {label}" for label in range(classes))
        return Splits(*parts, classes=names, mean=mean, std=std, fingerprint="synthetic")

    return build


@pytest.fixture(scope="session")
def make_data(make_splits: Any) -> Any:
    """Return a function that puts what `make_splits` draws on the CPU as TrainingData."""

    def build(**counts: int) -> Any:
        import torch

        from raytrain.training.evaluation import TrainingData

        return TrainingData.on(torch.device("cpu"), make_splits(**counts))

    return build


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image folder of 2 classes, dark and bright, with 20 + 5 images of 8 x 8 each; not to be changed."""
    import numpy as np
    from PIL import Image

    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        for name, low in (("dark", 0), ("bright", 128)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(low, low + 128, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return str(root)


@pytest.fixture(scope="session")
def versioned() -> Any:
    """Return a network, made for a number of classes, that refuses weights without the versions of their modules."""
    from torch import nn

    class Versioned(nn.Module):
        _version = 2

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, num_classes)

        def forward(self, images: Any) -> Any:
            return self.head(self.body(images).mean((2, 3)))

        def _load_from_state_dict(
            self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
        ) -> None:
            if local_metadata.get("version") != 2:  # as torchvision's MNASNet
                raise ValueError("version should be set")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    return Versioned


def _leaves(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        full = f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from _leaves(command, full)
        else:
            yield full, command


@pytest.fixture(scope="session")
def every_command() -> dict[str, Any]:
    """Return the commands that are no groups, by their full names."""
    import typer.main

    from raytrain.cli.app import app

    return dict(_leaves(typer.main.get_command(app)))
