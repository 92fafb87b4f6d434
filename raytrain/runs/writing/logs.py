"""The run folder's files of lines, taken up again by another command after a kill."""

from collections.abc import Sequence

from raytrain.runs.state import RunState
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, mend_last_line

LOGS = ("trials.jsonl", "events.jsonl")
"""Names of the files to which lines are appended."""


def open_logs(folder: Folder, state: RunState, notes: Sequence[bytes]) -> None:
    """Make the files ready for further lines: mend what a kill has cut short, and write what it has kept from coming.

    A kill may come between the result of a trial and the event of its end. Without the event, the result would be taken
    for the newest of its trial, also after the trial has started again.

    Args:
        folder: The run folder.
        state: State of the run, as it was read.
        notes: Further lines for events.jsonl.
    """
    for name in LOGS:
        mend_last_line(folder, name)
    lines: list[bytes] = []
    for result in state.late:
        # not the time of now: the trial did not run until this command
        event = {"time": state.last_time(), "event": result.status, "trial": result.trial, "epoch": result.epochs}
        lines.append(as_line(event))
        state.apply(event)  # pyright: ignore[reportArgumentType] (an Ended and its time)
    state.late = []
    if lines := [*lines, *notes]:
        folder.append("events.jsonl", b"".join(lines))
