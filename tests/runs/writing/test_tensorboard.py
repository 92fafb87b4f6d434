"""Tests of raytrain.runs.writing.tensorboard: the event files are read back record by record."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from raytrain.runs.writing.tensorboard import TAGS, Scalars

ROW = {
    "epoch": 1,
    "train_loss": 2.25,
    "train_accuracy": 0.25,
    "val_loss": 2.5,
    "val_accuracy": 0.5,
    "test_loss": 2.75,
    "test_accuracy": 0.75,
    "lr": 0.125,
    "seconds": 1.0,
}


def events(folder):
    """Yield the events of a folder's files: each record is a length, its checksum, the event and its checksum."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder):
    return {(value.tag, event.step): value.simple_value for event in events(folder) for value in event.summary.value}


def purged_from(folder):
    return [event.step for event in events(folder) if event.WhichOneof("what") == "session_log"]


def write(folder, *rows, first_epoch=1):
    writer = Scalars(folder, first_epoch=first_epoch)
    for row in rows:
        writer.add(row)
    writer.close()


def test_every_tag_has_its_field_at_the_step_of_the_epoch(tmp_path):
    write(tmp_path, ROW, {**ROW, "epoch": 2, "lr": 0.5})
    found = scalars(tmp_path)
    assert found == {(tag, epoch): ROW[field] for tag, field in TAGS.items() for epoch in (1, 2)} | {("LR", 2): 0.5}


@pytest.mark.parametrize("missing", ["absent", None])
def test_what_a_row_does_not_have_is_left_out(tmp_path, missing):
    row = {**ROW, "test_loss": None, "test_accuracy": None}
    row = row if missing is None else {key: value for key, value in row.items() if value is not None}
    write(tmp_path, row)
    assert {tag for tag, _ in scalars(tmp_path)} == {
        "Loss/Training", "Accuracy/Train", "Loss/Val", "Accuracy/Val", "LR"
    }  # fmt: skip


def test_zero_is_a_value(tmp_path):
    write(tmp_path, {"epoch": 1, "train_accuracy": 0.0})
    assert scalars(tmp_path) == {("Accuracy/Train", 1): 0.0}


def test_files_opened_within_a_second_are_all_kept(tmp_path):
    for epoch in (1, 2, 3):
        write(tmp_path, {"epoch": epoch, "lr": 0.5}, first_epoch=epoch)
    assert scalars(tmp_path) == {("LR", epoch): 0.5 for epoch in (1, 2, 3)}


def test_a_resumed_trial_hides_what_was_logged_of_the_epochs_trained_again(tmp_path):
    write(tmp_path / "first", ROW)
    write(tmp_path / "resumed", {**ROW, "epoch": 3}, first_epoch=3)
    assert purged_from(tmp_path / "first") == [1]  # a trial that starts from nothing hides all
    assert purged_from(tmp_path / "resumed") == [3]
