"""Tests of yaml_source: values as YAML 1.2 has them, places, and one message for each kind of broken file."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import ExperimentError
from raytrain.experiment.yaml_source import MAX_BYTES, YamlSource, dump_yaml, parse_value, read_yaml


def read(tmp_path: Path, content: str | bytes) -> YamlSource:
    path = tmp_path / "x.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-3", 0.005),
        ("1e2", 100.0),
        ("0.1", 0.1),
        (".5", 0.5),
        ("12", 12),
        ("-3", -3),
        ("017", 17),
        ("0o17", 15),
        ("yes", "yes"),
        ("off", "off"),
        ("12:30:45", "12:30:45"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5e-3'", "5e-3"),
        ("resnet18", "resnet18"),
        ("s3://bucket/data", "s3://bucket/data"),
        ("[crop, flip]", ["crop", "flip"]),
        ("{a: {b: [1]}}", {"a": {"b": [1]}}),
    ],
)
def test_values_are_those_of_yaml_1_2_in_plain_types(text: str, value: object):
    read_value = parse_value(text, name="x")
    assert read_value == value
    assert type(read_value) is type(value)


def test_infinity_and_nan_are_numbers_here_and_refused_by_the_recipe():
    assert parse_value(".inf", name="x") == math.inf
    assert math.isnan(parse_value(".nan", name="x"))


TEXT = """\
# a comment
name: lr
recipe: {arch: resnet18, lr: 5e-3}
grid:
  lr: [0.1,
       0.2]
  schedule:
    - constant
    - cosine
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("name",), "2:1"),
        (("recipe",), "3:1"),
        (("recipe", "arch"), "3:10"),
        (("recipe", "lr"), "3:26"),
        (("grid", "lr"), "5:3"),
        (("grid", "lr", 0), "5:8"),
        (("grid", "lr", 1), "6:8"),
        (("grid", "schedule", 1), "9:7"),
    ],
)
def test_every_key_and_item_knows_its_line_and_column(tmp_path: Path, path: tuple[str | int, ...], place: str):
    assert read(tmp_path, TEXT).where(path) == f"{tmp_path / 'x.yaml'}:{place}"


def test_an_unknown_place_is_that_of_the_nearest_value_above_it(tmp_path: Path):
    source = read(tmp_path, TEXT)
    assert source.where(("recipe", "epochs")).endswith("x.yaml:3:1")
    assert source.where(("asha", "grace_period")).endswith("x.yaml:1:1")


def test_aliases_and_merge_keys_give_the_values_they_stand_for(tmp_path: Path):
    source = read(tmp_path, "x: &x {lr: 1}\nrecipe: {<<: *x, arch: r}\ny: *x\n")
    assert source.values == {"x": {"lr": 1}, "recipe": {"arch": "r", "lr": 1}, "y": {"lr": 1}}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    assert read(tmp_path, b"\xef\xbb\xbfname: a\n").values == {"name": "a"}


