"""What abuse.py gives to commands: bad values for every option and argument, taken from the commands themselves.

python benchmarks/abuse_inputs.py        # prints how many each command gets
"""

import inspect
import types
import typing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer

NONSENSE = {
    "nothing": "",
    "a space": " ",
    "a device": "/dev/null",
    "a folder above": "../../x",
    "a number without end": "9" * 5000,
    "a name that is too long": "x" * 300,
    "two lines": "a\nb",
    "bytes that are no text": "\udc80",
    "a long list of values": "lr=" + ",".join(["0.1"] * 100),
    "a data set with a long name": "dataset=" + "x" * 300,
    "a bucket without a name": "s3://",
    "a scheme of nobody": "x://y",
    "half a URI": "http://[",
    "a file URI to nowhere": "file:///no/such",
    "a user without a home": "~of-no-user/x",
    "a terminal escape": "\x1b]0;x\x07",
    "a mark of direction": "\u202ex",
    "a formula": "=1+1",
    "a command of the shell": "a;touch b",
    "half a mapping": "{a: [",
    "an assignment to nothing": "lr=",
}
"""Text for whatever takes text. Some of it may be right somewhere; none of it may do harm."""
NO_INTEGER = {
    "nothing": "",
    "a word": "abc",
    "a fraction": "1.5",
    "not a number": "nan",
    "a negative number": "-1",
    "an exponent": "1e3",
    "a binary number": "0b1",
    "a space": " ",
    "a half": "½",
    "a number without end": "9" * 5000,
}
"""Text that is no whole number of 0 or more."""
NO_NUMBER = {
    "nothing": "",
    "a word": "abc",
    "not a number": "nan",
    "infinity": "inf",
    "minus infinity": "-inf",
    "a decimal comma": "1,5",
    "a hexadecimal number": "0x1p3",
    "a space": " ",
    "a negative number": "-1",
    "more than a float holds": "1e999",
}
"""Text that is no finite number of 0 or more."""
NO_CHOICE = {
    "nothing": "",
    "a word": "abc",
    "a space": " ",
    "two choices": "table,md",
    "a number": "7",
    "a terminal escape": "\x1b[31m",
    "in capitals": "TABLE",
    "bytes that are no text": "\udc80",
}
"""Text that is none of the choices."""
NO_VALUE = {"a word": "maybe", "nothing": "", "a number": "1", "true": "true"}
"""Text behind a flag, which takes none."""


@dataclass(frozen=True)
class BadValue:
    """One bad value of a parameter of a command.

    Attributes:
        command: Words of the command, such as ("data", "fetch").
        parameter: Its name in Python.
        option: How it is given, such as --seeds; "" for an argument.
        position: Number of arguments before it, where it is one.
        is_flag: Whether it is a flag, which takes no value.
        kind: Which kind of bad value it is.
        value: The value.
        refused: Whether nothing but a refusal is right.
    """

    command: tuple[str, ...]
    parameter: str
    option: str
    position: int
    is_flag: bool
    kind: str
    value: str
    refused: bool


def bad_values(app: typer.Typer) -> Iterator[BadValue]:
    """Yield bad values for every parameter of every command."""
    for command, function in commands(app):
        hints = typing.get_type_hints(function, include_extras=True)
        position = 0
        for name in inspect.signature(function).parameters:
            option, type_ = _option(name, hints[name]), _plain(hints[name])
            if type_ is typer.Context:  # typer's own, which nobody can give
                continue
            refused, values = _values(type_)
            for kind, value in values.items():
                yield BadValue(command, name, option, position, type_ is bool, kind, value, refused)
            position += not option


def commands(app: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of an application with its function."""
    for one in app.registered_commands:
        assert one.callback
        yield (*path, one.name or one.callback.__name__.replace("_", "-")), one.callback
    for group in app.registered_groups:
        assert group.typer_instance
        yield from commands(group.typer_instance, (*path, str(group.name)))


def _values(type_: Any) -> tuple[bool, dict[str, str]]:
    """Return whether only a refusal is right for values of a type, and bad ones, by kind."""
    if type_ in {bool, int, float}:
        return True, {bool: NO_VALUE, int: NO_INTEGER, float: NO_NUMBER}[type_]
    if typing.get_origin(type_) is typing.Literal or (isinstance(type_, type) and issubclass(type_, Enum)):
        return True, NO_CHOICE
    return False, NONSENSE


def _plain(hint: Any) -> Any:
    """Return the type of a value: `Annotated[int | None, ...]` is int, and of a list its items'."""
    if typing.get_origin(hint) is typing.Annotated:
        return _plain(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return _plain(next(one for one in typing.get_args(hint) if one is not type(None)))
    return _plain(typing.get_args(hint)[0]) if typing.get_origin(hint) is list else hint


def _option(name: str, hint: Any) -> str:
    """Return how a parameter is given, "" for an argument."""
    said = next((one for one in getattr(hint, "__metadata__", ()) if hasattr(one, "param_decls")), None)
    if isinstance(said, typer.models.ArgumentInfo):
        return ""
    words = [word.partition("/")[0] for word in (said.param_decls if said else None) or ()]
    long = [word for word in words if word.startswith("--")]
    return long[0] if long else f"--{name.strip('_').replace('_', '-')}"


if __name__ == "__main__":
    from raytrain.cli.app import app

    for command, count in Counter(bad.command for bad in bad_values(app)).items():
        print(f"{count:5} {' '.join(command)}")
