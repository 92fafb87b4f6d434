"""How an experiment is run, as far as it changes no result."""

from dataclasses import dataclass
from typing import Literal

from raytrain.runs.events import TRIAL_TIMEOUT_S

Mode = Literal["resume", "fresh", "failed_only"]
"""What is done with an earlier run of the same name: go on with it, delete it, or run what failed and nothing else."""


@dataclass(frozen=True)
class RunOptions:
    """How an experiment is run, as far as it changes no result.

    Attributes:
        out: Folder or URI in which the run folder is, under the experiment's name.
        address: Of a Ray cluster; None starts one on this machine.
        local: Run in this process, without Ray.
        mode: What is done with an earlier run of that name.
        trial_timeout_s: Seconds for which a trial on Ray may show no progress before its process is ended and started
            again.
        time_limit_s: Seconds after which the run ends as by Ctrl-C, to be resumed; None for no limit.
    """

    out: str = "runs"
    address: str | None = None
    local: bool = False
    mode: Mode = "resume"
    trial_timeout_s: float = TRIAL_TIMEOUT_S
    time_limit_s: float | None = None
