"""The jobs of a cluster as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from raytrain.report.columns import as_text
from raytrain.report.times import clock

HEADINGS = ("job", "status", "exit", "started", "time", "command")


def job_table(jobs: Sequence[dict[str, Any]]) -> str:
    """Return a line per job under a header; `started` is the local time.

    Args:
        jobs: Attributes of `raytrain.cluster.jobs.Job` by name.
    """
    rows = [_row(job) for job in jobs]
    columns = {heading: [row[place] for row in rows] for place, heading in enumerate(HEADINGS)}
    return as_text(columns, left=HEADINGS)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    code = "" if job["exit_code"] is None else str(job["exit_code"])
    started = f"{datetime.fromtimestamp(job['started'], UTC).astimezone():%Y-%m-%d %H:%M}" if job["started"] else ""
    seconds = clock(job["seconds"]) if job["seconds"] is not None else ""
    return job["id"], job["status"], code, started, seconds, job["command"]
