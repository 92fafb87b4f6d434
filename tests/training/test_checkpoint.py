"""Tests of raytrain.training.checkpoint: what is loaded when files are damaged, and what is kept."""

import json
import logging
import pickle

import numpy as np
import pytest
import torch

from raytrain.errors import StorageError
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.checkpoint import Checkpoint

CPU = torch.device("cpu")


def checkpoint_of(epoch, *, best=None):
    state = {"model": {"weight": torch.full((3, 4), float(epoch))}, "epoch": epoch, "optimizer": {"lr": 0.1}}
    weights = {"epoch": best, "accuracy": 0.5, "weights": {"weight": torch.full((2,), float(best or 0))}}
    return Checkpoint(epoch, state, weights if best else None, [{"epoch": e + 1, "loss": 0.1} for e in range(epoch)])


def names(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def load(tmp_path):
    return checkpoint.load(Folder.at(tmp_path))


@pytest.fixture
def two(tmp_path):
    """Write checkpoints of epochs 1 and 2, each with a best of its own."""
    for epoch in (1, 2):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=epoch))
    return tmp_path


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "a bit flipped": lambda path: path.write_bytes(flipped(path.read_bytes(), len(path.read_bytes()) // 2)),
    "something else": lambda path: path.write_bytes(b"[]"),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
}


def flipped(content, position, bit=0):
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path):
    assert load(tmp_path) is None
    assert load(tmp_path / "missing") is None


def test_the_newest_is_loaded_as_it_was_saved(two):
    saved, expected = load(two), checkpoint_of(2, best=2)
    assert (saved.epoch, saved.history) == (2, expected.history)
    assert torch.equal(saved.state["model"]["weight"], expected.state["model"]["weight"])
    assert saved.state["optimizer"] == {"lr": 0.1}
    assert torch.equal(saved.best["weights"]["weight"], torch.tensor([2.0, 2.0]))
    assert (saved.best["epoch"], saved.best["accuracy"]) == (2, 0.5)


def test_without_a_best_none_is_loaded(tmp_path):
    checkpoint.save(Folder.at(tmp_path), checkpoint_of(1))
    assert load(tmp_path).best is None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["state-0002.pt", "best-0002.pt", "epoch-0002.json"])
def test_a_damaged_file_costs_the_newest_checkpoint_only(two, file, damage, caplog):
    damage(two / file)
    with caplog.at_level(logging.WARNING):
        saved = load(two)
    assert saved.epoch == 1
    assert saved.state["epoch"] == 1
    missing_manifest = not (two / "epoch-0002.json").exists()
    assert missing_manifest or "epoch-0002.json cannot be used, going back to the one before" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["state-0002.pt", "best-0002.pt", "epoch-0002.json"])
def test_the_newest_history_is_that_of_the_newest_whole_checkpoint(two, file, damage):
    assert [row["epoch"] for row in checkpoint.newest_history(Folder.at(two))] == [1, 2]
    damage(two / file)
    assert [row["epoch"] for row in checkpoint.newest_history(Folder.at(two))] == [1]
    (two / "state-0001.pt").unlink()
    assert checkpoint.newest_history(Folder.at(two)) == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("file", ["best-0002.pt", "epoch-0002.json"])
def test_the_newest_weights_are_the_best_of_the_newest_checkpoint_that_has_them_whole(two, file, damage):
    first, second = ((two / f"best-000{epoch}.pt").read_bytes() for epoch in (1, 2))
    (two / "state-0002.pt").unlink()  # of no use beside the best
    assert checkpoint.newest_weights(Folder.at(two)) == second
    damage(two / file)
    assert checkpoint.newest_weights(Folder.at(two)) == first
    (two / "best-0001.pt").unlink()
    assert checkpoint.newest_weights(Folder.at(two)) is None


