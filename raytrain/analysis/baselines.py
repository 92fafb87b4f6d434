"""Learning curves from elsewhere that a run is compared with: the student's eight, and what is imported from logs.

A baseline is a CSV file with the columns of `COLUMNS`, a row for each epoch of each curve.
"""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import platformdirs

from raytrain.errors import DataError, ExperimentError
from raytrain.experiment.shipped import shipped_file

STUDENT = "student"
"""The built-in baseline: the logs of the study that raytrain grew out of."""
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
COLUMNS = ("experiment", "epoch", "elapsed_s", *MEASURES)
LAST_EPOCHS = 20
"""Epochs at the end over which a curve's accuracy is averaged."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ARCH = re.compile(r"resnet\d+")


@dataclass(frozen=True)
class BaselineCurve:
    """What one training run logged.

    Attributes:
        name: Of the run.
        arch: Its architecture, None where nothing says so.
        epochs: Counted from 1, ascending.
        seconds: From the first line of the log to each epoch's; the first epoch itself is not in it.
        train_loss: After each epoch, with the next three; None where nothing was logged.
        test_loss: On the test set.
        train_accuracy: Fractions in [0, 1].
        test_accuracy: Fractions in [0, 1].
        claimed: Test accuracy that its author reports, a fraction; None where there is none.
        claimed_elsewhere: Another one that the same author reports for it.
        claimed_hours: Training time that its author reports.
    """

    name: str
    arch: str | None
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    train_loss: tuple[float | None, ...]
    test_loss: tuple[float | None, ...]
    train_accuracy: tuple[float | None, ...]
    test_accuracy: tuple[float | None, ...]
    claimed: float | None = None
    claimed_elsewhere: float | None = None
    claimed_hours: float | None = None

    @property
    def tested(self) -> list[tuple[int, float]]:
        """Epochs that have a test accuracy, with it."""
        pairs = zip(self.epochs, self.test_accuracy, strict=True)
        return [(epoch, accuracy) for epoch, accuracy in pairs if accuracy is not None]

    @property
    def last(self) -> float | None:
        """Test accuracy of the last epoch that has one."""
        return self.tested[-1][1] if self.tested else None

    @property
    def best(self) -> tuple[int, float] | None:
        """The first epoch with the highest test accuracy, and that: chosen on the test set, which flatters it."""
        return max(self.tested, key=lambda pair: (pair[1], -pair[0]), default=None)

    @property
    def hours(self) -> float | None:
        """Time that it took, the first epoch, which the log does not time, counted like the mean of the others."""
        timed = len(self.epochs) - 1
        return self.seconds[-1] * (timed + 1) / timed / 3600 if timed and self.seconds[-1] else None

    @property
    def late(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the test accuracy over the last `LAST_EPOCHS` epochs; None for fewer."""
        values = [accuracy for _, accuracy in self.tested[-LAST_EPOCHS:]]
        return (fmean(values), stdev(values)) if len(values) == LAST_EPOCHS else None

    def at(self, epoch: int, measure: str = "test_accuracy") -> tuple[int, float] | None:
        """Return the last epoch up to `epoch` that has a measure, and the measure; None where there is none."""
        values: Sequence[float | None] = getattr(self, measure)
        known = [(e, v) for e, v in zip(self.epochs, values, strict=True) if v is not None and e <= epoch]
        return known[-1] if known else None


@dataclass(frozen=True)
class Baseline:
    """Curves under one name.

    Attributes:
        name: What it is called.
        curves: A log each.
        dataset: What they are of; None where nothing says so.
    """

    name: str
    curves: tuple[BaselineCurve, ...]
    dataset: str | None = None


@dataclass(frozen=True)
class BaselineRow:
    """A curve as it stands beside a run, at one epoch.

    Attributes:
        name: Of the baseline and the curve, such as "student/resnet18".
        arch: As in the recipe; None if unknown.
        epoch: At which it is taken.
        epochs: How many it has.
        train_accuracy: Of that epoch, as it was logged; a fraction.
        test_accuracy: Of that epoch; a fraction.
    """

    name: str
    arch: str | None
    epoch: int
    epochs: int
    train_accuracy: float | None
    test_accuracy: float | None


def baselines_home() -> Path:
    """Return the folder of imported baselines: in RAYTRAIN_DATA, or the user's data folder of raytrain."""
    chosen = os.environ.get("RAYTRAIN_DATA")
    return (Path(chosen).expanduser() if chosen else platformdirs.user_data_path("raytrain")) / "baselines"


