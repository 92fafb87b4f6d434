"""What `raytrain plan` said of a run, kept on this machine, so that the end of the run can stand beside it."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

KEPT = 200
"""Largest number of plans that are kept; the oldest go first."""


class PlannedTime(NamedTuple):
    """Seconds from the first start of a trial to the last end, as simulated sweeps have it.

    Attributes:
        low: Seconds that 5 % of the simulated sweeps fall below.
        median: Seconds that half of the simulated sweeps fall below.
        high: Seconds that 5 % of the simulated sweeps exceed.
    """

    low: float
    median: float
    high: float


def remember(folder: str, trials: Collection[str], time: PlannedTime) -> None:
    """Keep the planned time of a run in place of an earlier one; where it cannot be written, nothing is kept.

    Args:
        folder: Path or URI of the run folder.
        trials: Ids of the trials that the run has left.
        time: Time that they will take.
    """
    plans = _read()
    plans.pop(folder, None)
    plans[folder] = {"trials": sorted(trials), "seconds": list(time)}
    kept = dict(list(plans.items())[-KEPT:])
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept))
    except OSError:
        return  # a plan is for the reader; what becomes of it later is a nicety


def recall(folder: str, trials: Collection[str]) -> PlannedTime | None:
    """Return the planned time of a run of exactly these trials; None where there is none.

    Args:
        folder: Path or URI of the run folder.
        trials: Ids of the trials that the run has left.
    """
    plan = _read().get(folder)
    if not isinstance(plan, dict) or plan.get("trials") != sorted(trials):
        return None
    try:
        return PlannedTime(*map(float, plan["seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


def _file() -> Path:
    return platformdirs.user_state_path("raytrain") / "plans.json"


def _read() -> dict[str, Any]:
    try:
        plans = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return plans if isinstance(plans, dict) else {}
