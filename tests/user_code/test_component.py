"""Components: names with arguments, read from what YAML and command lines give, and written in one form."""

import math
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge

from raytrain.training.choices import (
    ARCH_CHOICES,
    AUGMENT_CHOICES,
    LOOKAHEAD_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
)
from raytrain.user_code.component import Components, accepted, name_of, one_of


def paint(
    picture: str,
    *,
    layers: Annotated[int, Ge(1)] = 2,
    colour: Literal["red", "dark red"] = "red",
    sizes: tuple[float, float] = (1.0, 0.5),
    glossy: bool = False,
    brush: str,
) -> tuple[Any, ...]:
    return picture, layers, colour, sizes, glossy, brush


def stamp(*, words: str = "", steps: list[int] | None = None, rows: list[int] = [1]) -> tuple[Any, ...]:  # noqa: B006
    return words, steps, rows


def cut(*, boxes: list[list[int]] | None = None, files: list[tuple[Path, int]] | None = None) -> tuple[Any, ...]:
    return boxes, files


def pack(*, box: Path = Path("a"), lids: list[Path] | None = None, names: Iterable[str] = (), limit: float = math.inf):
    return box, lids, names, limit


PAINTERS = Components(
    "painter",
    {"paint": paint, "wipe": lambda picture: picture, "stamp": stamp, "pack": pack, "cut": cut},
    supplied=frozenset({"brush"}),
)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("paint", "paint"),
        (" paint ", "paint"),
        ("paint()", "paint"),
        ({"paint": None}, "paint"),
        ({"paint": {}}, "paint"),
        ({"paint": {"layers": 2}}, "paint"),  # the default
        ({"paint": 3}, "paint(layers=3)"),  # the first argument
        ({"paint": {"glossy": True, "layers": 3}}, "paint(layers=3, glossy=true)"),  # in the order of the signature
        ("paint(glossy=true,layers=3)", "paint(layers=3, glossy=true)"),
        ("paint(glossy=True)", "paint(glossy=true)"),
        ({"paint": {"colour": "dark red"}}, "paint(colour='dark red')"),
        ("paint(colour='dark red')", "paint(colour='dark red')"),
        ({"paint": {"sizes": [2, 0.25]}}, "paint(sizes=[2, 0.25])"),
        ("paint(sizes=[2.0, 0.25])", "paint(sizes=[2, 0.25])"),
        ({"stamp": {"words": "global"}}, "stamp(words='global')"),  # a name that Python cannot read
        ({"stamp": {"words": "None"}}, "stamp(words='None')"),  # and one that it reads as something else
        ({"stamp": {"words": "True"}}, "stamp(words='True')"),
        ({"stamp": {"words": "match"}}, "stamp(words=match)"),
        ({"stamp": {"steps": [1, 2]}}, "stamp(steps=[1, 2])"),
        ({"stamp": {"steps": None}}, "stamp"),
        ({"stamp": {"rows": [1]}}, "stamp"),
        ({"stamp": {"rows": [2]}}, "stamp(rows=[2])"),
        ({"cut": {"boxes": [[1, 2], [3, 4]]}}, "cut(boxes=[[1, 2], [3, 4]])"),
        ({"cut": {"files": [["a", 1]]}}, "cut(files=[[a, 1]])"),
        ({"pack": {"box": "a/b.c", "lids": ["d", "e/f"]}}, "pack(box='a/b.c', lids=[d, 'e/f'])"),
        ({"pack": {"box": "a", "limit": math.inf}}, "pack"),  # the defaults
        ({"pack": {"names": ["a", "b c"]}}, "pack(names=[a, 'b c'])"),
    ],
)
def test_a_component_has_one_text(given: object, text: str):
    assert PAINTERS.canonical(given) == text
    assert PAINTERS.canonical(text) == text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("pant", "unknown painter 'pant'; did you mean 'paint'"),
        (3, "unknown painter 3; write its name"),
        (["paint"], "unknown painter"),
        ({}, "given nothing"),
        ({"paint": {}, "wipe": {}}, "given paint, wipe"),
        ({"paint": {"layer": 1}}, "unknown argument 'layer'; did you mean 'layers'"),
        ({"paint": {"brush": "wide"}}, "unknown argument 'brush'"),  # what the loop supplies is not the user's
        ({"paint": {"layers": 0}}, "layers is 0: input should be greater than or equal to 1"),
        ({"paint": {"layers": "3"}}, "layers is '3'"),
        ({"paint": {"layers": True}}, "layers is True"),
        ({"paint": {"colour": "blue"}}, "colour is 'blue': input should be 'red' or 'dark red'"),
        ({"paint": {"sizes": [1.0]}}, "sizes is"),
        ({"paint": {"sizes": [1.0, "a"]}}, "sizes is [1.0, 'a']: input should be a valid number"),
        ({"stamp": {"steps": [1, "a"]}}, "steps is [1, 'a']: input should be a valid integer"),
        ({"stamp": {"rows": [1, "a"]}}, "rows is [1, 'a']: input should be a valid integer"),
        ({"pack": {"box": 3}}, "box is 3"),
        ({"pack": {"names": ["a", 1]}}, "names is ['a', 1]: input should be a valid string"),
        ({"pack": {"names": "cat"}}, "names is 'cat': give a list"),
        ({"pack": {"names": {"cat": 1}}}, "names is {'cat': 1}: give a list"),
        ({"pack": {"limit": -math.inf}}, "pack: limit is -inf, which the text of a recipe cannot hold"),
        ({"pack": {"limit": math.nan}}, "pack: limit is nan, which the text of a recipe cannot hold"),
        ({"wipe": 3}, "painter wipe takes no arguments, given 3"),
        ("paint(3)", "'paint(3)' cannot be read"),
        ("paint(layers=)", "cannot be read"),
        ("paint(layers=open('x'))", "cannot be read"),
        ("paint(**{})", "cannot be read"),
        ("paint(layers=3", "unknown painter"),
        ("paint(layers=3, layers=4)", "cannot be read"),
        ("paint(layers=3)(glossy=true)", "cannot be read"),
        ("paint(layers={[]: 1})", "cannot be read"),
    ],
)
def test_what_is_no_component_is_refused(given: object, problem: str):
    with pytest.raises(ValueError, match=r"^") as caught:
        PAINTERS.canonical(given)
    assert problem in str(caught.value)


