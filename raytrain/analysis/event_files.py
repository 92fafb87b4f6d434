"""Scalars read from TensorBoard event files: TFRecords of `Event` messages (TensorFlow, record_writer.cc)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from raytrain.errors import DataError

PATTERN = "*tfevents*"
"""File names that TensorBoard reads."""


class Scalar(NamedTuple):
    """A value that was logged.

    Attributes:
        tag: Its name.
        step: As its writer counted.
        value: The number.
        wall_time: Seconds since 1970.
    """

    tag: str
    step: int
    value: float
    wall_time: float


def read_scalars(path: Path) -> Iterator[Scalar]:
    """Yield the scalars of an event file in the order in which they were logged; a record that is cut off ends it.

    Raises:
        DataError: A record is damaged, or the file is no event file.
    """
    from google.protobuf.message import DecodeError
    from tensorboardX.proto import event_pb2

    message: Any = event_pb2  # its classes are made at import

    for record in _records(path):
        try:
            event = message.Event.FromString(record)
        except DecodeError as error:
            raise DataError(f"{path}: is no TensorBoard event file ({error})") from error
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield Scalar(value.tag, event.step, value.simple_value, event.wall_time)
            elif value.HasField("tensor") and len(value.tensor.float_val) == 1:
                yield Scalar(value.tag, event.step, value.tensor.float_val[0], event.wall_time)


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records: a length of 8 bytes, its checksum of 4, the content, its checksum of 4."""
    from tensorboardX.record_writer import masked_crc32c

    content = path.read_bytes()
    start = 0
    while start + 12 <= len(content):
        length, checksum = struct.unpack_from("<QI", content, start)
        if masked_crc32c(content[start : start + 8]) != checksum:
            raise DataError(f"{path}: is damaged at byte {start}, or no TensorBoard event file; copy it again")
        end = start + 12 + length
        if end + 4 > len(content):
            return  # its writer was killed, or is still writing
        record = content[start + 12 : end]
        if masked_crc32c(record) != struct.unpack_from("<I", content, end)[0]:
            raise DataError(f"{path}: is damaged between bytes {start} and {end}; copy it again")
        yield record
        start = end + 4