def alias_bomb() -> str:
    """Return 9 lines that stand for 10^9 values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "duplicate key": ("recipe: {lr: 1}\nrecipe: {lr: 2}\n", r':2:1: not valid YAML: found duplicate key "recipe"'),
    "duplicate inner key": ("recipe: {lr: 1, lr: 2}", r':1:17: not valid YAML: found duplicate key "lr"'),
    "unclosed brace": ("recipe: {lr: 1\ngrid: 2\n", r":2:5: not valid YAML: expected ',' or '}'"),
    "unclosed quote": ("name: 'lr\n", r":2:1: not valid YAML: .*end of stream"),
    "bad indentation": ("recipe:\n  lr: 1\n arch: r\n", r":3:2: not valid YAML"),
    "tab": ("recipe:\n\tlr: 1\n", r":2:1: not valid YAML: .*'\\t'"),
    "python tag": ("recipe: !!python/object/apply:os.system ['ls']\n", r":1:1: the tag .*os\.system is not allowed"),
    "python name": ("x: 1\nname: !!python/name:os.system x\n", r":2:1: the tag .*os\.system is not allowed"),
    "own tag on a mapping": ("recipe: !foo {lr: 1}", r":1:1: the tag !foo is not allowed"),
    "own tag on a list": ("grid: {lr: !foo [1]}", r":1:8: the tag !foo is not allowed"),
    "undefined alias": ("recipe: *nowhere\n", r":1:9: not valid YAML: found undefined alias 'nowhere'"),
    "nested 30 deep": ("a: " + "[" * 30 + "]" * 30, r":1:\d+: nested more than 20 levels"),
    # the parser runs into Python's recursion limit, which other code may have raised: then our own limit speaks
    "nested 400 deep": ("a: " + "[" * 400 + "]" * 400, r"(:1:\d+)?: nested"),
    "a billion values": (alias_bomb(), r":1:\d+: more than 100,000 values"),
    "binary": (bytes(range(256)), r": is not UTF-8 text"),
    "latin-1": (b"name: \xe9", r": is not UTF-8 text"),
    "null byte": (b"name: \x00", r": not valid YAML: unacceptable character #x0000"),
    "empty": ("", r":1:1: must hold a mapping"),
    "only a comment": ("# nothing\n", r":1:1: must hold a mapping"),
    "a list": ("- lr\n", r":1:1: must hold a mapping"),
    "a word": ("hello", r":1:1: must hold a mapping"),
    "two documents": ("a: 1\n---\nb: 2\n", r":2:1: not valid YAML: but found another document"),
    "a date": ("a: 1\nname: 2024-01-01\n", r":2:1: 2024-01-01 is read as a date; put it in quotes"),
    "a set": ("name: !!set {x, y}", r":1:1: .* is read as a"),
    "no integer": ("lr: !!int x", r": a value cannot be read"),
    "no truth": ("lr: !!bool x", r": a value cannot be read"),
    "too many digits": ("lr: " + "9" * 5000, r": a whole number of more than 300 digits; write a smaller one"),
    "too large": (b"#" * (MAX_BYTES + 1), r": larger than 1,000,000 bytes"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_gives_one_line_with_the_place(tmp_path: Path, kind: str):
    content, message = BROKEN[kind]
    with pytest.raises(ExperimentError, match=re.escape(str(tmp_path / "x.yaml")) + message) as caught:
        read(tmp_path, content)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["recipe: &a {lr: *a}", "recipe: &a\n  lr: *a\n"])
def test_an_alias_inside_itself_is_read_as_nothing(tmp_path: Path, text: str):
    assert read(tmp_path, text).values == {"recipe": {"lr": None}}


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ExperimentError, match=re.escape(f"{tmp_path / 'no.yaml'}: no such file")):
        read_yaml(tmp_path / "no.yaml")


def test_a_folder_is_not_taken_for_a_file(tmp_path: Path):
    with pytest.raises(ExperimentError, match="is a folder"):
        read_yaml(tmp_path)


def test_a_file_inside_a_file_is_refused(tmp_path: Path):
    (tmp_path / "x.yaml").write_text("a: 1")
    with pytest.raises(ExperimentError, match="cannot be read: Not a directory"):
        read_yaml(tmp_path / "x.yaml" / "y.yaml")


def test_a_value_is_named_as_the_caller_calls_it():
    with pytest.raises(ExperimentError, match=r"^--set augment=\[crop:1:6: not valid YAML"):
        parse_value("[crop", name="--set augment=[crop")


# no control characters and line separators: YAML folds some of them
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"], exclude_characters="\ufeff"), max_size=20
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


@settings(max_examples=40)
@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_what_is_dumped_is_read_back_the_same(values: dict[str, object]):
    assert parse_value(dump_yaml(values), name="x") == values


@pytest.mark.parametrize("text", ["5e-3", "1e5", "true", "null", "yes", "12", "0o7", "2024-01-01", "", "a: b", "# c"])
def test_text_that_looks_like_another_type_stays_text(text: str):
    assert parse_value(dump_yaml({"dataset": text}), name="x") == {"dataset": text}


def test_dumping_keeps_the_order_of_keys():
    assert dump_yaml({"name": "a", "arch": "b", "zeta": 1, "beta": 2}).splitlines() == [
        "name: a",
        "arch: b",
        "zeta: 1",
        "beta: 2",
    ]
