"""What must outlive a power failure is flushed to the disk, in the order that keeps it whole."""

import errno
import os
from pathlib import Path

import pytest
from pyarrow import fs

from raytrain.errors import StorageError
from raytrain.experiment.experiment import Experiment
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.checkpoint import Checkpoint

Calls = list[tuple[str, str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return what happens on the disk from now on, in order: each file or folder that is flushed, each new name."""
    happened: Calls = []
    flush, move = os.fsync, fs.LocalFileSystem.move

    def fsync(descriptor: int) -> None:
        happened.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        flush(descriptor)

    class Disk(fs.LocalFileSystem):
        def move(self, source: str, target: str) -> None:
            happened.append(("rename", Path(target).name))
            move(self, source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(fs, "LocalFileSystem", Disk)
    return happened


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc says which file is flushed")


def test_a_durable_file_is_flushed_before_it_gets_its_name_and_its_folder_after(tmp_path: Path, calls: Calls) -> None:
    Folder.at(tmp_path).write("a", b"content", durable=True)
    assert calls == [("flush", f"a.{os.getpid()}.part"), ("rename", "a"), ("flush", tmp_path.name)]


def test_new_folders_above_a_durable_file_are_flushed_too(tmp_path: Path, calls: Calls) -> None:
    (Folder.at(tmp_path) / "runs" / "mine").write("a", b"content", durable=True)
    assert calls[2:] == [("flush", "mine"), ("flush", "runs"), ("flush", tmp_path.name)]


def test_another_file_is_not_flushed(tmp_path: Path, calls: Calls) -> None:
    Folder.at(tmp_path).write("a", b"content")
    Folder.at(tmp_path).append("lines", b"content")
    assert calls == [("rename", "a")]


def test_a_durable_line_is_flushed_and_the_name_of_a_new_file_too(tmp_path: Path, calls: Calls) -> None:
    for line in (b"one\n", b"two\n"):
        Folder.at(tmp_path).append("lines", line, durable=True)
    assert calls == [("flush", "lines"), ("flush", tmp_path.name), ("flush", "lines")]


def test_each_file_of_a_checkpoint_is_on_the_disk_before_the_next_and_before_an_older_one_goes(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = Folder.delete
    monkeypatch.setattr(Folder, "delete", lambda self, name: (calls.append(("delete", name)), delete(self, name))[1])
    for epoch in (1, 2, 3):
        calls.clear()
        checkpoint.save(Folder.at(tmp_path), Checkpoint(epoch, {"epoch": epoch}, {"epoch": epoch}, []))
    written = [
        [("flush", f"{name}.{os.getpid()}.part"), ("rename", name), ("flush", tmp_path.name)]
        for name in ("state-0003.pt", "best-0003.pt", "epoch-0003.json")
    ]
    assert calls[:9] == [call for three in written for call in three]
    assert calls[9] == ("delete", "epoch-0001.json")
    assert {*calls[10:]} == {("delete", "best-0001.pt"), ("delete", "state-0001.pt")}


def test_the_experiment_and_the_end_of_a_trial_are_flushed(tmp_path: Path, calls: Calls) -> None:
    experiment = Experiment.model_validate({"name": "mine", "recipe": {"epochs": 1}})
    trials = experiment.trials()
    journal = RunJournal.open(Folder.at(tmp_path / "mine"), experiment, trials)
    journal.begin({trials[0].id: 1})
    assert ("flush", f"experiment.yaml.{os.getpid()}.part") in calls
    calls.clear()
    journal.started(trials[0].id)
    assert calls == []
    journal.ended(trials[0].id, {"status": "failed", "error": "no", "details": ""})
    journal.close()
    assert calls == [("flush", "trials.jsonl"), ("flush", "mine")]


def test_a_disk_that_cannot_flush_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid argument")))
    Folder.at(tmp_path).write("a", b"content", durable=True)
    assert Folder.at(tmp_path).read("a") == b"content"


def test_a_disk_that_fails_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(StorageError, match="Input/output error"):
        Folder.at(tmp_path).write("a", b"content", durable=True)
    assert Folder.at(tmp_path).names() == []
