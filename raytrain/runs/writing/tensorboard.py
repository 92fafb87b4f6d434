"""TensorBoard event files of a run's trials, with tags that earlier logs of such studies use."""

import contextlib
import math
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import StorageError
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult
from raytrain.runs.trial_files import read_epochs, trial_folder
from raytrain.runs.writing import hparams
from raytrain.storage.folder import Folder

TAGS = {
    "Loss/Training": "train_loss",
    "Loss/Val": "val_loss",
    "Loss/Test": "test_loss",
    "Accuracy/Train": "train_accuracy",
    "Accuracy/Val": "val_accuracy",
    "Accuracy/Test": "test_accuracy",
    "LR": "lr",
}
"""Columns of metrics.jsonl by TensorBoard tag; the step is the epoch."""


FLUSHED_S = 10.0
"""Seconds after which what was logged is written to the file, when more is logged; the first row is at once."""


class Scalars:
    """An open event file; TensorBoard hides what earlier files of the folder have from `first_epoch` on.

    It is written here, and not by tensorboardX's SummaryWriter. That one hands events through a queue to a thread and
    waits for the thread at its end. An interrupt while the queue is locked may leave the thread asleep, and a run would
    not end after Ctrl-C.
    """

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # by the nanosecond: a second file within a second would replace the first
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.time_ns()}"
        with _errors_explained():
            self._file = (folder / name).open("xb")
        self._written_at = -math.inf
        self._log(file_version="brain.Event:2")
        self._log(session_log={"status": "START"}, step=first_epoch)

    def add(self, row: dict[str, Any], *, at: float | None = None) -> None:
        """Log a row of metrics.jsonl; what it does not have is left out.

        Args:
            row: The row.
            at: Time of it, in seconds since 1970; None for now.
        """
        for tag, value in _values(row).items():
            self._scalar(tag, value, row["epoch"], at=at)
        if time.monotonic() >= self._written_at + FLUSHED_S:
            with _errors_explained():
                self._file.flush()
            self._written_at = time.monotonic()

    def add_lost(self, rows: Sequence[dict[str, Any]]) -> None:
        """Log rows that earlier files have lost; each is as much later than the one before as its epoch took."""
        at = time.time() - sum(row["seconds"] for row in rows)
        for row in rows:
            at += row["seconds"]
            self.add(row, at=at)

    def add_picture(self, tag: str, picture: NDArray[np.uint8], *, epoch: int) -> None:
        """Log a picture, (height, width, 3) uint8."""
        from tensorboardX import summary  # imports PyTorch, over a second

        self._log(summary=summary.image(tag, picture, dataformats="HWC"), step=epoch)

    def end(self, result: TrialResult, fields: Iterable[str]) -> None:
        """Log how a trial ended: its final metrics, and its row in HParams.

        Args:
            result: Result of the trial.
            fields: Names of the recipe's fields that HParams shows.
        """
        for tag, value in hparams.final_metrics(result).items():
            self._scalar(tag, value, result.epochs)
        for one in hparams.summaries(result, fields):
            self._log(summary=one)

    def close(self) -> None:
        """Write what is buffered and close the file.

        Raises:
            StorageError: It cannot be written.
        """
        with _errors_explained():
            self._file.close()

    def _scalar(self, tag: str, value: float, epoch: int, *, at: float | None = None) -> None:
        from tensorboardX import summary

        self._log(summary=summary.scalar(tag, value), step=epoch, at=at)

    def _log(self, *, step: int = 0, at: float | None = None, **what: Any) -> None:
        from tensorboardX.proto import event_pb2

        wall_time = time.time() if at is None else at
        content: bytes = event_pb2.Event(wall_time=wall_time, step=step, **what).SerializeToString()  # pyright: ignore[reportAttributeAccessIssue] (made by protobuf)
        length = struct.pack("<Q", len(content))
        with _errors_explained():
            self._file.write(length + _checksum(length) + content + _checksum(content))


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a row of metrics.jsonl by their tags."""
    return {tag: row[field] for tag, field in TAGS.items() if row.get(field) is not None}


def lost_rows(folder: Folder, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return the rows from the first one on that the event files in a folder do not have in full.

    A kill loses what was logged in the last `FLUSHED_S` seconds, and in object storage all of an open file.
    """
    shown = _logged_steps(folder) if rows else set()
    lost = (at for at, row in enumerate(rows) if not {(tag, row["epoch"]) for tag in _values(row)} <= shown)
    return rows[next(lost, len(rows)) :]


