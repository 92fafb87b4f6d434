"""Components: the functions that a recipe names, with their arguments.

A component is written as its name, `crop`, or with arguments, in YAML as a mapping of one entry:

    augment: [{crop: {padding: 2, mode: reflect}}, flip, {cutout: 12}]

A recipe keeps it as text, `crop(padding=2, mode=reflect)`, which can be typed too; in a YAML list it needs quotes,
because of the comma. The text is always the same for the same component: arguments in the order of the signature, those
that equal its default left out.
"""

import builtins
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from pydantic import TypeAdapter

from raytrain.errors import counted, did_you_mean
from raytrain.user_code.calls import as_declared, checked, name_of, parsed, value_text, written
from raytrain.user_code.declared import as_written, known
from raytrain.user_code.modules import definition, imported
from raytrain.user_code.reference import Reference, reference_of, without_digest
from raytrain.user_code.source import kept

__all__ = ["Components", "accepted", "name_of", "one_of"]

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_SEVERAL = inspect.Parameter.VAR_POSITIONAL


@dataclass(frozen=True)
class Components:
    """The components that a recipe field can name: those of raytrain, and code of the user's own.

    Attributes:
        what: What they are, in words: "augmentation".
        entries: Functions by name; an entry may also have its function as an attribute `build`.
        supplied: Names of the keyword parameters that raytrain passes; the others are the user's.
        supplied_to_user_code: Further names that a function of the user's may ask for.
        leading: Number of arguments that raytrain passes by position to a function of the user's.
        entry_of: What makes an entry of a function of the user's.
        libraries: Functions by the word before the colon of a name such as `timm:resnet18d`; each takes the word after
            it. Arguments are the library's to check.
    """

    what: str
    entries: Mapping[str, Any]
    supplied: frozenset[str] = frozenset()
    supplied_to_user_code: frozenset[str] = frozenset()
    leading: int = 0
    entry_of: Callable[[Callable[..., Any]], Any] = lambda function: function
    libraries: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def canonical(self, given: object) -> str:
        """Return the text of a component: `crop(padding=2)`.

        Args:
            given: The name, the text, or a mapping of the name to its arguments: a mapping of their names, or one
                value for the first.

        Raises:
            ValueError: No such component, no such argument, or a value that it does not take.
            ExperimentError: Code of the user's own that cannot be imported.
        """
        name, arguments = parsed(given, what=self.what)
        if reference := reference_of(name):
            if reference.digest is None:
                raise ValueError(_unread(reference))
            if kept(reference.digest) is None:  # of a run or a model: read, never run
                given_by_name = arguments if isinstance(arguments, Mapping) else {}
                return written(str(reference), as_written(str(reference), given_by_name))
            name = str(reference)
        elif self._in_library(name):
            if not isinstance(arguments, Mapping):
                raise ValueError(f"{self.what} {name}: give arguments by name, as {{{name}: {{argument: value}}}}")
            return written(name, dict(sorted(arguments.items())))
        else:
            one_of(name, self.entries, what=self.what)
        known = self._parameters(name)
        shown = f"{self.what} {without_digest(name)}"
        if not isinstance(arguments, Mapping):
            if not known:
                raise ValueError(f"{shown} takes no arguments, given {arguments!r}")
            arguments = {next(iter(known)): arguments}
        for argument in arguments:
            if argument not in known:
                raise ValueError(f"{shown}: {_unknown_argument(str(argument), known)}")
        said: dict[str, Any] = {}
        for argument, parameter in known.items():
            if argument in arguments:
                value = checked(arguments[argument], parameter.annotation, what=f"{shown}: {argument}")
                if value != parameter.default:
                    said[argument] = value
            elif reference and parameter.default is parameter.empty:
                raise ValueError(
                    f"{shown}: needs a value for {argument!r} ({self._where(reference)}); "
                    f"give it as {{{without_digest(name)}: {{{argument}: ...}}}}, or give it a default there"
                )
        return written(name, said)

    def function(self, text: str) -> partial[Any]:
        """Return the function of a component, with its arguments bound.

        Args:
            text: As `canonical` returns it.

        Raises:
            ExperimentError: Code of the user's own that cannot be imported, or that this process has not been given.
        """
        name, arguments = parsed(text, what=self.what)
        function = self._callable(name)
        if reference_of(name):
            known = self._parameters(name)
            arguments = {key: as_declared(value, known[key].annotation) for key, value in arguments.items()}
        return partial(function, **arguments)

    def call(self, text: str, *leading: Any, **offered: Any) -> Any:
        """Call the function of a component with its arguments and with what it asks for by name.

        Args:
            text: As `canonical` returns it.
            leading: Arguments by position.
            offered: Arguments by name; those that the function does not name are left out.
        """
        return self.bound(text)(*leading, **offered)

    def bound(self, text: str) -> Callable[..., Any]:
        """Return what `call` calls, for loops: it takes the arguments by position and those that are offered by name.

        Args:
            text: As `canonical` returns it.
        """
        function = self.function(text)
        names = accepted(function.func)
        everything = name_of(text) in self.entries and takes_any_name(function.func)

        def call(*leading: Any, **offered: Any) -> Any:
            asked = offered if everything else {name: value for name, value in offered.items() if name in names}
            return function(*leading, **asked)

        return call

    def entry(self, text: str) -> Any:
        """Return the entry of a component."""
        name = name_of(text)
        return self.entry_of(self._callable(name)) if reference_of(name) else self.entries[name]

    def parsed(self, text: str) -> tuple[str, dict[str, Any]]:
        """Return the name of a component and the arguments that it gives, of a text from `canonical`."""
        return parsed(text, what=self.what)

    def arguments(self, name: str) -> list[str]:
        """Return the names of the arguments that the component called `name` takes."""
        return list(self._parameters(name))

    def defaults(self, name: str) -> Mapping[str, str | None] | None:
        """Return the text of the default of each argument that a component takes, None where it has none.

        Of a library, or of code that may not be run, it is not known which arguments there are: then it returns None.
        """
        reference = reference_of(name)
        if reference and kept(reference.digest) is None:
            return known(str(reference))
        if self._in_library(name):
            return None
        parameters = self._parameters(name) if reference or name in self.entries else {}
        return {
            argument: None if parameter.default is parameter.empty else value_text(parameter.default)
            for argument, parameter in parameters.items()
        }

    def _callable(self, name: str) -> Callable[..., Any]:
        if reference := reference_of(name):
            return imported(reference)
        if self._in_library(name):
            library, _, model = name.partition(":")
            return partial(self.libraries[library], model)
        return _function(self.entries[name])

    def _in_library(self, name: str) -> bool:
        library, colon, model = name.partition(":")
        return bool(colon and model) and library in self.libraries

    def _parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        """Return the parameters of a component that its user may set."""
        if reference := reference_of(name):
            return self._parameters_of_user_code(imported(reference), reference)
        return _keywords(_function(self.entries[name]), self.supplied)

    def _parameters_of_user_code(
        self, function: Callable[..., Any], reference: Reference
    ) -> dict[str, inspect.Parameter]:
        where = f"{self.what} {reference.as_written}"
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            raise ValueError(f"{where}: has no signature; name a function or a class written in Python") from None
        by_position = [one for one in parameters if one.kind in _BY_POSITION]
        if len(by_position) < self.leading and not any(one.kind is _SEVERAL for one in parameters):
            raise ValueError(
                f"{where}: takes {len(by_position)} of the {counted(self.leading, 'argument')} that it is called with "
                f"by position ({self._where(reference)})"
            )
        passed = {one.name for one in by_position[: self.leading]} | self.supplied | self.supplied_to_user_code
        return typed(function, [one for one in parameters if one.name not in passed and one.kind in _BY_NAME])

    def _where(self, reference: Reference) -> str:
        return definition(imported(reference), reference)


