"""TensorBoard event files of a run's trials, with tags that earlier logs of such studies use."""

import contextlib
import math
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import StorageError
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult
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

    def add(self, row: dict[str, Any]) -> None:
        """Log a row of metrics.jsonl; what it does not have is left out."""
        for tag, field in TAGS.items():
            if row.get(field) is not None:
                self._scalar(tag, row[field], row["epoch"])
        if time.monotonic() >= self._written_at + FLUSHED_S:
            with _errors_explained():
                self._file.flush()
            self._written_at = time.monotonic()

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

    def _scalar(self, tag: str, value: float, epoch: int) -> None:
        from tensorboardX import summary

        self._log(summary=summary.scalar(tag, value), step=epoch)

    def _log(self, *, step: int = 0, **what: Any) -> None:
        from tensorboardX.proto import event_pb2

        content: bytes = event_pb2.Event(wall_time=time.time(), step=step, **what).SerializeToString()  # pyright: ignore[reportAttributeAccessIssue] (made by protobuf)
        length = struct.pack("<Q", len(content))
        with _errors_explained():
            self._file.write(length + _checksum(length) + content + _checksum(content))


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

    def add(self, trial: str, row: dict[str, Any], *, folder: Folder, first_epoch: int) -> None:
        """Log a row of a trial.

        Args:
            trial: Id of the trial.
            row: Row of metrics.jsonl.
            folder: Folder of the trial's event files.
            first_epoch: Epoch from which TensorBoard hides the content of earlier files, when a new file is opened.
        """
        self._scalars(trial, folder, first_epoch=first_epoch).add(row)

    def add_picture(
        self, trial: str, tag: str, picture: NDArray[np.uint8], *, epoch: int, folder: Folder, first_epoch: int
    ) -> None:
        """Log a picture of a trial, (height, width, 3) uint8; `folder` and `first_epoch` are those of `add`."""
        self._scalars(trial, folder, first_epoch=first_epoch).add_picture(tag, picture, epoch=epoch)

    def end(self, result: TrialResult, trials: Mapping[str, TrialProgress], *, folder: Folder) -> None:
        """Log how a trial ended, and close its file.

        Args:
            result: Result of the trial.
            trials: All trials of the run: HParams shows the fields that vary between them.
            folder: Folder of the trial's event files.
        """
        if len(trials) != self._fields[0]:  # kept, because of thousands of trials it takes a second
            recipes = [one.trial.recipe for one in trials.values()]
            self._fields = len(trials), hparams.shown_fields(recipes)
        scalars = self._scalars(result.trial, folder, first_epoch=result.epochs + 1)
        scalars.end(result, self._fields[1])
        self.close(result.trial)

    def _scalars(self, trial: str, folder: Folder, *, first_epoch: int) -> Scalars:
        if trial not in self._open:
            path = folder.local_path or self._scratch_folder() / trial
            self._open[trial] = (folder, path, Scalars(path, first_epoch=first_epoch))
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