def test_arguments_are_bound_and_the_rest_is_passed():
    function = PAINTERS.function("paint(layers=3, sizes=[2, 0.25], glossy=true)")
    assert function("wall", brush="wide") == ("wall", 3, "red", (2, 0.25), True, "wide")
    assert name_of("paint(layers=3)") == name_of("paint") == "paint"


@pytest.mark.parametrize("word", ["global", "None", "True", "true", "class", "it's"])
def test_a_word_arrives_as_it_was_given(word: str):
    text = PAINTERS.canonical({"stamp": {"words": word}})
    assert PAINTERS.function(text)() == (word, None, [1])


@pytest.mark.parametrize("value", [date(2020, 1, 2), [0.5, math.inf], {"a": math.nan}])
def test_what_text_cannot_hold_is_refused_of_a_library_too(value: object):
    libraries = Components("painter", {}, libraries={"timm": lambda model, **_: model})
    with pytest.raises(
        ValueError, match=r"timm:brush: size is .*, which the text of a recipe cannot hold; give text, a finite"
    ):
        libraries.canonical({"timm:brush": {"size": value}})


def test_accepted_names_every_parameter():
    assert accepted(paint) == {"picture", "layers", "colour", "sizes", "glossy", "brush"}


@pytest.mark.parametrize(
    "components",
    [ARCH_CHOICES, AUGMENT_CHOICES, OPTIMIZER_CHOICES, SCHEDULE_CHOICES, LOOKAHEAD_CHOICES],
    ids=lambda r: r.what,
)
def test_every_component_can_be_written_with_its_arguments(components: Components):
    """An annotation that cannot be evaluated, or a default that its own type refuses, would show here."""
    for name, entry in components.entries.items():
        function: Callable[..., Any] = getattr(entry, "build", entry)
        ours = {key: value for key, value in (function.__kwdefaults__ or {}).items() if key not in components.supplied}
        assert components.canonical({name: ours}) == name


def test_one_of_returns_what_is_allowed_and_hints_only_when_something_is_near():
    assert one_of("b", ["a", "b"], what="letter") == "b"
    with pytest.raises(ValueError, match="unknown letter 'zzz'; choose one of a, b") as caught:
        one_of("zzz", ["a", "b"], what="letter")
    assert "did you mean" not in str(caught.value)