def typed(function: Callable[..., Any], parameters: Iterable[inspect.Parameter]) -> dict[str, inspect.Parameter]:
    """Return parameters of a function of the user's by their names, each with its type; Any where it is not known."""
    names = vars(sys.modules.get(getattr(function, "__module__", ""), builtins))
    return {one.name: one.replace(annotation=_type_if_known(one.annotation, names)) for one in parameters}


@cache
def _keywords(function: Any, supplied: frozenset[str]) -> Mapping[str, inspect.Parameter]:
    """Return the keyword parameters of a function of ours, but for those that are supplied.

    To look at a signature takes 0.1 ms, and each of ten thousand recipes names five functions.
    """
    return {
        one.name: one.replace(annotation=_type(one.annotation, function.__globals__))
        for one in inspect.signature(function).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name not in supplied
    }


def accepted(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters that a function takes."""
    # not kept for an object that is called: it may not be hashable
    return _accepted(function) if inspect.isroutine(function) or inspect.isclass(function) else _signature(function)


def _signature(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


_accepted = cache(_signature)


def takes_any_name(function: Callable[..., Any]) -> bool:
    """Return whether a function takes keyword arguments of any name: it says `**`."""
    kinds = {one.kind for one in inspect.signature(function).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


def one_of(value: str, choices: Iterable[str], *, what: str) -> str:
    """Return `value` when it is one of `choices`.

    Raises:
        ValueError: It is not; the message names the nearest choice or, where none is near, all of them.
    """
    names = list(choices)
    if value in names:
        return value
    said = did_you_mean(value, names) or f"choose one of {', '.join(names)}"
    raise ValueError(f"unknown {what} {value!r}; {said}")


def _function(entry: Any) -> Callable[..., Any]:
    return getattr(entry, "build", entry)


def _type(annotation: Any, names: dict[str, Any]) -> Any:
    return eval(annotation, names) if isinstance(annotation, str) else annotation


def _type_if_known(annotation: Any, names: Mapping[str, Any]) -> Any:
    """Return the type that an annotation of the user's means; Any where pydantic could not check it."""
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        found = _type(annotation, dict(names))
        TypeAdapter(found)
    except Exception:  # noqa: BLE001 (whatever an annotation may hold)
        return Any
    return found


def _unread(reference: Reference) -> str:
    return (
        f"{reference} is code of your own, and has not been read; name it in an experiment file or with --set, "
        f"or in Python as raytrain.code({str(reference)!r})"
    )


def _unknown_argument(argument: str, known: Mapping[str, object]) -> str:
    if not known:
        return f"takes no arguments, given {argument!r}"
    said = did_you_mean(argument, known) or f"it takes {', '.join(known)}"
    return f"unknown argument {argument!r}; {said}"
