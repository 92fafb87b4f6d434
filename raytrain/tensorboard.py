"""TensorBoard event files of one trial, with tags that earlier logs of such studies use."""

import time
from pathlib import Path
from typing import Any

TAGS = {
    "Loss/Training": "train_loss",
    "Loss/Val": "val_loss",
    "Loss/Test": "test_loss",
    "Accuracy/Train": "train_accuracy",
    "Accuracy/Val": "val_accuracy",
    "Accuracy/Test": "test_accuracy",
    "LR": "lr",
}
"""Tag -> field of a row of metrics.jsonl; the step is the epoch."""


class Scalars:
    """An open event file; TensorBoard hides what earlier files of the folder have from `first_epoch` on."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        from tensorboardX import SummaryWriter

        # tensorboardX names files by the second, and a second one within it would replace the first
        suffix = f".{time.time_ns()}"
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch, filename_suffix=suffix)

    def add(self, row: dict[str, Any]) -> None:
        """Log a row of metrics.jsonl; what it does not have is left out."""
        for tag, field in TAGS.items():
            if row.get(field) is not None:
                self._writer.add_scalar(tag, row[field], row["epoch"])

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._writer.close()
