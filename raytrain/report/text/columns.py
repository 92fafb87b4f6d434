"""Columns as text: for a terminal, plain, in Markdown and in LaTeX."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from raytrain.report.text.visible import in_one_line

GAP = 3
"""Number of characters between two columns of a table."""

_LATEX = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "[": "{[}", "*": "{*}"}
    | {"–": "--", "×": r"$\times$", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
)  # at the start of a row, LaTeX would take [ and * for arguments of the line break before it

Columns = Mapping[str, Sequence[str]]
"""Cells of a table by heading; all columns have the same number of cells."""


def terminal_width() -> int | None:
    """Return the width of the terminal that standard output is, in characters; None where it is none."""
    console = Console()
    return console.width if console.is_terminal else None


@dataclass(frozen=True)
class Lines:
    """A table in lines, which a console prints with a bold heading.

    Rich's own Table takes 3 ms a row: half a minute for 10,000 trials.
    """

    heading: Sequence[str]
    rows: Sequence[str]
    """The rule below the heading, and the rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield what a console prints."""
        yield Segment("\n")
        for line in self.heading:
            yield Segment(line, console.get_style("table.header"))
            yield Segment("\n")
        yield Segment("\n".join([*self.rows, "\n"]))


def as_lines(columns: Columns, *, left: Collection[str], widths: Mapping[str, int] | None = None) -> Lines:
    """Return columns in lines: those of `left` are text, the others numbers, which stand to the right.

    Args:
        columns: Cells by heading.
        left: Headings of the columns of text.
        widths: Widths in characters to which the columns of text are wrapped; None for as wide as they need.
    """
    shown = {name: list(map(in_one_line, cells)) for name, cells in columns.items()}
    heading = list(columns)
    wide = widths or {name: _longest([name, *cells]) for name, cells in shown.items()}
    if widths:
        heading = [wrapped(name, widths[name]) for name in heading]
        shown = {name: [wrapped(cell, widths[name]) for cell in cells] for name, cells in shown.items()}
    rule = f" {'─' * (sum(wide.values()) + GAP * (len(wide) - 1))}"
    return Lines(_row(heading, wide, left, bottom=True), [rule, *_rows(shown, wide, left)])


def _rows(columns: Columns, widths: Mapping[str, int], left: Collection[str]) -> list[str]:
    """Return the lines below the heading, those of a row together."""
    if any("\n" in text for cells in columns.values() for text in cells):
        return [line for row in zip(*columns.values(), strict=True) for line in _row(row, widths, left)]
    padded: list[list[str]] = []
    for name, cells in columns.items():  # a column at a time, and a text that it repeats once
        made = {text: _padded(text, widths[name], left=name in left) for text in {*cells}}
        padded.append([made[text] for text in cells])
    return [" " + (" " * GAP).join(row) for row in zip(*padded, strict=True)]


def _padded(text: str, width: int, *, left: bool) -> str:
    gap = " " * (width - _cells(text))
    return text + gap if left else gap + text


def _row(cells: Sequence[str], widths: Mapping[str, int], left: Collection[str], *, bottom: bool = False) -> list[str]:
    split = [cell.split("\n") for cell in cells]
    most = max(map(len, split))
    aligned: list[list[str]] = []
    for lines, (name, width) in zip(split, widths.items(), strict=True):
        empty = [""] * (most - len(lines))
        even = empty + lines if bottom else lines + empty
        aligned.append([_padded(text, width, left=name in left) for text in even])
    return [" " + (" " * GAP).join(line) for line in zip(*aligned, strict=True)]


def fitted(columns: Columns, *, left: Collection[str], width: int, dispensable: Iterable[str] = ()) -> Lines:
    """Return columns as `as_lines` does, in at most `width` characters where that is possible.

    Headings are broken first, then the dispensable columns are left out one after the other, then texts are wrapped
    between words, and names at their joints if they are still too wide. No number is cut: a table that does not fit
    even so is wider than `width`.

    Args:
        columns: Cells by heading.
        left: Headings of the columns of text.
        width: Width of the terminal in characters.
        dispensable: Headings of the columns to leave out, in that order.
    """
    kept = {name: [*map(in_one_line, cells)] for name, cells in columns.items()}
    if _width(kept) <= width:
        return as_lines(kept, left=left)
    broken = {name: _broken(name) for name in kept}
    for heading in dispensable:
        if _width({broken[name]: cells for name, cells in kept.items()}) <= width:
            break
        kept.pop(heading, None)
    shown = {broken[name]: cells for name, cells in kept.items()}
    texts = {broken[name] for name in left if name in kept}
    return as_lines(shown, left=texts, widths=narrowed(shown, texts=texts, width=width, gap=GAP, edges=2))


def narrowed(columns: Columns, *, texts: Collection[str], width: int, gap: int, edges: int = 0) -> dict[str, int]:
    """Return the widths of columns with which a table is at most `width` wide, where that is possible.

    The widest column of text gives way first, down to its longest word; only if that does not help, to the longest
    part of a name.

    Args:
        columns: Cells by heading, in one line each.
        texts: Headings of the columns that may be wrapped.
        width: Width in characters.
        gap: Number of characters between two columns.
        edges: Number of characters before the first column and after the last.
    """
    widths = {name: _longest([name, *cells]) for name, cells in columns.items()}
    least_of: tuple[Callable[[str], Iterable[str]], ...] = (str.split, _parts)
    for words in least_of:
        least = {name: _longest(part for text in (name, *columns[name]) for part in words(text)) for name in texts}
        while sum(widths.values()) + gap * (len(widths) - 1) + edges > width:
            slack = [name for name in texts if widths[name] > least[name]]
            if not slack:
                break
            widths[max(slack, key=lambda name: widths[name])] -= 1
    return widths


_JOINT = re.compile(r"(?<=[_./:+-])(?=[^_./:+-])|(?<=[a-z])(?=[A-Z])")
"""Where a name may be broken: my_|net.|py:|My|Net."""


def _parts(text: str) -> list[str]:
    return [part for word in text.split() for part in _JOINT.split(word)]


def wrapped(text: str, width: int) -> str:
    """Return a text in lines of at most `width` characters: between words, else at the joints of a name."""
    if all(cell_len(line) <= width for line in text.split("\n")):
        return text
    lines = [""]
    for word in text.split():
        spaced = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(spaced) <= width:
            lines[-1] = spaced
            continue
        lines += [""] if lines[-1] else []
        for part in _JOINT.split(word):
            if lines[-1] and cell_len(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(lines)


def _width(columns: Columns) -> int:
    """Return the width of a table by those of its columns; the box of a table has a space on either side."""
    return sum(_longest([name, *cells]) + GAP for name, cells in columns.items()) - GAP + 2


def _longest(texts: Iterable[str]) -> int:
    return max((_cells(line) for text in {*texts} for line in text.split("\n")), default=0)


def _cells(line: str) -> int:
    """Return the width of a line in a terminal."""
    return len(line) if line.isascii() and line.isprintable() else cell_len(line)


def _broken(heading: str) -> str:
    """Return a heading in several lines: "test_accuracy %" as "test_" and "accuracy %"."""
    return re.sub(r" (?!%)", "\n", re.sub(r"_(?=\w)", "_\n", heading))


def as_text(
    columns: Columns, *, left: Collection[str], width: int | None = None, dispensable: Iterable[str] = ()
) -> str:
    """Return columns as lines of text.

    Args:
        columns: Cells by heading.
        left: Headings of the columns of text.
        width: Width of the terminal in characters, to which they are fitted; None for as wide as they need.
        dispensable: Headings of the columns to leave out where there is no room, in that order.
    """
    if width is None:
        table = as_lines(columns, left=left)
    else:
        table = fitted(columns, left=left, width=width, dispensable=dispensable)
    lines = ["", *table.heading, *table.rows, ""]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def as_markdown(columns: Columns, *, left: Collection[str]) -> str:
    """Return columns as a Markdown table."""
    rules = [":--" if name in left else "--:" for name in columns]
    lines = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    cells = [[in_one_line(text).replace("|", r"\|") for text in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def as_latex(columns: Columns, *, left: Collection[str]) -> str:
    """Return columns as a LaTeX tabular with the rules of the package booktabs."""
    places = "".join("l" if name in left else "r" for name in columns)
    heading, *rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    lines = [" & ".join(in_one_line(text).translate(_LATEX) for text in line) + r" \\" for line in (heading, *rows)]
    start, end = rf"\begin{{tabular}}{{{places}}}", r"\end{tabular}"
    return "\n".join([start, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end]) + "\n"