def test_without_a_best_the_newest_weights_are_those_of_the_last_epoch(tmp_path):
    checkpoint.save(Folder.at(tmp_path), checkpoint_of(1))
    assert checkpoint.newest_weights(Folder.at(tmp_path)) == (tmp_path / "state-0001.pt").read_bytes()


@pytest.mark.parametrize("file", ["best-0002.pt", "epoch-0002.json"])
@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.newest_history, checkpoint.newest_weights])
def test_storage_that_does_not_answer_is_not_taken_for_damage(two, monkeypatch, read, file):
    def silent(_self, name, **_):
        if name == file:
            raise StorageError("no answer")
        return (two / name).read_bytes()

    monkeypatch.setattr(Folder, "read", silent)
    with pytest.raises(StorageError, match="no answer"):
        read(Folder.at(two))


def test_a_whole_checkpoint_is_loaded_without_a_warning(two, caplog):
    assert load(two).epoch == 2
    assert caplog.text == ""


@pytest.mark.parametrize("bit", [0, 4])
def test_any_flipped_bit_in_a_manifest_is_noticed(two, bit):
    path = two / "epoch-0002.json"
    content, expected = path.read_bytes(), load(two)
    for position in range(0, len(content), 3):
        path.write_bytes(flipped(content, position, bit))
        saved = load(two)
        assert saved.epoch == 1 or (saved.epoch, saved.history) == (expected.epoch, expected.history)


def test_nothing_is_loaded_when_all_are_damaged(two):
    for path in two.glob("state-*"):
        path.write_bytes(b"")
    assert load(two) is None


def test_files_without_a_manifest_are_ignored_and_cleared_by_the_next_save(two):
    (two / "state-0003.pt").write_bytes(b"half")
    (two / "state-0003.pt.123.part").write_bytes(b"ha")
    assert load(two).epoch == 2
    checkpoint.save(Folder.at(two), checkpoint_of(4, best=4))
    assert not {"state-0003.pt", "state-0003.pt.123.part"} & set(names(two))


def test_what_is_not_a_checkpoint_is_left_alone(two):
    (two / ".nfs0001").write_bytes(b"")
    (two / "notes").mkdir()
    checkpoint.save(Folder.at(two), checkpoint_of(3, best=3))
    assert {".nfs0001", "notes"} <= set(names(two))


def test_only_the_newest_two_are_kept_with_their_best(tmp_path):
    for epoch in range(1, 6):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=2 if epoch >= 2 else 1))
    assert names(tmp_path) == ["best-0002.pt", "epoch-0004.json", "epoch-0005.json", "state-0004.pt", "state-0005.pt"]


def test_the_best_of_both_kept_checkpoints_is_kept(tmp_path):
    for epoch, best in ((1, 1), (2, 1), (3, 3)):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=best))
    assert {"best-0001.pt", "best-0003.pt"} <= set(names(tmp_path))


def test_the_newest_is_by_number_not_by_text(tmp_path):
    for epoch in (9998, 9999, 10000):
        checkpoint.save(Folder.at(tmp_path), Checkpoint(epoch, {"epoch": epoch}, None, []))
    assert load(tmp_path).epoch == 10000
    assert names(tmp_path) == ["epoch-10000.json", "epoch-9999.json", "state-10000.pt", "state-9999.pt"]


def test_the_best_is_not_written_again_while_it_stays(two, monkeypatch):
    written = []
    real = Folder.write
    monkeypatch.setattr(Folder, "write", lambda *args, **how: (written.append(args[1]), real(*args, **how))[1])
    checkpoint.save(Folder.at(two), checkpoint_of(3, best=2))
    assert written == ["state-0003.pt", "epoch-0003.json"]
    assert load(two).best["epoch"] == 2


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    written = []
    real = Folder.write
    monkeypatch.setattr(Folder, "write", lambda *args, **how: (written.append(args[1]), real(*args, **how))[1])
    checkpoint.save(Folder.at(tmp_path), checkpoint_of(3, best=2))
    assert written == ["state-0003.pt", "best-0002.pt", "epoch-0003.json"]


