"""The rows of the ranked table as the page shows them: cells, colours, and where each interval is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raytrain.analysis.ranking import Ranking, Standing
from raytrain.report import table
from raytrain.report.figures.legend import Entry

PAGE = 200
"""Rows that a page with scripts shows at first, as `PAGE` in page.js."""
ROWS = 1000
"""Most rows of the ranked table that the page shows: a row takes 0.7 kB, and a browser a millisecond."""


@dataclass(frozen=True)
class Row:
    """A row of the ranked table.

    Attributes:
        cells: Cells as text.
        status: Status of the trials, or "baseline".
        colour: CSS colour of the configuration in the charts; "" for a baseline.
        whisker: Low end, mean and high end of the interval, as shares of the cell's width; None without an interval.
        label: Label of the configuration in the charts; "" for a baseline.
    """

    cells: Sequence[str]
    status: str
    colour: str
    whisker: tuple[float, float, float] | None
    label: str = ""


def ranked_rows(ranking: Ranking, columns: Mapping[str, Sequence[str]], entries: Sequence[Entry]) -> list[Row]:
    """Return a row for each standing, then one for each baseline, with the cells that `columns` hold by heading."""
    cells = list(zip(*columns.values(), strict=True))
    whiskers = _whiskers(ranking.standings)
    ours = [
        Row(row, standing.status, entry.colour, whisker, entry.label)
        for row, standing, entry, whisker in zip(cells, ranking.standings, entries, whiskers, strict=False)
    ]
    return ours + [Row(row, "baseline", "", None) for row in cells[len(ours) :]]


def first_rows(rows: Sequence[Row], ranking: Ranking) -> list[Row]:
    """Return the first rows of the table, and of the others the chosen one and the baselines."""
    chosen = next((at for at, standing in enumerate(ranking.standings) if standing is ranking.chosen), None)
    return [row for at, row in enumerate(rows) if at < ROWS or at == chosen or row.status == "baseline"]


def spare_columns(columns: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the columns that a phone leaves out, so that accuracies stand beside what tells the rows apart."""
    archs = columns["architecture"]
    alike = {"architecture"} if len(set(archs)) == 1 and len(archs) > 1 else set[str]()
    names = list(columns)
    axes = {*names[names.index("architecture") + 1 : names.index("parameters")]} - {"seeds"}
    judged = {"val accuracy %"} if len(axes) > 1 else set[str]()
    return {*table.SPARE[:-1], "seeds"} | alike | judged


def _whiskers(standings: Sequence[Standing]) -> list[tuple[float, float, float] | None]:
    """Return where each interval and its mean are drawn, on a scale that holds them all."""
    known = [one.score_interval for one in standings if one.score_interval]
    low = min((interval.low for interval in known), default=0.0)
    width = max((interval.high for interval in known), default=1.0) - low or 1.0

    def share(value: float) -> float:
        return round(min(1.0, max(0.0, (value - low) / width)), 4)

    return [
        (share(known.low), share(one.score or 0.0), share(known.high)) if (known := one.score_interval) else None
        for one in standings
    ]
