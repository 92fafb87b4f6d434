"""The legend of a figure in a file: below its axes, and never cut."""

import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

ROOM = 0.96
"""Share of the figure's width that a legend may take: the fonts of a PDF run a little wider than those on a screen."""


_NAMED = "name: "


def labelled(name: str) -> str:
    """Return the label of an artist that `add_legend` calls so: matplotlib leaves out labels that begin with "_"."""
    return f"{_NAMED}{name}"


def add_legend(figure: Figure, *, least: int = 2, size: float | None = None, ink: str = "black") -> Legend | None:
    """Add a legend below the axes, and make the figure higher by it.

    It has as many columns as fit. Names that are too long for one column are broken into lines.

    Args:
        figure: The figure, with a canvas of Agg.
        least: Number of names without which there is no legend.
        size: Size of the letters in points; None for that of matplotlib's settings.
        ink: Colour of the letters.
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label.removeprefix(_NAMED), handle)
    if len(handles) < least:
        return None
    make = partial(_legend, figure, list(handles.values()), size=size, ink=ink)
    shown = _fitting(make, list(handles), figure)
    height = shown.get_window_extent(_renderer(figure)).height / figure.dpi
    figure.set_figheight(figure.get_figheight() + height)
    return shown


def _fitting(make: Callable[..., Legend], names: list[str], figure: Figure) -> Legend:
    room = ROOM * figure.bbox.width
    for columns in (4, 3, 2, 1):
        shown = make(names, columns=columns)
        if shown.get_window_extent(_renderer(figure)).width <= room:
            return shown
        shown.remove()
    letters = max(map(len, names))
    while letters > 1:
        letters = int(0.95 * letters)
        shown = make([textwrap.fill(name, max(letters, 1)) for name in names], columns=1)
        if shown.get_window_extent(_renderer(figure)).width <= room:
            return shown
        shown.remove()
    return make(names, columns=1)  # narrower than a letter: no width of a figure


def _legend(
    figure: Figure, handles: list[Any], names: list[str], *, columns: int, size: float | None, ink: str
) -> Legend:
    labels = [labelled(name) for name in names]  # some versions leave out "_" here, too
    shown = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=size)
    for text, name in zip(shown.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_parse_math(False)  # a dollar sign in a name is no formula
        text.set_color(ink)
    return shown


def _renderer(figure: Figure) -> Any:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), "whoever made the figure has put it there"
    return canvas.get_renderer()
