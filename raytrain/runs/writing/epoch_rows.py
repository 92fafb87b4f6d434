"""metrics.jsonl of a trial, made to hold what is known of it: no torn line, no epoch that is trained again."""

from collections.abc import Mapping
from typing import Any

from raytrain.runs.trial_files import METRICS, read_epochs, trial_folder
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line


def drop_from(run: Folder, trial_id: str, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Drop the epoch of `row` and later ones, and return the rows before it; None if `row` itself is on record.

    Epochs come twice when a trial goes on from a checkpoint: as it remembers them, or trained again because its last
    checkpoint is older than its last report.
    """
    rows = read_epochs(run, trial_id)
    if row in rows:
        return None
    rows = [earlier for earlier in rows if earlier["epoch"] < row["epoch"]]
    trial_folder(run, trial_id).write(METRICS, b"".join(map(as_line, rows)))
    return rows


def keep_sound(run: Folder, trial_id: str, *, epochs: int) -> None:
    """Have the file of a trial that goes on hold its first `epochs`, with no torn line and nothing damaged."""
    folder = trial_folder(run, trial_id)
    if not folder.exists(METRICS):
        return
    content = b"".join(map(as_line, read_epochs(run, trial_id)[:epochs]))
    if folder.read(METRICS) != content:
        folder.write(METRICS, content)