@pytest.mark.parametrize("deletions", [0, 1, 2, 3])
def test_a_kill_while_old_files_are_removed_leaves_no_manifest_without_its_files(two, monkeypatch, deletions):
    remaining = iter(range(deletions))
    real = Folder.delete

    def delete(folder, name):
        if next(remaining, None) is None:
            raise KeyboardInterrupt
        real(folder, name)

    monkeypatch.setattr(Folder, "delete", delete)
    if deletions < 3:  # a manifest, a state and a best of epoch 1
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(Folder.at(two), checkpoint_of(3, best=3))
    else:
        checkpoint.save(Folder.at(two), checkpoint_of(3, best=3))
    for manifest in two.glob("epoch-*.json"):
        assert all((two / name).exists() for name, _ in json.loads(manifest.read_text())["files"].values())
    assert load(two).epoch == 3


@pytest.mark.parametrize("reads", range(4))
def test_storage_that_does_not_answer_while_old_files_are_removed_costs_no_checkpoint(two, monkeypatch, reads):
    remaining = iter(range(reads))
    real = Folder.read

    def read(folder, name):
        if next(remaining, None) is None:
            raise StorageError(f"{folder} does not answer")
        return real(folder, name)

    monkeypatch.setattr(Folder, "read", read)
    # the manifests of epochs 1 and 2 are read before epoch 3 is written, those of 2 and 3 afterwards
    with pytest.raises(StorageError, match="does not answer"):
        checkpoint.save(Folder.at(two), checkpoint_of(3, best=3))
    monkeypatch.undo()
    for manifest in two.glob("epoch-*.json"):
        assert all((two / name).exists() for name, _ in json.loads(manifest.read_text())["files"].values())
    assert load(two).epoch in {2, 3}


def test_a_trial_that_starts_again_from_nothing_leaves_damaged_checkpoints_behind(tmp_path):
    for epoch in (5, 6):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=5))
    (tmp_path / "best-0005.pt").write_bytes(b"damaged")  # of both
    assert load(tmp_path) is None
    for epoch in (1, 2):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=1))
        assert load(tmp_path).epoch == epoch
    assert names(tmp_path) == ["best-0001.pt", "epoch-0001.json", "epoch-0002.json", "state-0001.pt", "state-0002.pt"]


def test_a_damaged_best_is_written_again_when_its_epoch_comes_again(tmp_path):
    for epoch in (4, 5):
        checkpoint.save(Folder.at(tmp_path), checkpoint_of(epoch, best=epoch))
    (tmp_path / "best-0005.pt").write_bytes(b"damaged")
    assert load(tmp_path).epoch == 4
    checkpoint.save(Folder.at(tmp_path), checkpoint_of(5, best=5))
    assert load(tmp_path).epoch == 5


class Malicious:
    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was run",))


def test_a_checkpoint_cannot_run_code(tmp_path):
    checkpoint.save(Folder.at(tmp_path), Checkpoint(1, {"model": Malicious()}, None, []))
    with pytest.raises(Exception, match=r"weights_only|Unsupported"):
        load(tmp_path)


@pytest.mark.parametrize("best", [1, None])
def test_the_best_weights_are_loaded_without_a_state_that_pytorch_refuses(tmp_path, best):
    saved = checkpoint_of(1, best=best)
    saved.state["optimizer"]["lr"] = np.float64(0.1)
    checkpoint.save(Folder.at(tmp_path), saved)
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path)
    if best is None:
        with pytest.raises(pickle.UnpicklingError):
            checkpoint.load(Folder.at(tmp_path), state_needed=False)
        return
    found = checkpoint.load(Folder.at(tmp_path), state_needed=False)
    assert (found.epoch, found.state, found.history) == (1, {}, saved.history)
    assert torch.equal(found.best["weights"]["weight"], saved.best["weights"]["weight"])
