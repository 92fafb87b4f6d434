"""Learning curves from elsewhere that a run is compared with: the student's eight, and what is imported from logs.

A baseline is a CSV file with the columns of `COLUMNS`, a row for each epoch of each curve.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import platformdirs

from raytrain.data.cache import chosen_folder
from raytrain.errors import DataError, ExperimentError, did_you_mean
from raytrain.experiment.shipped import shipped_file
from raytrain.storage.bounded import read_bounded
from raytrain.storage.typed_path import is_a_file

STUDENT = "student"
"""Name of the built-in baseline: the logs of the study from which raytrain started."""
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
COLUMNS = ("experiment", "epoch", "elapsed_s", *MEASURES)
MAX_CSV = 64 * 2**20
"""Largest size of a file with curves, in bytes: a million epochs."""
LAST_EPOCHS = 20
"""Number of final epochs over which the accuracy of a curve is averaged."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ARCH = re.compile(r"resnet\d+")


@dataclass(frozen=True)
class BaselineCurve:
    """What one training run logged.

    Attributes:
        name: Name of the training run.
        arch: Architecture; None if unknown.
        epochs: Epoch numbers, counted from 1, ascending.
        seconds: Seconds from the first logged line to that of each epoch; the first epoch's own time is not included.
        train_loss: Training loss after each epoch, in nats; None where none was logged.
        test_loss: Test loss after each epoch, in nats; None where none was logged.
        train_accuracy: Training accuracy after each epoch, a fraction in [0, 1]; None where none was logged.
        test_accuracy: Test accuracy after each epoch, a fraction in [0, 1]; None where none was logged.
        claimed: Test accuracy that the author reports, a fraction in [0, 1]; None if none is reported.
        claimed_elsewhere: Second test accuracy that the author reports for the run, a fraction; None if there is none.
        claimed_hours: Training time that the author reports, in hours; None if none is reported.
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
        """The epochs that have a test accuracy, each with its accuracy."""
        pairs = zip(self.epochs, self.test_accuracy, strict=True)
        return [(epoch, accuracy) for epoch, accuracy in pairs if accuracy is not None]

    @property
    def last(self) -> float | None:
        """Test accuracy of the last epoch that has one."""
        return self.tested[-1][1] if self.tested else None

    @property
    def best(self) -> tuple[int, float] | None:
        """The first epoch with the highest test accuracy, and that accuracy, which is biased: the test set chose it."""
        return max(self.tested, key=lambda pair: (pair[1], -pair[0]), default=None)

    @property
    def hours(self) -> float | None:
        """Training time in hours; the first epoch, which the log does not time, counts as the mean of the others."""
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
    """Learning curves under one name.

    Attributes:
        name: Name of the baseline.
        curves: One learning curve for each log.
        dataset: Data set of all curves; None if unknown.
    """

    name: str
    curves: tuple[BaselineCurve, ...]
    dataset: str | None = None


@dataclass(frozen=True)
class BaselineRow:
    """A curve at one epoch, as a row below the table of a run.

    Attributes:
        name: Names of the baseline and the curve, such as "student/resnet18".
        arch: Architecture, by its name in recipes; None if unknown.
        epoch: Epoch whose accuracies are shown.
        epochs: Last epoch of the curve; its log may have a line for some epochs only.
        train_accuracy: Training accuracy of that epoch as it was logged, a fraction; None if none was logged.
        test_accuracy: Test accuracy of that epoch, a fraction; None if none was logged.
    """

    name: str
    arch: str | None
    epoch: int
    epochs: int
    train_accuracy: float | None
    test_accuracy: float | None


def baselines_home() -> Path:
    """Return the folder of imported baselines: in RAYTRAIN_DATA, or the user's data folder of raytrain."""
    return chosen_folder(otherwise=lambda: platformdirs.user_data_path("raytrain")) / "baselines"


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
    if NAME.fullmatch(baseline) and is_a_file(imported):
        return Baseline(baseline, tuple(read_curves(imported)))
    if is_a_file(path := Path(baseline)):
        return Baseline(path.stem, tuple(read_curves(path)))
    known = list_baselines()
    instead = did_you_mean(baseline, known) or f"choose one of {', '.join(known)}."
    raise ExperimentError(
        f"unknown baseline {baseline!r}, and no file of that name; {instead}\n"
        "Import TensorBoard logs with: raytrain baseline import FOLDER --name NAME"
    )


def read_curves(path: Path) -> list[BaselineCurve]:
    """Return the curves of a CSV file with the columns of `COLUMNS`.

    Raises:
        DataError: A column is missing, a value is no number, or an epoch comes twice.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_bounded(path, most=MAX_CSV).decode("utf-8-sig")))
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}: has no column {', '.join(missing)}; a baseline has the columns {', '.join(COLUMNS)}")
    if not rows:
        raise DataError(f"{path}: has no rows")
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
            raise DataError(f"{where}: {column} is {text!r}, which is not a number") from None

    epoch = number("epoch")
    if not row["experiment"] or epoch is None or epoch < 1 or not epoch.is_integer():
        raise DataError(f"{where}: a row needs an experiment and an epoch, which is a whole number from 1")
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
    """Yield the curves with what their author reports."""
    claims = {row["experiment"]: row for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))}
    for curve in curves:
        claim = claims[curve.name]
        claimed, elsewhere, hours = (
            float(claim[column]) if claim[column] else None for column in ("test_accuracy", "elsewhere", "hours")
        )
        yield replace(curve, arch=claim["arch"], claimed=claimed, claimed_elsewhere=elsewhere, claimed_hours=hours)
