"""Components: the functions that a recipe names, with their arguments.

A component is written as its name, `crop`, or with arguments, in YAML as a mapping of one entry:

    augment: [{crop: {padding: 2, mode: reflect}}, flip, {cutout: 12}]

A recipe keeps it as text, `crop(padding=2, mode=reflect)`, which can be typed too; in a YAML list it needs quotes,
because of the comma. The text is always the same for the same component: arguments in the order of the signature, those
that equal its default left out.
"""

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

_TEXT = re.compile(r"\s*(?P<name>[^()]+?)\s*(?:\((?P<arguments>.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Components:
    """The components that a recipe field can name.

    Attributes:
        what: What they are, in words: "augmentation".
        entries: Functions by name; an entry may also have its function as an attribute `build`.
        supplied: Names of the keyword parameters that the training loop passes; the others are the user's.
    """

    what: str
    entries: Mapping[str, Any]
    supplied: frozenset[str] = frozenset()

    def canonical(self, given: object) -> str:
        """Return the text of a component: `crop(padding=2)`.

        Args:
            given: The name, the text, or a mapping of the name to its arguments: a mapping of their names, or one
                value for the first.

        Raises:
            ValueError: No such component, no such argument, or a value that it does not take.
        """
        name, arguments = _parsed(given, what=self.what)
        one_of(name, self.entries, what=self.what)
        known = self._parameters(name)
        if not isinstance(arguments, Mapping):
            if not known:
                raise ValueError(f"{self.what} {name} takes no arguments, given {arguments!r}")
            arguments = {next(iter(known)): arguments}
        for argument in arguments:
            if argument not in known:
                raise ValueError(f"{self.what} {name}: {_unknown_argument(str(argument), known)}")
        parts: list[str] = []
        for argument, parameter in known.items():
            if argument in arguments:
                value = _checked(arguments[argument], parameter, what=f"{self.what} {name}: {argument}")
                if value != parameter.default:
                    parts.append(f"{argument}={_text(value)}")
        return f"{name}({', '.join(parts)})" if parts else name

    def function(self, text: str) -> partial[Any]:
        """Return the function of a component, with its arguments bound.

        Args:
            text: As `canonical` returns it.
        """
        name, arguments = _parsed(text, what=self.what)
        return partial(_function(self.entries[name]), **arguments)

    def entry(self, text: str) -> Any:
        """Return the entry of a component."""
        return self.entries[name_of(text)]

    def parsed(self, text: str) -> tuple[str, dict[str, Any]]:
        """Return the name of a component and the arguments that it gives, of a text from `canonical`."""
        return _parsed(text, what=self.what)

    def arguments(self, name: str) -> list[str]:
        """Return the names of the arguments that the component called `name` takes."""
        return list(self._parameters(name))

    def _parameters(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the parameters of a component that its user may set."""
        keywords = inspect.signature(_function(self.entries[name])).parameters.values()
        annotations = _function(self.entries[name]).__globals__
        return {
            one.name: one.replace(annotation=_type(one.annotation, annotations))
            for one in keywords
            if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name not in self.supplied
        }


def name_of(text: str) -> str:
    """Return the name of a component: `crop` of `crop(padding=2)`."""
    return text.partition("(")[0]


@cache
def accepted(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters that a function takes."""
    return frozenset(inspect.signature(function).parameters)


def one_of(value: str, choices: Iterable[str], *, what: str) -> str:
    """Return `value` when it is one of `choices`.

    Raises:
        ValueError: It is not; the message names the nearest choice and all of them.
    """
    names = list(choices)
    if value in names:
        return value
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {what} {value!r}; {hint}choose one of {', '.join(names)}")


def _function(entry: Any) -> Callable[..., Any]:
    return getattr(entry, "build", entry)


def _parsed(given: object, *, what: str) -> tuple[str, Any]:
    """Return a component's name, and its arguments as a mapping or as the value of the first."""
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


def _arguments(text: str, arguments: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise SyntaxError  # noqa: TRY301 (one message for all)
        names = [keyword.arg for keyword in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise SyntaxError  # noqa: TRY301
        return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{text!r} cannot be read; write name(argument=value, argument=value)") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    return ast.literal_eval(node)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, str):
        return value if value.isidentifier() and value not in {"true", "false"} else repr(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)


def _type(annotation: Any, names: dict[str, Any]) -> Any:
    return eval(annotation, names) if isinstance(annotation, str) else annotation


def _checked(value: object, parameter: inspect.Parameter, *, what: str) -> Any:
    given = tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(parameter.annotation).validate_python(given, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise ValueError(f"{what} is {value!r}: {problem[0].lower()}{problem[1:]}") from None


def _unknown_argument(argument: str, known: Mapping[str, object]) -> str:
    if not known:
        return f"takes no arguments, given {argument!r}"
    near = difflib.get_close_matches(argument, list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown argument {argument!r}; {hint}it takes {', '.join(known)}"