def _logged_steps(folder: Folder) -> set[tuple[str, int]]:
    """Return the tag and the step of all that TensorBoard shows of a folder's event files."""
    from tensorboardX.proto import event_pb2

    message: Any = event_pb2  # its classes are made at import
    shown: set[tuple[str, int]] = set()
    for name in [one for one in folder.names() if "tfevents" in one]:
        for record in _records(folder.read(name)):
            event = message.Event.FromString(record)
            if event.HasField("session_log"):  # it hides what is on record from its step on
                shown = {(tag, step) for tag, step in shown if step < event.step}
            shown |= {(value.tag, event.step) for value in event.summary.value}
    return shown


def _records(content: bytes) -> Generator[bytes]:
    """Yield the records of an event file up to one that a kill has cut short, or that is damaged."""
    start = 0
    while len(head := content[start : start + 12]) == 12:
        end = start + 12 + struct.unpack("<Q", head[:8])[0]
        record = content[start + 12 : end]
        if _checksum(head[:8]) != head[8:] or _checksum(record) != content[end : end + 4]:
            return
        yield record
        start = end + 4


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC of a part of a TFRecord."""
    from tensorboardX.record_writer import masked_crc32c

    return struct.pack("<I", masked_crc32c(content))


@contextlib.contextmanager
def _errors_explained() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"TensorBoard's event file cannot be written: {error}") from error


class RunScalars:
    """The event files of all trials of a run, each open from its first row on until the trial ends."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Folder, Path, Scalars]] = {}
        self._scratch: Path | None = None
        self._fields: tuple[int, list[str]] = (0, [])

    def add(self, trial: str, row: dict[str, Any], *, run: Folder, first_epoch: int) -> None:
        """Log a row of a trial.

        Args:
            trial: Id of the trial.
            row: Row of metrics.jsonl.
            run: The run folder.
            first_epoch: Epoch from which TensorBoard hides the content of earlier files, when a new file is opened.
                Rows of metrics.jsonl before it that these files have lost are logged again.
        """
        self._scalars(trial, run, first_epoch=first_epoch).add(row)

    def add_picture(
        self, trial: str, tag: str, picture: NDArray[np.uint8], *, epoch: int, run: Folder, first_epoch: int
    ) -> None:
        """Log a picture of a trial, (height, width, 3) uint8; `run` and `first_epoch` are those of `add`."""
        self._scalars(trial, run, first_epoch=first_epoch).add_picture(tag, picture, epoch=epoch)

    def end(self, result: TrialResult, trials: Mapping[str, TrialProgress], *, run: Folder) -> None:
        """Log how a trial ended, and close its file.

        Args:
            result: Result of the trial.
            trials: All trials of the run: HParams shows the fields that vary between them.
            run: The run folder.
        """
        if len(trials) != self._fields[0]:  # kept, because of thousands of trials it takes a second
            recipes = [one.trial.recipe for one in trials.values()]
            self._fields = len(trials), hparams.shown_fields(recipes)
        scalars = self._scalars(result.trial, run, first_epoch=result.epochs + 1)
        scalars.end(result, self._fields[1])
        self.close(result.trial)

    def _scalars(self, trial: str, run: Folder, *, first_epoch: int) -> Scalars:
        if trial not in self._open:
            folder = trial_folder(run, trial) / "tb"
            before = [row for row in read_epochs(run, trial) if row["epoch"] < first_epoch] if first_epoch > 1 else []
            lost = lost_rows(folder, before)
            path = folder.local_path or self._scratch_folder() / trial
            scalars = Scalars(path, first_epoch=lost[0]["epoch"] if lost else first_epoch)
            self._open[trial] = (folder, path, scalars)
            scalars.add_lost(lost)
        return self._open[trial][2]

    def close(self, trial: str) -> None:
        """Close a trial's file, if one is open, and bring it where it belongs."""
        if trial not in self._open:
            return
        folder, path, scalars = self._open.pop(trial)
        scalars.close()
        if folder.local_path is None:
            for written in path.iterdir():
                folder.write(written.name, written.read_bytes())

    def close_all(self) -> None:
        """Close every file, and leave nothing behind but them."""
        for trial in list(self._open):
            self.close(trial)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _scratch_folder(self) -> Path:
        # tensorboardX writes local files; for a folder in object storage they are sent when the trial ends
        self._scratch = self._scratch or Path(tempfile.mkdtemp(prefix="raytrain-tb-"))
        return self._scratch
