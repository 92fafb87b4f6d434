"""Columns that fit the width of a terminal."""

from collections.abc import Iterable

from rich.cells import cell_len


def fitting(
    columns: dict[str, list[str]], *, width: int, dispensable: Iterable[str], gap: int = 2
) -> dict[str, list[str]]:
    """Return the columns without as many of the dispensable ones as it takes to fit.

    A table that wraps its cells cannot be read; one with fewer columns can.

    Args:
        columns: Cells by heading.
        width: Characters per line.
        dispensable: Headings, in the order in which they go.
        gap: Characters between columns.
    """
    kept = dict(columns)
    for heading in dispensable:
        if sum(max(map(cell_len, (name, *cells))) + gap for name, cells in kept.items()) <= width:
            break
        kept.pop(heading, None)
    return kept
