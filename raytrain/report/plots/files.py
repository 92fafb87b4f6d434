"""A figure as a PDF, SVG or PNG file, with a legend that is never cut."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raytrain.analysis.record import RunRecord
from raytrain.errors import ExperimentError
from raytrain.report.figures.below import add_legend
from raytrain.report.figures.heat_map import MOST_VALUES
from raytrain.report.figures.legend import legend
from raytrain.report.figures.pictures import quiet
from raytrain.report.plots import Kind
from raytrain.report.plots.lines import costs, learning_curves
from raytrain.report.plots.matrices import confusion_matrix, heat_map, reliability
from raytrain.report.plots.search import effects, parallel_coordinates

WIDTH = 6.75
"""Width of a figure in inches: that of a page of two columns, as conferences have it."""
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},  # without a date, the same run makes the same file
    "svg": {"metadata": {"Date": None}},
    "png": {"metadata": {"Software": None}, "dpi": 300},
}
"""Arguments of matplotlib's `savefig` by the format, which is the suffix of a file."""
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for; matplotlib's own default is Type 3
    "svg.fonttype": "path",  # letters look the same where the font is missing
}

Draw = Callable[[Figure, RunRecord], bool]


def _of_configurations(draw: Callable[..., bool], what: str) -> Draw:
    return lambda figure, record: draw(figure, record, legend(record.ranking), what)


_TRACKED = "no trial has it for each epoch; `track_test: true` in the recipe records it"
KINDS: Mapping[Kind, tuple[Draw, str]] = {
    Kind.val_accuracy: (_of_configurations(learning_curves, "val_accuracy"), "no trial has a validation split"),
    Kind.test_accuracy: (_of_configurations(learning_curves, "test_accuracy"), _TRACKED),
    Kind.train_accuracy: (_of_configurations(learning_curves, "train_accuracy"), "no trial has an epoch on record"),
    Kind.val_loss: (_of_configurations(learning_curves, "val_loss"), "no trial has a validation split"),
    Kind.test_loss: (_of_configurations(learning_curves, "test_loss"), _TRACKED),
    Kind.train_loss: (_of_configurations(learning_curves, "train_loss"), "no trial has an epoch on record"),
    Kind.lr: (_of_configurations(learning_curves, "lr"), "no trial has an epoch on record"),
    Kind.seconds: (_of_configurations(costs, "seconds"), "it takes two configurations that have finished"),
    Kind.parameters: (_of_configurations(costs, "parameters"), "no two that have finished differ in their parameters"),
    Kind.heat_map: (
        heat_map,
        f"it takes a search in which two fields vary, each axis with at most {MOST_VALUES} values, and a trial that "
        "finished",
    ),
    Kind.effects: (effects, "it takes a search in which two fields vary, one of them with few values"),
    Kind.parallel: (parallel_coordinates, "it takes a search in which two fields vary, and two trials that finished"),
    Kind.confusion: (confusion_matrix, "the chosen trial has no predictions, or no trial has finished"),
    Kind.reliability: (reliability, "the chosen trial has no predictions, or no trial has finished"),
}
"""How each kind is drawn, and why it may be missing."""


def plot(record: RunRecord, kind: Kind, *, width: float = WIDTH, format_: str = "pdf") -> bytes:
    """Return a figure as the content of a file.

    Args:
        record: The run.
        kind: What to show.
        width: Width in inches; the height follows from what is shown, legend included.
        format_: One of `FORMATS`.

    Raises:
        ExperimentError: The run has nothing of that kind.
    """
    with quiet(), mpl.rc_context(_STYLE):
        figure = figure_of(record, kind, width=width)
        stream = io.BytesIO()
        figure.savefig(stream, format=format_, **FORMATS[format_])
    return stream.getvalue()


def figure_of(record: RunRecord, kind: Kind, *, width: float = WIDTH) -> Figure:
    """Return a figure; arguments and errors are those of `plot`."""
    # not pyplot, which would look for a display and keep every figure
    figure = Figure(figsize=(width, 0.55 * width), layout="constrained")
    FigureCanvasAgg(figure)
    draw, why_not = KINDS[kind]
    if not draw(figure, record):
        raise ExperimentError(f"{record.name} has nothing to show as --kind {kind}: {why_not}")
    add_legend(figure)
    return figure
