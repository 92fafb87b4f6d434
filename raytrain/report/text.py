"""Columns and times as text: for a terminal, plain and in Markdown."""

import io
import logging
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from unicodedata import category

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 1000
"""Width in characters when the output is no terminal."""

_KEPT = "\n\t\u200c\u200d"  # the last two join letters and emoji
_COLOURS = re.compile(r"(\x1b\[[\d;]*m|[\r\b])")
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that show nothing: controls, formats, halves of pairs, separators."""

DASH = "–"
"""What stands for a value that is not known."""

Columns = Mapping[str, Sequence[str]]
"""Cells of a table by heading; all columns have the same number of cells."""


def visible(text: str) -> str:
    r"""Return a text in which characters that show nothing stand as escapes, such as \x1b and \u202e.

    A name in a run folder may be somebody else's. In a terminal, controls can set its title or its clipboard, and hide
    or rewrite lines; marks of direction make a text read as another one. Line breaks and tabs stay.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_escaped(char) if category(char) in _UNSEEN and char not in _KEPT else char for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def coloured(text: str) -> str:
    r"""Return a text as `visible` does, but with its colours, and with \r and \b, which a log may draw with."""
    parts = _COLOURS.split(text)  # every second one is a match
    return "".join(part if index % 2 else visible(part) for index, part in enumerate(parts))


class VisibleFormatter(logging.Formatter):
    """Formats a line of a log as `visible` does: it may cite a name of somebody else's."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return visible(super().format(record))


def in_one_line(text: str) -> str:
    """Return a text as `visible` does, with its line breaks and tabs as escapes too: a cell, or a name."""
    return visible(text).replace("\n", r"\n").replace("\t", r"\t")


def quoted(word: object) -> str:
    """Return a word of a command as it can be pasted into a shell."""
    return shlex.quote(in_one_line(str(word)))


def as_table(columns: Columns, *, left: Collection[str]) -> Table:
    """Return columns as Rich shows them: those of `left` are text, the others numbers, which stand to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        # Text, because a path may hold brackets, which are markup in a str
        table.add_row(*(Text(in_one_line(cell)) for cell in row))
    return table


def as_text(columns: Columns, *, left: Collection[str]) -> str:
    """Return columns as lines of text, as wide as they need."""
    out = io.StringIO()
    Console(file=out, width=WIDE).print(as_table(columns, left=left))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def as_markdown(columns: Columns, *, left: Collection[str]) -> str:
    """Return columns as a Markdown table."""
    rules = [":--" if name in left else "--:" for name in columns]
    lines = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    cells = [[in_one_line(text).replace("|", r"\|") for text in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def fitting(
    columns: dict[str, list[str]], *, width: int, dispensable: Iterable[str], gap: int = 2
) -> dict[str, list[str]]:
    """Return the columns without as many of the dispensable ones as it takes to fit.

    A table that wraps its cells cannot be read; one with fewer columns can.

    Args:
        columns: Cells by heading.
        width: Width of a line in characters.
        dispensable: Headings of the columns to leave out, in that order.
        gap: Number of characters between columns.
    """
    kept = dict(columns)
    for heading in dispensable:
        if sum(max(map(cell_len, (name, *cells))) + gap for name, cells in kept.items()) <= width:
            break
        kept.pop(heading, None)
    return kept


def per_cent(accuracy: float | None) -> str:
    """Return a fraction as per cent with two decimals; a dash for None."""
    return DASH if accuracy is None else f"{100 * accuracy:.2f}"


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds, such as 1:02:05."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def duration(seconds: float) -> str:
    """Return a time as its two largest units, such as "3 min 5 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, rest_hours = divmod(hours, 24)
    if days:
        return f"{days} d {rest_hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
