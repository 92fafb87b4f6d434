"""Characters that show nothing, such as the controls of a terminal, made visible."""

import logging
import re
import shlex
from unicodedata import category

_KEPT = "\n\t\u200c\u200d"  # the last two join letters and emoji
_COLOURS = re.compile(r"(\x1b\[[\d;]*m|[\r\b])")
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that show nothing: controls, formats, halves of pairs, separators."""


def visible(text: str) -> str:
    r"""Return a text in which characters that show nothing stand as escapes, such as \x1b and \u202e.

    A name in a run folder may be somebody else's. In a terminal, controls can set its title or its clipboard, and hide
    or rewrite lines; marks of direction make a text read as another one. Line breaks and tabs stay.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():  # nothing of `_UNSEEN` is
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
    if text.isprintable():
        return text
    return visible(text).replace("\n", r"\n").replace("\t", r"\t")


def quoted(word: object) -> str:
    """Return a word of a command as it can be pasted into a shell."""
    return shlex.quote(in_one_line(str(word)))
