"""Options of a run that do not change its results, but for the last bits on another number of threads."""

from dataclasses import dataclass
from typing import Literal, get_args

from raytrain.errors import ExperimentError, unknown
from raytrain.runs.events import TRIAL_TIMEOUT_S

Mode = Literal["resume", "fresh", "failed_only", "repair"]
"""Treatment of an earlier run of the same name: continue it, delete it, run only its failed trials, or
put its damaged files in order and continue it."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that do not change its results.

    Attributes:
        out: Folder or URI of runs; the run folder in it has the experiment's name.
        address: Address of a Ray cluster; None starts Ray on this machine.
        local: Whether to run in this process, without Ray.
        mode: Treatment of an earlier run of that name.
        trial_timeout_s: Seconds for which a trial on Ray may show no progress before its process is killed and started
            again.
        time_limit_s: Seconds after which the run ends as it does after Ctrl-C; None for no limit.
        log: Tracker that is told of the run while it trains, such as "mlflow" or "mlflow=http://127.0.0.1:5000".
        threads: Number of CPU threads of a run in this process; None for `cpus_per_worker` of the experiment, or
            PyTorch's choice, within what the process may use.
    """

    out: str = "runs"
    address: str | None = None
    local: bool = False
    mode: Mode = "resume"
    trial_timeout_s: float = TRIAL_TIMEOUT_S
    time_limit_s: float | None = None
    log: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse a mode that there is not: it would continue the run, as "resume" does.

        Raises:
            ExperimentError: There is no such mode.
        """
        if self.mode not in get_args(Mode):
            raise ExperimentError(unknown(str(self.mode), get_args(Mode), "mode"))
