"""YAML 1.2 files as plain Python values that remember where in the file they stand."""

import errno
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from raytrain.errors import ExperimentError, first_line
from raytrain.storage.bounded import read_bounded

Keys = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value, such as ("grid", "lr", 2)."""

MAX_BYTES = 1_000_000
"""Largest size of a file, in bytes."""
MAX_LINE = 10_000
"""Largest number of characters in a line. The time that ruamel.yaml takes grows with the square of it."""
MAX_ITEMS = 20_000
"""Largest number of commas and line breaks. Each may end a value, and ruamel.yaml takes 0.3 to 1 ms for one."""
MAX_DIGITS = 300
"""Largest number of digits of a whole number: such a one is also a float, and can be printed."""
MAX_DEPTH = 20
"""Largest number of nested mappings and lists."""
MAX_VALUES = 100_000
"""Largest number of keys and items after aliases are followed: a few nested aliases can stand for billions."""


@dataclass(frozen=True)
class YamlSource:
    """The content of one file.

    Attributes:
        name: Name of the file in messages.
        values: Content of the file: dicts, lists and scalars as the YAML core schema reads them, so `5e-3` is a number.
        positions: Line and column of every key and list item, both from 1.
    """

    name: str
    values: dict[str, Any]
    positions: dict[Keys, tuple[int, int]]

    def where(self, path: Keys) -> str:
        """Return `file:line:column` of the value at `path`, or of the nearest one above it."""
        for length in range(len(path), 0, -1):
            if position := self.positions.get(path[:length]):
                return f"{self.name}:{position[0]}:{position[1]}"
        return f"{self.name}:1:1"


def read_yaml(path: Path, *, what: str = "an experiment") -> YamlSource:
    """Return the mapping that the file at `path` holds.

    Args:
        path: The file.
        what: What messages say that the file should be.

    Raises:
        ExperimentError: The file is missing, unreadable, not YAML, or its top is not a mapping.
    """
    name = str(path)
    try:
        text = read_bounded(path, most=MAX_BYTES, regular=False).decode()  # a pipe may hold an experiment
    except FileNotFoundError:
        raise ExperimentError(f"{name}: no such file; give the path of {what} in YAML") from None
    except IsADirectoryError:
        raise ExperimentError(f"{name}: is a folder; give the path of {what} in YAML") from None
    except UnicodeDecodeError:
        raise ExperimentError(f"{name}: is not UTF-8 text; give the path of {what} in YAML") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ExperimentError(f"{name}: {error.strerror}; give the path of {what} in YAML") from None
        raise ExperimentError(f"{name}: cannot be read: {error.strerror}") from error
    document = _parse(text, name)
    if not isinstance(document, CommentedMap):
        raise ExperimentError(f"{name}:1:1: must hold a mapping such as `recipe: {{arch: resnet18}}`")
    positions: dict[Keys, tuple[int, int]] = {}
    values = _plain(document, (), positions, name)
    return YamlSource(name, values, positions)


def parse_value(text: str, *, name: str, most_items: int = MAX_ITEMS) -> Any:
    """Return `text` read as one YAML value: `5e-3` is 0.005, `[crop, flip]` a list, `resnet18` a string.

    Args:
        text: The value in YAML.
        name: Name of the text in messages.
        most_items: Largest number of commas and line breaks.

    Raises:
        ExperimentError: `text` is not a YAML value.
    """
    return _plain(_parse(text, name, most_items=most_items), (), {}, name)


def dump_yaml(values: dict[str, Any]) -> str:
    """Return `values` as YAML text that `read_yaml` reads back the same."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    writer.width = 110  # pyright: ignore[reportAttributeAccessIssue]
    out = StringIO()
    writer.dump(values, out)
    return out.getvalue()


def _parse(text: str, name: str, *, most_items: int = MAX_ITEMS) -> object:
    _refuse_endless(text, name, most_items=most_items)
    try:
        return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        problem = str(error.problem or error.context).partition(" with value")[0]
        raise ExperimentError(f"{where}: not valid YAML: {problem}") from None
    except YAMLError as error:
        raise ExperimentError(f"{name}: not valid YAML: {first_line(error)}") from None
    except RecursionError:
        raise ExperimentError(f"{name}: nested too deeply for an experiment file") from None
    except (ValueError, OverflowError, KeyError) as error:
        if "integer string conversion" in str(error):  # Python's own limit comes first
            raise ExperimentError(_too_many_digits(name)) from None
        # such as `!!int x` and `!!bool x`
        raise ExperimentError(f"{name}: a value cannot be read: {error}") from None
    except AttributeError:  # of ruamel.yaml 0.18
        raise ExperimentError(f"{name}: a mapping is merged (<<) into itself; write its keys out") from None


def _too_many_digits(where: str) -> str:
    return f"{where}: a whole number of more than {MAX_DIGITS} digits; write a smaller one"


def _refuse_endless(text: str, name: str, *, most_items: int) -> None:
    """Refuse a text that would take minutes to parse."""
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE:
            raise ExperimentError(
                f"{name}:{number}:1: the line has {len(line):,} characters; break it into lines of at most {MAX_LINE:,}"
            )
    if text.count(",") + text.count("\n") > most_items:
        raise ExperimentError(f"{name}: more than {most_items:,} values or lines; this is not an experiment file")


def _plain(node: object, path: Keys, positions: dict[Keys, tuple[int, int]], name: str) -> Any:
    where = YamlSource(name, {}, positions).where(path)
    if len(path) > MAX_DEPTH:
        raise ExperimentError(f"{where}: nested more than {MAX_DEPTH} levels deep, or an alias inside itself")
    if len(positions) > MAX_VALUES:
        raise ExperimentError(f"{where}: more than {MAX_VALUES:,} values, counting what aliases repeat; write fewer")
    if isinstance(node, CommentedMap | CommentedSeq) and _tag(node):
        raise ExperimentError(f"{where}: the tag {_tag(node)} is not allowed; write plain values")
    if isinstance(node, CommentedMap):
        mapping: dict[str, Any] = {}
        for key, value in node.items():
            line, column = node.lc.key(key) if key in (node.lc.data or {}) else (node.lc.line, node.lc.col)
            inner = (*path, str(key))
            positions[inner] = (line + 1, column + 1)
            mapping[str(key)] = _plain(value, inner, positions, name)
        return mapping
    if isinstance(node, CommentedSeq):
        items: list[Any] = []
        for index, value in enumerate(node):
            line, column = node.lc.item(index)
            positions[*path, index] = (line + 1, column + 1)
            items.append(_plain(value, (*path, index), positions, name))
        return items
    # ruamel's scalars are subclasses that remember how they were written
    if isinstance(node, int) and abs(node) >= 10**MAX_DIGITS:
        raise ExperimentError(_too_many_digits(where))
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    if node is None:
        return None
    if isinstance(node, TaggedScalar):
        raise ExperimentError(f"{where}: the tag {node.tag.value} is not allowed; write plain values")
    raise ExperimentError(f"{where}: {node} is read as a {type(node).__name__}; put it in quotes to make it text")


def _tag(node: CommentedMap | CommentedSeq) -> str:
    tag = str(node.tag.value or "")
    return "" if tag in {"", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"} else tag
