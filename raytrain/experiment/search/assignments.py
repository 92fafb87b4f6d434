"""Recipe fields and axes as they are typed: `--set lr=0.1`, `--grid lr=0.1,0.01`, `--grid lr=log:1e-4:1`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raytrain.errors import ExperimentError, unknown
from raytrain.experiment.search.arguments import is_argument
from raytrain.experiment.user_code import read_user_code
from raytrain.experiment.yaml_source import parse_value
from raytrain.training.recipe import Recipe


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the recipe fields and arguments, `arch.depth`, that `field=value` texts set, each value read as YAML.

    Raises:
        ExperimentError: A text has no `=`, or names no recipe field.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        field, equals, text = assignment.partition("=")
        if not equals:
            raise ExperimentError(f"--set {assignment}: write it as field=value, for example --set lr=0.05")
        field = field.strip()
        if field not in Recipe.model_fields and not is_argument(field):
            raise ExperimentError(f"--set {assignment}: {unknown(field, Recipe.model_fields, 'recipe field')}")
        overrides[field] = _value_of(field, text, name=f"--set {assignment}")
    return overrides


def parse_axes(texts: Iterable[str]) -> dict[str, Any]:
    """Return the grid axes that `field=values` texts give: `lr=0.1,0.01`, or a range, `lr=log:1e-4:1`.

    Raises:
        ExperimentError: A text names no recipe field, or the field of another one, or a range cannot be read.
    """
    axes: dict[str, Any] = {}
    values: dict[str, str] = {}
    for text in texts:
        field, _, said = (part.strip() for part in text.partition("="))
        if field not in Recipe.model_fields and not is_argument(field):
            raise ExperimentError(f"--grid {text}: {unknown(field, Recipe.model_fields, 'recipe field')}")
        if field in values:
            advice = f"write --grid {field}={values[field]},{said}"
            if any(_is_range(one) for one in (values[field], said)):
                advice = "leave one of them out"
            raise ExperimentError(f"--grid {text}: {field} is given twice; {advice}")
        values[field] = said
        if _is_range(said):
            kind, *ends = said.split(":")
            axes[field] = {_RANGES_IN_SHORT[kind]: [parse_value(end, name=f"--grid {text}") for end in ends]}
        else:
            listed = [_value_of(field, value, name=f"--grid {text}") for value in _split(said)]
            axes[field] = read_user_code(field, listed, folder=Path(), where=f"--grid {text}")
    return axes


def _is_range(text: str) -> bool:
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind in _RANGES_IN_SHORT


def _split(text: str) -> list[str]:
    """Return the parts of a text between commas; one within brackets separates arguments."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


_RANGES_IN_SHORT = {"log": "loguniform", "loguniform": "loguniform", "uniform": "uniform", "int": "int"}


def _value_of(field: str, text: str, *, name: str) -> Any:
    """Return the value of a recipe field, or of an argument of its component, that a text on the command line gives."""
    # a component with arguments is a mapping: {triangle: {peak: 0.3}}
    if is_argument(field):
        return parse_value(text, name=name)
    plain_text = Recipe.model_fields[field].annotation is str and not text.lstrip().startswith("{")
    return text.strip() if plain_text else parse_value(text, name=name)
