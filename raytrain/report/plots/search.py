"""Figures of the fields of a search: what each does to the test accuracy, and all of them as parallel coordinates."""

import math

from matplotlib.figure import Figure

from raytrain.analysis.record import RunRecord
from raytrain.report.figures import heat_map as grid
from raytrain.report.figures.below import labelled
from raytrain.report.figures.legend import legend
from raytrain.report.figures.parallel import parallel
from raytrain.report.figures.pictures import LINES
from raytrain.report.plots.matrices import COLOUR
from raytrain.report.text.visible import in_one_line

MOST_PANELS = 3
"""Most panels beside each other."""


def effects(figure: Figure, record: RunRecord) -> bool:
    """Draw what each field of the search does to the test accuracy; return whether two vary.

    A panel for each field: the mean over the finished configurations with a value, whatever the other fields are, and
    its 95 % interval over them (Student's t), where there are two or more that differ.
    """
    found = [one for one in grid.effects(record.results) if any(level.accuracy is not None for level in one.levels)]
    if not found:
        return False
    width = figure.get_figwidth()
    across = min(len(found), MOST_PANELS)
    down = -(-len(found) // across)
    figure.set_figheight(0.45 * width * down)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, effect in zip(panels, found, strict=False):
        known = [(at, level) for at, level in enumerate(effect.levels) if level.accuracy is not None]
        axes.plot([at for at, _ in known], [100 * (level.accuracy or 0.0) for _, level in known], "o", color=COLOUR)
        for at, level in known:
            if level.interval:
                axes.vlines(at, 100 * level.interval.low, 100 * level.interval.high, color=COLOUR)
        names = [in_one_line(level.value) for level in effect.levels]
        upright = max(map(len, names)) * len(names) > 60 / across
        axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xlabel(effect.field)
        axes.grid(visible=True, axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for text in axes.get_xticklabels():
            text.set_parse_math(False)  # a dollar sign in a name is no formula
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    for axes in panels[::across]:
        axes.set_ylabel("test accuracy (%)")
    return True


def parallel_coordinates(figure: Figure, record: RunRecord) -> bool:
    """Draw a line for each finished configuration, through its values to its test accuracy; return whether there are.

    Inselberg 1985, "The plane with parallel coordinates". A line is broken where a field has no effect.
    """
    standings = record.ranking.standings
    entries = legend(record.ranking)
    found = parallel(standings, entries)
    if found is None:
        return False
    axes = figure.subplots()
    dashes = {entry.label: LINES[entry.dash] for entry in entries}
    for below, line in enumerate(reversed(found.lines)):  # the best is named first, and lies above the others
        axes.plot(
            range(len(line.positions)),
            [math.nan if position is None else position for position in line.positions],
            color=line.colour,
            linestyle=dashes[line.label] if line.coloured else "-",
            linewidth=1.2 if line.coloured else 0.6,
            label=labelled(in_one_line(line.label)) if line.coloured else "_nolegend_",
            zorder=3 - below / len(found.lines),
        )
    for at, axis in enumerate(found.axes):
        axes.axvline(at, color="black", linewidth=0.8, zorder=1)
        for position, value in axis.ticks:
            beside, side = (-4, "right") if at == 0 else (4, "left")
            axes.annotate(
                in_one_line(value), (at, position), (beside, 0), textcoords="offset points", ha=side, va="center",
                fontsize=7, parse_math=False, zorder=4,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    axes.set_xticks(range(len(found.axes)), [in_one_line(axis.name) for axis in found.axes])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return True
