"""Tests of raytrain.baselines.importing: what tensorboardX writes is read back, and damage is told from a cut."""

import struct
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from raytrain.baselines.importing import PATTERN, read_scalars
from raytrain.errors import DataError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    writer = SummaryWriter(str(tmp_path))
    for step in range(1, 4):
        writer.add_scalar("Loss/Test", step / 8, step, walltime=100.0 + step)
    writer.close()
    (path,) = tmp_path.glob(PATTERN)
    return path


def test_scalars_come_back_as_they_were_logged(written: Path) -> None:
    read = list(read_scalars(written))
    assert [(one.tag, one.step, one.value, one.wall_time) for one in read] == [
        ("Loss/Test", 1, 0.125, 101.0),
        ("Loss/Test", 2, 0.25, 102.0),
        ("Loss/Test", 3, 0.375, 103.0),
    ]


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_a_record_that_is_cut_off_ends_the_file(written: Path, cut: int) -> None:
    written.write_bytes(written.read_bytes()[:-cut])
    assert [one.step for one in read_scalars(written)] == [1, 2]


@pytest.mark.parametrize("place", [0, 9, 20, -6, -1])
def test_a_flipped_bit_is_found(written: Path, place: int) -> None:
    content = bytearray(written.read_bytes())
    content[place] ^= 1
    written.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        list(read_scalars(written))


def test_a_value_in_a_tensor_is_a_scalar_too(written: Path) -> None:
    from tensorboardX.record_writer import masked_crc32c

    event = Event(step=9, wall_time=1.0)
    value = event.summary.value.add(tag="Accuracy/Test")
    value.tensor.float_val.append(0.5)
    record = event.SerializeToString()
    head = struct.pack("<Q", len(record))
    parts = [head, struct.pack("<I", masked_crc32c(head)), record, struct.pack("<I", masked_crc32c(record))]
    written.write_bytes(b"".join(parts))
    assert [(one.tag, one.step, one.value) for one in read_scalars(written)] == [("Accuracy/Test", 9, 0.5)]
