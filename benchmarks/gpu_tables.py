"""The tables of a record of benchmarks/gpu.py, made of what its steps measured."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from comparison import Comparison

Steps = Mapping[str, Mapping[str, Any]]
"""What each step measured, or its "error"."""
Rows = list[list[str]]


def comparisons_of(steps: Steps) -> list[Comparison]:
    """Return the epochs of our loop against those of the student's."""
    return [
        Comparison(
            f"{one['what']}, batch {one['batch size']}: an epoch of {one['images']:,} images on a GPU",
            "the student's loop",
            "s",
            one["ours"],
            one["the student's loop"],
        )
        for one in _of_kind(steps, "epoch")
    ]


def tables_of(steps: Steps) -> list[dict[str, Any]]:
    """Return those tables that have rows."""
    tables = [
        (["trained", "epochs", "test accuracy %", "with TTA %", "s of training", "s from Enter"], _trainings(steps)),
        (["an epoch", "precision", "ours, s", "the student's loop, s", "times as fast"], _epochs(steps)),
        (["the loop", "how", "first epoch, s", "an epoch, s", "pays for its start after"], _loops(steps)),
        (["peak memory", "how", "tensors, GiB", "held by PyTorch, GiB"], _peaks(steps)),
        (["step that failed", "why"], [[name, str(one["error"])] for name, one in steps.items() if "error" in one]),
    ]
    return [{"columns": columns, "rows": rows} for columns, rows in tables if rows]


def _of_kind(steps: Steps, *kinds: str) -> Iterable[Mapping[str, Any]]:
    return (one for one in steps.values() if one.get("kind") in kinds)


def _trainings(steps: Steps) -> Rows:
    def percent(accuracy: float | None) -> str:
        return "–" if accuracy is None else f"{100 * accuracy:.2f}"

    return [
        [
            one["what"],
            str(one["epochs"]),
            percent(one["test accuracy"]),
            percent(one["test accuracy with TTA"]),
            f"{one['seconds of training']:.1f}",
            "–" if one["seconds from Enter to the end"] is None else f"{one['seconds from Enter to the end']:.1f}",
        ]
        for one in _of_kind(steps, "training")
    ]


def _epochs(steps: Steps) -> Rows:
    rows: Rows = []
    for one, row in zip(_of_kind(steps, "epoch"), comparisons_of(steps), strict=True):
        spread = f"{row.ratio:.2f} ({min(row.ratios):.2f}–{max(row.ratios):.2f}, {len(row.ratios)} pairs)"
        ours, theirs = (f"{statistics.median(seconds):.2f}" for seconds in (row.ours, row.theirs))
        rows.append([f"{one['what']}, batch {one['batch size']}", one["precision"], ours, theirs, spread])
    return rows


def _loops(steps: Steps) -> Rows:
    loops = list(_of_kind(steps, "loop"))
    plain = {one["what"]: one for one in loops if one["how"] == "as it is"}
    rows: Rows = []
    for one in loops:
        start, epoch = one["first epoch"], statistics.median(one["epochs"])
        pays = "–"
        if one["what"] in plain and one is not plain[one["what"]]:
            pays = pays_after(plain[one["what"]], start=start, epoch=epoch)
        rows.append([one["what"], one["how"], f"{start:.1f}", f"{epoch:.2f}", pays])
    return rows


def pays_after(plain: Mapping[str, Any], *, start: float, epoch: float) -> str:
    """Return the number of epochs after which a compiled loop has taken less time in all than the plain one.

    Args:
        plain: What the plain loop took: "first epoch" and "epochs", in seconds.
        start: Seconds of the first epoch of the compiled loop.
        epoch: Seconds of another epoch of it.
    """
    gain = statistics.median(plain["epochs"]) - epoch
    if gain <= 0:
        return "never"
    return f"{max(1, math.floor((start - plain['first epoch']) / gain) + 2)} epochs"


def _peaks(steps: Steps) -> Rows:
    rows: Rows = []
    for one in _of_kind(steps, "epoch", "loop"):
        if peak := one["peak bytes"]:
            sizes = [f"{peak[what] / 2**30:.2f}" for what in ("taken", "held")]
            how = one.get("how", "as it is")
            what = one["what"] if one["kind"] == "loop" else f"{one['what']}, batch {one['batch size']}"
            rows.append([what, how, *sizes])
    return rows
