"""Baselines made of TensorBoard logs: event files are TFRecords of `Event` messages (TensorFlow, record_writer.cc)."""

import logging
import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from raytrain.baselines.baselines import (
    MEASURES,
    NAME,
    STUDENT,
    Baseline,
    as_csv,
    baselines_home,
    curve_of,
)
from raytrain.errors import DataError, ExperimentError
from raytrain.runs.writing.tensorboard import TAGS
from raytrain.storage.bounded import read_bounded
from raytrain.storage.replacing import replace_file
from raytrain.storage.typed_path import is_a_file

log = logging.getLogger(__name__)


def import_events(folder: Path, name: str, *, force: bool = False) -> Baseline:
    """Keep the curves of TensorBoard logs as a baseline: each folder with event files under `folder` is one.

    It reads the tags that raytrain writes: Loss/Training, Loss/Test, Accuracy/Train, Accuracy/Test. If an accuracy of
    a log is above `MOST_FRACTION`, all of that tag are read as per cent. Steps that begin with 0 are counted from 1.
    Values that are not finite are left out, with a warning.

    Args:
        folder: Folder that holds the event files, at any depth.
        name: Name for the baseline.
        force: Whether to replace an existing baseline of that name.

    Raises:
        ExperimentError: The name is invalid, there is such a baseline, or the folder of baselines cannot be written.
        DataError: There are no event files, none has such a tag, one is damaged, or an accuracy is below 0 or above
            100 per cent.
    """
    if not NAME.fullmatch(name) or name == STUDENT:
        raise ExperimentError(
            f"--name {name}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, and not "
            f"{STUDENT!r}, which is built in"
        )
    target = baselines_home() / f"{name}.csv"
    if is_a_file(target) and not force:
        raise ExperimentError(
            f"there is already a baseline {name!r}; choose another --name, or replace it with --force"
        )
    logs: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob(PATTERN)):
        within = path.parent.relative_to(folder).as_posix().removesuffix("/tb")  # raytrain's own are in TRIAL/tb
        logs[folder.resolve().name if within == "." else within].append(path)
    if not logs:
        raise DataError(f"{folder}: has no TensorBoard event files ({PATTERN}); give the folder of the logs")
    read = {curve: _logged(paths, curve) for curve, paths in logs.items()}
    curves = [curve_of(curve, by_epoch) for curve, by_epoch in read.items() if by_epoch]
    if not curves:
        wanted = [tag for tag, field in TAGS.items() if field in MEASURES]
        raise DataError(f"{folder}: no event file has a finite value of the tags {', '.join(wanted)}")
    _write(target, as_csv(curves))
    return Baseline(name, tuple(curves))


def _write(path: Path, text: str) -> None:
    """Write a file as a whole: what it held before stays if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise ExperimentError(
            f"{path.parent}: cannot be written: {error.strerror}; make room there, or name another folder for data "
            "with RAYTRAIN_DATA"
        ) from error


def _logged(paths: Iterable[Path], curve: str) -> dict[int, dict[str, float | None]]:
    """Return what the event files of one run say, by epoch; of two values for a step the later one counts."""
    scalars = sorted((one for path in paths for one in read_scalars(path)), key=lambda one: one.wall_time)
    ours = [(TAGS[one.tag], one) for one in scalars if TAGS.get(one.tag) in MEASURES]
    if not ours:
        return {}
    start = ours[0][1].wall_time
    counted_from = min(one.step for _, one in ours)
    finite = [(measure, one) for measure, one in ours if math.isfinite(one.value)]
    if left := len(ours) - len(finite):
        log.warning("%s: values that are not finite were left out: %d of %d", curve, left, len(ours))
    by_epoch: dict[int, dict[str, float | None]] = defaultdict(dict)
    for measure, one in finite:
        values = by_epoch[one.step + (1 if counted_from == 0 else 0)]
        values[measure] = one.value
        values["elapsed_s"] = round(one.wall_time - start, 3)
    for measure in ("train_accuracy", "test_accuracy"):
        known = {epoch: value for epoch, values in by_epoch.items() if (value := values.get(measure)) is not None}
        whole = 100 if max(known.values(), default=0) > MOST_FRACTION else 1
        for epoch, value in known.items():
            if not 0 <= value / whole <= MOST_FRACTION:
                raise DataError(
                    f"{curve}: {measure} of epoch {epoch} is {value:g}, which is neither a fraction from 0 to 1 nor a "
                    "percentage; leave this log out of the folder"
                )
            by_epoch[epoch][measure] = min(value / whole, 1.0)
    return by_epoch


MOST_FRACTION = 1.01
"""Highest accuracy that is read as the fraction 1 with an error of rounding; a higher one is in per cent.

A network that guesses among 100 classes may reach 1.2 per cent, so the limit is close to 1.
"""
MAX_BYTES = 2**30
"""Largest size of an event file, in bytes; one with scalars only has far less."""
PATTERN = "*tfevents*"
"""Glob pattern of TensorBoard's event files."""


class Scalar(NamedTuple):
    """A logged value.

    Attributes:
        tag: Name of the logged quantity.
        step: Step number that the writer gave it, usually the epoch.
        value: Logged number.
        wall_time: Time of the record, in seconds since 1970.
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
    message: Any = event_pb2  # its classes are made at import

    for record in _records(path):
        try:
            event = message.Event.FromString(record)
        except DecodeError as error:
            raise DataError(f"{path}: is not a TensorBoard event file ({error})") from error
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield Scalar(value.tag, event.step, value.simple_value, event.wall_time)
            elif value.HasField("tensor") and len(value.tensor.float_val) == 1:
                yield Scalar(value.tag, event.step, value.tensor.float_val[0], event.wall_time)


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records: a length of 8 bytes, its checksum of 4, the content, its checksum of 4."""
    try:
        content = read_bounded(path, most=MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; leave it out of the folder") from error
    start = 0
    while start + 12 <= len(content):
        length, checksum = struct.unpack_from("<QI", content, start)
        if masked_crc32c(content[start : start + 8]) != checksum:
            raise DataError(f"{path}: is damaged at byte {start}, or not a TensorBoard event file; copy it again")
        end = start + 12 + length
        if end + 4 > len(content):
            return  # its writer was killed, or is still writing
        record = content[start + 12 : end]
        if masked_crc32c(record) != struct.unpack_from("<I", content, end)[0]:
            raise DataError(f"{path}: is damaged between bytes {start} and {end}; copy it again")
        yield record
        start = end + 4