def list_baselines() -> list[str]:
    """Return the names of the baselines there are, the built-in one first."""
    home = baselines_home()
    return [STUDENT, *sorted(path.stem for path in (home.glob("*.csv") if home.is_dir() else ()))]


def open_baseline(baseline: str) -> Baseline:
    """Return a baseline by its name, or of a CSV file.

    Raises:
        ExperimentError: There is none of that name.
        DataError: The file is not a baseline.
    """
    if baseline == STUDENT:
        curves = read_curves(shipped_file("student/curves.csv"))
        return Baseline(STUDENT, tuple(_with_claims(curves, shipped_file("student/claims.csv"))), dataset="cifar10")
    imported = baselines_home() / f"{baseline}.csv"
    if NAME.fullmatch(baseline) and imported.is_file():
        return Baseline(baseline, tuple(read_curves(imported)))
    if (path := Path(baseline)).is_file():
        return Baseline(path.stem, tuple(read_curves(path)))
    raise ExperimentError(
        f"there is no baseline {baseline!r}, and no file of that name; there are {', '.join(list_baselines())}.\n"
        "Import TensorBoard logs with: raytrain baseline import FOLDER --name NAME"
    )


def read_curves(path: Path) -> list[BaselineCurve]:
    """Return the curves of a CSV file with the columns of `COLUMNS`.

    Raises:
        DataError: A column is missing, a value is no number, or an epoch comes twice.
    """
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}: has no column {', '.join(missing)}; a baseline has the columns {', '.join(COLUMNS)}")
    if not rows:
        raise DataError(f"{path}: has no row")
    curves: dict[str, dict[int, dict[str, float | None]]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        name, epoch, values = _parsed(row, f"{path}:{line}")
        if epoch in curves[name]:
            raise DataError(f"{path}:{line}: epoch {epoch} of {name} comes twice; keep one of the lines")
        curves[name][epoch] = values
    return [curve_of(name, by_epoch) for name, by_epoch in curves.items()]


def as_csv(curves: Iterable[BaselineCurve]) -> str:
    """Return curves as `read_curves` reads them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in curves:
        measures = [getattr(curve, measure) for measure in MEASURES]
        for row in zip(curve.epochs, curve.seconds, *measures, strict=True):
            writer.writerow([curve.name, *("" if value is None else value for value in row)])
    return out.getvalue()


def _parsed(row: Mapping[str, str | None], where: str) -> tuple[str, int, dict[str, float | None]]:
    def number(column: str) -> float | None:
        text = row[column]
        try:
            return float(text) if text else None
        except ValueError:
            raise DataError(f"{where}: {column} is {text!r}, which is no number") from None

    epoch = number("epoch")
    if not row["experiment"] or epoch is None or epoch < 1 or not epoch.is_integer():
        raise DataError(f"{where}: a row needs an experiment and an epoch, a whole number from 1 on")
    values = {column: number(column) for column in ("elapsed_s", *MEASURES)}
    for measure in ("train_accuracy", "test_accuracy"):
        if not 0 <= (values[measure] or 0.0) <= 1:
            raise DataError(f"{where}: {measure} is {values[measure]:g}; give a fraction from 0 to 1")
    return row["experiment"], int(epoch), values


def curve_of(name: str, by_epoch: Mapping[int, Mapping[str, float | None]]) -> BaselineCurve:
    """Return the curve of measures, and elapsed_s, by epoch."""
    epochs = sorted(by_epoch)
    found = _ARCH.search(name)

    def column(measure: str) -> tuple[float | None, ...]:
        return tuple(by_epoch[epoch].get(measure) for epoch in epochs)

    return BaselineCurve(
        name,
        found[0] if found else None,
        tuple(epochs),
        tuple(seconds or 0.0 for seconds in column("elapsed_s")),
        train_loss=column("train_loss"),
        test_loss=column("test_loss"),
        train_accuracy=column("train_accuracy"),
        test_accuracy=column("test_accuracy"),
    )


def _with_claims(curves: Iterable[BaselineCurve], path: Path) -> Iterable[BaselineCurve]:
    """Give the curves with what their author says of them."""
    claims = {row["experiment"]: row for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))}
    for curve in curves:
        claim = claims[curve.name]
        claimed, elsewhere, hours = (
            float(claim[column]) if claim[column] else None for column in ("test_accuracy", "elsewhere", "hours")
        )
        yield replace(curve, arch=claim["arch"], claimed=claimed, claimed_elsewhere=elsewhere, claimed_hours=hours)
