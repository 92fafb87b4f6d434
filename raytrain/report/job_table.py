"""The jobs of a cluster as a table."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.report.live import clock
from raytrain.report.table import WIDE


def job_table(jobs: Sequence[dict[str, Any]]) -> str:
    """Return a line per job under a header; `started` is the local time.

    Args:
        jobs: Attributes of `raytrain.cluster.jobs.Job` by name.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("job", "status", "exit", "started", "time", "command"):
        table.add_column(name, no_wrap=True)
    for job in jobs:
        code = "" if job["exit_code"] is None else str(job["exit_code"])
        started = f"{datetime.fromtimestamp(job['started'], UTC).astimezone():%Y-%m-%d %H:%M}" if job["started"] else ""
        seconds = clock(job["seconds"]) if job["seconds"] is not None else ""
        table.add_row(*map(Text, (job["id"], job["status"], code, started, seconds, job["command"])))
    out = io.StringIO()
    Console(file=out, width=WIDE).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
