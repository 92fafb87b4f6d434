"""A disk that fills up, and object storage that is away for a while or for good."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(720)]

Start = Callable[..., Any]  # of a Command, as conftest.py has it
Undisturbed = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root mounts")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    """Write until nothing fits any more."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                pass
    return filler


@pytest.mark.parametrize("where", [["--local"], pytest.param([], marks=pytest.mark.ray)], ids=["local", "ray"])
def test_a_full_disk_ends_the_run_at_once_and_with_space_it_goes_on(
    start: Start, undisturbed: Undisturbed, small_disk: Path, where: list[str]
) -> None:
    command = start(*where, out=small_disk, epochs=60)
    command.wait_until(lambda: command.epochs() >= 3)
    filler = fill(small_disk)
    assert command.end(seconds=150) == 3, command.stderr
    assert "no space is left" in command.stderr
    assert "bytes were to be written" in command.stderr
    assert "Traceback" not in command.stderr
    assert list(small_disk.rglob("*.part")) == []
    filler.unlink()
    again = command.continued()
    assert again.exit_code == 0, again.output
    assert command.numbers() == undisturbed(epochs=60)
    assert command.contiguous()


class Door:
    """A way to a server on loopback that can be shut: connections are then refused, and open ones cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        assert self._listener
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            self._open += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(2**16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def bucket(s3_port: int) -> Iterator[tuple[str, Door]]:
    """The URI of an empty folder in a bucket, and the door before it."""
    door = Door(s3_port)
    door.open()
    yield f"s3://ours/{uuid.uuid4().hex}?endpoint_override=127.0.0.1:{door.port}&scheme=http&region=us-east-1", door
    door.shut()


def test_storage_that_is_away_for_a_while_is_waited_for(
    start: Start, undisturbed: Undisturbed, bucket: tuple[str, Door], results_of: Callable[..., list[Any]]
) -> None:
    uri, door = bucket
    command = start("--local", out=uri, epochs=12)
    command.wait_until(lambda: "started" in command.stderr)
    door.shut()
    command.wait_until(lambda: "does not answer" in command.stderr)
    time.sleep(5)  # several tries: the waits between them are 0.5 s, 1 s, 2 s, ...
    assert command.process.poll() is None
    door.open()
    assert command.end() == 0, command.stderr
    assert "Traceback" not in command.stderr
    there = results_of(f"{uri.replace('?', '/x?')}")
    assert [one.test_accuracy for one in there] == [one["test_accuracy"] for one in undisturbed(epochs=12)]


def test_storage_that_stays_away_ends_the_run_which_goes_on_when_it_is_back(
    start: Start, bucket: tuple[str, Door], tmp_path: Path
) -> None:
    uri, door = bucket
    hurried = tmp_path / "sitecustomize.py"  # two minutes are too long for a test
    hurried.write_text("import raytrain.storage.folder\nraytrain.storage.folder.RETRY_TIMEOUT_S = 4.0\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = start("--local", out=uri, epochs=12, environment={"PYTHONPATH": path})
    command.wait_until(lambda: "started" in command.stderr)
    door.shut()
    assert command.end(seconds=150) == 3, command.stderr
    assert "the storage does not answer for 4 s" in command.stderr
    assert "Traceback" not in command.stderr
    door.open()
    again = command.continued()
    assert again.exit_code == 0, again.output


def test_storage_that_is_away_from_the_start_is_refused_in_seconds(start: Start, bucket: tuple[str, Door]) -> None:
    uri, door = bucket
    door.shut()
    began = time.monotonic()
    command = start("--local", out=uri)
    assert command.end(seconds=150) == 3, command.stderr
    assert time.monotonic() - began < 60
    assert "cannot be" in command.stderr
    assert "Traceback" not in command.stderr
    door.open()
