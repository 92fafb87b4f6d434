"""Tests of raytrain.report.text.visible: what cannot be seen is shown, and a command that is printed can be pasted."""

import io
import shlex

import pytest
from rich.console import Console

from raytrain.report.text.columns import as_lines, as_markdown, as_text, fitted
from raytrain.report.text.visible import coloured, in_one_line, quoted, visible

TITLE = "\x1b]0;owned\x07"
"""A sequence that sets the title of a terminal."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TITLE, r"\x1b]0;owned\x07"),
        ("\x9d0;owned", r"\x9d0;owned"),
        ("cat\u202egnp.exe", r"cat\u202egnp.exe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("a\rb\bc\x00", r"a\rb\x08c\x00"),
        ("\udc80", r"\udc80"),
    ],
)
def test_what_cannot_be_seen_stands_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "two\nlines\tand a tab", "Łódź × 2 – 日本", "👩\u200d🔬", "שלום"])
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text


def test_a_cell_stays_on_its_line() -> None:
    assert in_one_line("a\nb\tc") == r"a\nb\tc"
    columns = {"name": ["a\nb", TITLE], "n": ["1", "2"]}
    assert [line.split() for line in as_text(columns, left={"name"}).splitlines() if "\\" in line] == [
        [r"a\nb", "1"],
        [r"\x1b]0;owned\x07", "2"],
    ]
    assert as_markdown(columns, left={"name"}).count("\n") == 4


def test_columns_are_aligned_by_the_width_that_a_terminal_gives_characters() -> None:
    columns = {"name": ["日本", "resnet18"], "n": ["1", "12.5"]}
    expected = ["", " name          n", " ───────────────", " 日本          1", " resnet18   12.5", ""]
    assert as_text(columns, left={"name"}).splitlines() == expected


def test_no_cell_of_a_table_is_cut_however_wide_it_is() -> None:
    columns = {f"field {place}": ["word" * 25] for place in range(12)}
    assert as_text(columns, left=columns).split().count("word" * 25) == 12


def test_a_heading_is_broken_and_never_cut() -> None:
    columns = {"val_accuracy %": ["cosine", "step"], "n": ["1", "2"]}
    screen = io.StringIO()
    Console(file=screen, width=12).print(fitted(columns, left={"val_accuracy %"}, width=12), crop=False)
    assert [line.split() for line in screen.getvalue().splitlines() if line.strip()] == [
        ["val_"],
        ["accuracy"],
        ["%", "n"],
        ["────────────"],
        ["cosine", "1"],
        ["step", "2"],
    ]


def test_a_log_keeps_its_colours_and_nothing_else() -> None:
    assert coloured(f"\x1b[1;31mred\x1b[0m\r{TITLE}\x1b[2J") == "\x1b[1;31mred\x1b[0m\r" + r"\x1b]0;owned\x07\x1b[2J"


@pytest.mark.parametrize("word", ["a;touch b", "a b", "$(touch b)", "it's", "plain"])
def test_a_word_of_a_printed_command_is_one_word(word: str) -> None:
    assert shlex.split(f"raytrain results {quoted(word)}") == ["raytrain", "results", word]


def test_rows_of_several_lines_stand_beside_rows_of_one() -> None:
    columns = {"name": ["short", "two words"], "n": ["1", "2"]}
    lines = as_lines(columns, left={"name"}, widths={"name": 5, "n": 3})
    assert lines.heading == [" name      n"]
    assert lines.rows == [" ───────────", " short     1", " two       2", " words      "]
