"""Names with arguments as text, `crop(padding=2, mode=reflect)`: read and written."""

import ast
import keyword
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path, PurePath
from typing import Any, get_origin

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from raytrain.user_code.reference import without_digest

_TEXT = re.compile(r"\s*(?P<name>[^()]+?)\s*(?:\((?P<arguments>.*)\))?\s*", re.DOTALL)


def name_of(text: str) -> str:
    """Return the name of a component: `crop` of `crop(padding=2)`."""
    return text.partition("(")[0]


def parsed(given: object, *, what: str) -> tuple[str, Any]:
    """Return a component's name, and its arguments as a mapping or as the value of the first.

    Args:
        given: The name, the text, or a mapping of the name to its arguments.
        what: What it is, in words: "augmentation".

    Raises:
        ValueError: It cannot be read.
    """
    if isinstance(given, Mapping):
        if len(given) != 1:
            names = ", ".join(map(str, given)) or "nothing"
            raise ValueError(
                f"give one {what} with its arguments, such as {{name: {{argument: value}}}}; given {names}"
            )
        ((name, arguments),) = given.items()
        return str(name), {} if arguments is None else arguments
    if not isinstance(given, str) or not (match := _TEXT.fullmatch(given)):
        raise ValueError(f"unknown {what} {given!r}; write its name, or name(argument=value)")
    return match["name"], _arguments(given, match["arguments"] or "")


def written(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the text of a component: `crop(padding=2)`; without arguments its name.

    Raises:
        ValueError: An argument has a value that would not be read from the text as it is.
    """
    for argument, value in arguments.items():
        if not _is_read_back(value):
            raise ValueError(
                f"{without_digest(name)}: {argument} is {value!r}, which the text of a recipe cannot hold; give text, "
                "a finite number, true or false, or a list of these"
            )
    parts = [f"{argument}={value_text(value)}" for argument, value in arguments.items()]
    return f"{name}({', '.join(parts)})" if parts else name


def value_text(value: Any) -> str:
    """Return the text of an argument's value: `[1, 2]`, `true`, `0.5`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, str | PurePath):
        value = str(value)
        plain = value.isidentifier() and not keyword.iskeyword(value) and value not in {"true", "false"}
        return value if plain else repr(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)


def _is_read_back(value: Any) -> bool:
    """Return whether text can hold a value; YAML has some that it cannot."""
    if isinstance(value, Mapping):
        return all(map(_is_read_back, [*value, *value.values()]))
    if isinstance(value, tuple | list):
        return all(map(_is_read_back, value))
    return not isinstance(value, date) and not (isinstance(value, float) and not math.isfinite(value))


def _arguments(text: str, arguments: str) -> dict[str, Any]:
    if not arguments.strip():
        return {}
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise SyntaxError  # noqa: TRY301 (one message for all)
        names = [one.arg for one in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise SyntaxError  # noqa: TRY301
        return {str(one.arg): _value(one.value) for one in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} cannot be read; write name(argument=value, argument=value)") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    return ast.literal_eval(node)


def checked(value: object, annotation: Any, *, what: str) -> Any:
    """Return a value as its parameter declares it: several values as a tuple, or as a list where only that will do.

    Text is a path where only that will do.

    Args:
        value: The value.
        annotation: Type of the parameter.
        what: What messages call the parameter.

    Raises:
        ValueError: The parameter does not take it.
    """
    kinds = (list, tuple) if annotation is list or get_origin(annotation) is list else (tuple, list)
    problems: list[tuple[int, str]] = []
    written: list[Any] = [value, *(_rewritten(value, kind, text) for text in (str, Path) for kind in (tuple, list))]
    several = isinstance(value, list | tuple)
    for given in [kind(one) for one in written for kind in kinds] if several else written:
        try:
            found = TypeAdapter(annotation).validate_python(given, strict=True)
            if several or not isinstance(found, Iterator):
                return _asked_for(found)
            problems.append((0, "give a list"))  # a text would be its letters, and a mapping its keys
        except ValidationError as error:
            first = error.errors()[0]
            problems.append((len(first["loc"]), first["msg"]))
    problem = max(problems, key=lambda one: one[0])[1]  # one of the values, rather than that it is no list
    raise ValueError(f"{what} is {value!r}: {problem[0].lower()}{problem[1:]}") from None


def _asked_for(found: Any) -> Any:
    """Return several values as a tuple where pydantic checks each of an Iterable only when it is asked for it."""
    return tuple(found) if isinstance(found, Iterator) else found


def _rewritten(value: object, kind: type[list[Any] | tuple[Any, ...]], text: type[str | Path]) -> Any:
    """Return a value with lists or tuples in the place of both, and texts or paths in the place of its texts."""
    if isinstance(value, list | tuple):
        return kind(_rewritten(one, kind, text) for one in value)
    return text(value) if isinstance(value, str) else value


def as_declared(value: Any, annotation: Any) -> Any:
    """Return a value from text as its parameter declares it: a list where it wants a list."""
    try:
        return _asked_for(TypeAdapter(annotation).validate_python(value))
    except (ValidationError, PydanticUserError, NameError):
        return value
