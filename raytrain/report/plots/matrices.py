"""Figures of the chosen trial's predictions and of a grid: confusion matrix, reliability diagram, heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from raytrain.analysis.record import RunRecord
from raytrain.metrics.class_metrics import BINS, calibration_bins
from raytrain.metrics.predictions import Predictions, confusion, metrics_of
from raytrain.provenance.manifest import inputs_of
from raytrain.report.figures import heat_map as grid
from raytrain.report.figures.mistakes import MOST_CLASSES
from raytrain.report.text.quantities import per_cent
from raytrain.report.text.visible import in_one_line

COLOUR = "#3b82c4"
MOST_NAMES = 50
"""Most classes whose names stand at the axes; of more, every image of the matrix is a cell without a name."""


def confusion_matrix(figure: Figure, record: RunRecord) -> bool:
    """Draw how the chosen trial takes true classes (rows) for others (columns); return whether predictions are there.

    Colours are shares of a row. Up to `MOST_CLASSES` classes have their numbers of images in the cells.
    """
    own = _chosen(record)
    if own is None or record.chosen_trial is None:
        return False
    classes = inputs_of(record.manifest, record.chosen_trial.recipe).classes
    counts = confusion(own, classes=len(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.set_figheight(figure.get_figwidth() * 0.92)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(classes) <= MOST_NAMES:
        _name(axes, columns=classes, rows=classes)
    if len(classes) <= MOST_CLASSES:
        size = min(7.0, 16 * figure.get_figwidth() / len(classes))  # points: a third of a cell
        _write(axes, [[str(count) if count else "" for count in row] for row in counts.tolist()], shares, size=size)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    return True


def reliability(figure: Figure, record: RunRecord) -> bool:
    """Draw accuracy by confidence for the chosen trial; return whether its predictions are there.

    Guo et al. 2017, arXiv:1706.04599: the test images in 15 bins by the probability of their predicted class. The
    number of images in each stands below.
    """
    own = _chosen(record)
    if own is None:
        return False
    confidence = own.probabilities.astype(np.float64)
    bins = calibration_bins(own.probabilities)
    counts = np.bincount(bins, minlength=BINS)
    there = counts > 0
    accuracies = np.bincount(bins, weights=own.correct, minlength=BINS)[there] / counts[there]
    means = np.bincount(bins, weights=confidence, minlength=BINS)[there] / counts[there]
    figure.set_figheight(figure.get_figwidth())
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    middles = (np.arange(BINS) + 0.5) / BINS
    axes.bar(middles[there], accuracies, width=1 / BINS, color=COLOUR, alpha=0.35, edgecolor=COLOUR, label="accuracy")
    axes.plot(means, accuracies, marker="o", markersize=3, color=COLOUR, linewidth=1, label="at the mean confidence")
    axes.plot([0, 1], [0, 1], linestyle="--", color="black", linewidth=0.8, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    axes.set_title(f"ECE {100 * metrics_of(own).ece:.2f} % on {len(own.labels):,} test images", fontsize=8)
    below.bar(middles, counts, width=1 / BINS, color=COLOUR, alpha=0.35, edgecolor=COLOUR)
    below.set(xlabel="probability of the predicted class", ylabel="images")
    for one in (axes, below):
        one.spines[["top", "right"]].set_visible(False)
    return True


def heat_map(figure: Figure, record: RunRecord) -> bool:
    """Draw the mean test accuracy by two fields of the search; return whether two vary and a trial has finished."""
    found = grid.heat_map(record.results)
    if found is None:
        return False
    accuracies = [[cell.accuracy for cell in row] for row in found.cells]
    values = 100 * np.array(accuracies, dtype=np.float64)  # NaN for None
    if not np.isfinite(values).any():
        return False
    width = figure.get_figwidth()
    figure.set_figheight(min(max(0.22 * len(found.rows) + 1.2, 0.3 * width), 1.2 * width))
    axes = figure.subplots()
    shown = axes.imshow(values, cmap="Blues", aspect="auto")
    axes.set_xlabel(found.column_field)
    axes.set_ylabel(found.row_field)
    _name(axes, columns=found.columns, rows=found.rows)
    low, high = np.nanmin(values), np.nanmax(values)
    texts = [[cell.text if cell.accuracy is None else per_cent(cell.accuracy) for cell in row] for row in found.cells]
    if len(found.columns) <= MOST_CLASSES:
        size = min(7.0, 12 * width / len(found.columns))  # points: five digits are as wide as three letters are high
        _write(axes, texts, np.nan_to_num((values - low) / (high - low or 1.0)), size=size)
    figure.colorbar(shown, ax=axes, label="test accuracy (%)")
    return True


def _chosen(record: RunRecord) -> Predictions | None:
    trial = record.chosen_trial
    return record.predictions.get(trial.trial) if trial else None


def _name(axes: Axes, *, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Name the columns and the rows of a matrix; names that are long or many stand upright."""
    upright = max(map(len, columns)) * len(columns) > 60
    axes.set_xticks(range(len(columns)), [in_one_line(name) for name in columns], rotation=90 if upright else 0)
    axes.set_yticks(range(len(rows)), [in_one_line(name) for name in rows])
    axes.tick_params(length=0, labelsize=7 if max(len(columns), len(rows)) <= MOST_CLASSES else 5)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)  # a dollar sign in a name is no formula


def _write(axes: Axes, texts: Sequence[Sequence[str]], shares: NDArray[np.float64], *, size: float) -> None:
    """Write a text into each cell, white on dark ones."""
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour, parse_math=False)
