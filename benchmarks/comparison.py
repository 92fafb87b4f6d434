"""Two things measured side by side in one run, and the record of it.

Timings on a shared machine drift, so what is compared takes turns, and what counts is the ratio within a pair: its
median, and the lowest and the highest.
"""

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raytrain.data import DATASETS, ImageDataset, LabelledImages, load
from raytrain.data.images import image_dataset
from raytrain.errors import PreflightError
from raytrain.provenance.versions import command_line, describe_code, describe_machine

RECORDS = Path(__file__).parent.parent / "experiments" / "records"


@dataclass(frozen=True)
class Comparison:
    """One row of a record: ours against something else.

    Attributes:
        what: What was measured, such as "ResNet-18, an epoch".
        baseline: What ours is compared with.
        unit: Of both measurements, such as "s" or "images/s".
        ours: By pair.
        theirs: By pair.
        target: What was aimed at, in words, such as "≥ 3.0".
        met: Whether it was reached; None where nothing was aimed at.
    """

    what: str
    baseline: str
    unit: str
    ours: list[float]
    theirs: list[float]
    target: str = ""
    met: bool | None = None

    @property
    def ratios(self) -> list[float]:
        """How many times as good ours is, by pair: fewer seconds, or more of anything per second."""
        per_second = self.unit.endswith("/s")
        return [o / t if per_second else t / o for o, t in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of `ratios`."""
        return statistics.median(self.ratios)

    def aiming(self, *, at_least: float | None = None, cost_at_most: float | None = None) -> "Comparison":
        """Return this with its target: times as good as the baseline, or times the baseline's cost."""
        if at_least is not None:
            return self._aiming(f"≥ {at_least:g} ×", self.ratio >= at_least)
        assert cost_at_most is not None
        return self._aiming(f"≤ {cost_at_most:g} of it", 1 / self.ratio <= cost_at_most)

    def _aiming(self, target: str, met: bool) -> "Comparison":
        return Comparison(**{**asdict(self), "target": target, "met": met})

    def __str__(self) -> str:
        low, high = min(self.ratios), max(self.ratios)
        reached = "" if self.met is None else f", target {self.target}: {'met' if self.met else 'MISSED'}"
        return (
            f"{self.what}: {statistics.median(self.ours):.4g} {self.unit}, {self.baseline}: "
            f"{statistics.median(self.theirs):.4g} {self.unit}; {self.ratio:.2f} × "
            f"({low:.2f} to {high:.2f}, {len(self.ratios)} pairs){reached}"
        )


@dataclass
class Record:
    """What a benchmark writes: experiments/records/bench-NAME.json.

    Attributes:
        name: Of the script, without its suffix.
        rows: Comparisons.
        targets: What was aimed at without something else to compare with.
        details: Whatever else was measured, as JSON values.
    """

    name: str
    rows: list[Comparison] = field(default_factory=list[Comparison])
    targets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    _started: float = field(default_factory=time.perf_counter)

    def add(self, row: Comparison) -> None:
        """Keep a comparison and print it."""
        self.rows.append(row)
        print(row, flush=True)

    def target(self, what: str, measured: float, target: str, *, met: bool) -> None:
        """Keep what was measured beside what was aimed at, and print it."""
        self.targets.append({"what": what, "measured": float(measured), "target": target, "met": bool(met)})
        print(f"{what}: {measured:.4g}, target {target}: {'met' if met else 'MISSED'}", flush=True)

    @property
    def usual_path(self) -> Path:
        """Where the record is written if no other file is named."""
        return RECORDS / f"bench-{self.name}.json"

    def write(self, path: Path | None = None) -> Path:
        """Write the record, with the date, command, versions and machine, and return its path."""
        code, machine = recorded_code(describe_code()), describe_machine()
        del machine["host"]
        about = {
            "benchmark": self.name,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "seconds": round(time.perf_counter() - self._started),
            "command": command_line(),
            "code": code,
            "machine": machine,
        }
        rows = [{**asdict(row), "ratio": row.ratio, "ratios": row.ratios} for row in self.rows]
        path = path or self.usual_path
        written = json.dumps({**about, "rows": rows, "targets": self.targets, "details": self.details}, indent=1) + "\n"
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(written)
        partial.replace(path)  # whoever is killed here keeps the record that was there
        print(f"written: {path}", flush=True)
        return path


def recorded_code(code: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record keeps of the code: `uncommitted` where tracked files had changed, not the changes."""
    kept = {name: value for name, value in code.items() if not name.startswith("git_diff")}
    changed = code.get("git_diff") or code.get("git_diff_left_out")
    return {**kept, "uncommitted": True} if changed else kept


def interleaved(
    ours: Callable[[], float], theirs: Callable[[], float], *, pairs: int
) -> tuple[list[float], list[float]]:
    """Return what the two functions measured, by pair; who goes first changes from pair to pair."""
    measured: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        both = [(0, ours), (1, theirs)]
        for side, measure in both if pair % 2 == 0 else reversed(both):
            measured[side].append(measure())
    return measured


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall-clock time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def real_or_random(name: str | None) -> tuple[ImageDataset, str]:
    """Return a data set and what to call it in the record; without a name, random images of CIFAR-10's shape.

    Where CIFAR-10 can neither be found nor downloaded, random images of its shape take its place: no loop that is timed
    here depends on what an image shows.
    """
    try:
        if name:
            return load(name, image_size=32), name if name in DATASETS else Path(name).name
    except PreflightError as error:
        print(f"{error}\nGoing on with random images.", file=sys.stderr)
    generator = np.random.default_rng(0)

    def some(count: int) -> LabelledImages:
        pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return LabelledImages(pixels, generator.integers(0, 10, count))

    return image_dataset(some(50_000), some(10_000), classes=tuple(map(str, range(10)))), "random images"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="how often the two take turns")
    parser.add_argument("--output", type=Path, help="write the record here instead of experiments/records/")
    return parser
