"""What `raytrain plan` said of a run, kept on this machine, so that the end of the run can stand beside it."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

KEPT = 200
"""Largest number of plans that are kept; the oldest go first."""
COVERAGE = 0.9
"""Share of the simulated values that lies between the low and the high end of a range."""


@dataclass(frozen=True)
class Range:
    """The range of a simulated quantity.

    Attributes:
        low: Value that 5 % of the simulated values fall below.
        median: Value that half of the simulated values fall below.
        high: Value that 5 % of the simulated values exceed.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        """Return the range of simulated values."""
        low, median, high = np.quantile(values, [(1 - COVERAGE) / 2, 0.5, (1 + COVERAGE) / 2])
        return cls(float(low), float(median), float(high))


def remember(folder: str, trials: Mapping[str, int], time: Range, *, where: str) -> None:
    """Keep the planned time of a run in place of an earlier one; where it cannot be written, nothing is kept.

    Args:
        folder: Path or URI of the run folder.
        trials: Epochs on record of the trials that the run has left, by id.
        time: Time that they will take.
        where: Where they will run and how many at a time, as the backend describes it.
    """
    plans = _read()
    plans.pop(folder, None)
    plans[folder] = {"trials": dict(trials), "where": where, "seconds": [time.low, time.median, time.high]}
    kept = dict(list(plans.items())[-KEPT:])
    if (path := _file()) is None:
        return
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(kept))
        part.replace(path)  # who reads meanwhile reads the old ones
    except OSError:
        return  # the plan has been printed; only the comparison at the end of the run is lost


def recall(folder: str, trials: Mapping[str, int], *, where: str) -> Range | None:
    """Return the planned time of exactly what a run has left, on the same resources; None where there is none.

    A run that was interrupted within its first trial has the same trials left as before, but fewer epochs of them.

    Args:
        folder: Path or URI of the run folder.
        trials: Epochs on record of the trials that the run has left, by id.
        where: Where they run and how many at a time, as the backend describes it.
    """
    plan = _read().get(folder)
    if not isinstance(plan, dict) or (plan.get("trials"), plan.get("where")) != (dict(trials), where):
        return None
    try:
        return Range(*map(float, plan["seconds"]))
    except (KeyError, TypeError, ValueError):
        return None


def _file() -> Path | None:
    """Return the file with the plans; None for a user without a home folder, as in some containers."""
    try:
        return platformdirs.user_state_path("raytrain").expanduser() / "plans.json"
    except RuntimeError:
        return None


def _read() -> dict[str, Any]:
    try:
        plans = json.loads(path.read_text()) if (path := _file()) else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return plans if isinstance(plans, dict) else {}
