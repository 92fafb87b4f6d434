"""What an experiment file may say: the fields of a recipe as a list, and the whole file as a JSON Schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raytrain.data.augmentation.mixing import MIXES
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search.arguments import FIELDS
from raytrain.experiment.search.grid import RANGES
from raytrain.training.choices import (
    ARCH_CHOICES,
    AUGMENT_CHOICES,
    LOOKAHEAD_CHOICES,
    LOSS_CHOICES,
    OPTIMIZER_CHOICES,
    SCHEDULE_CHOICES,
)
from raytrain.training.recipe import EpochTime, Recipe
from raytrain.user_code.component import Components

COMPONENTS: Mapping[str, Components] = {
    "arch": ARCH_CHOICES,
    "augment": AUGMENT_CHOICES,
    "optimizer": OPTIMIZER_CHOICES,
    "schedule": SCHEDULE_CHOICES,
    "lookahead": LOOKAHEAD_CHOICES,
    "loss": LOSS_CHOICES,
}
"""Functions that a recipe field names, by field."""
_TEXT_OR_MAPPING = ("columns", "dataset", "mix", "resolution")
"""Fields beside `COMPONENTS` for which a file may give a mapping: of columns or sizes, or to arguments of the user's
own code."""
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "array": "list"}
_LIMITS = {
    "minimum": "≥ {}",
    "ge": "≥ {}",
    "exclusiveMinimum": "> {}",
    "gt": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
}
"""Words for what a schema says of a number, by keyword; pydantic writes `ge` and `gt` for a choice of types."""


@dataclass(frozen=True)
class FieldReference:
    """A field of a recipe.

    Attributes:
        name: Name of the field.
        kind: Type and limits in words, such as "number > 0".
        default: Default value.
        choices: Values that the field takes, with the arguments of those that have any; empty where it takes others.
        meaning: What the field says, in one paragraph.
        changes_epoch_time: Whether an epoch takes another time when the field changes.
    """

    name: str
    kind: str
    default: Any
    choices: tuple[str, ...]
    meaning: str
    changes_epoch_time: bool


def recipe_fields() -> list[FieldReference]:
    """Return every field of a recipe, in order."""
    schema = Recipe.model_json_schema()["properties"]
    return [
        FieldReference(
            name,
            _kind(name, schema[name]),
            list(field.default) if isinstance(field.default, tuple) else field.default,
            _choices(name, schema[name]),
            " ".join((field.description or "").split()),
            EpochTime.DEPENDS in field.metadata,
        )
        for name, field in Recipe.model_fields.items()
    ]


def _kind(name: str, schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    types = [schema["type"]] if "type" in schema else [one["type"] for one in schema["anyOf"]]
    words = _KINDS["number" if "number" in types else types[0]]
    if words == "text" and name in {*COMPONENTS, *_TEXT_OR_MAPPING}:
        words = "text or mapping"
    limits = [text.format(_number(schema[keyword])) for keyword, text in _LIMITS.items() if keyword in schema]
    return " ".join([words, ", ".join(limits)]).strip()


def _number(limit: float) -> str:
    return "2³²" if limit == 2**32 else f"{limit:,.0f}" if limit == int(limit) else f"{limit:g}"


def _choices(name: str, schema: Mapping[str, Any]) -> tuple[str, ...]:
    if name in COMPONENTS:
        components = COMPONENTS[name]
        arguments = {choice: components.arguments(choice) for choice in components.entries}
        return tuple(f"{choice}({', '.join(given)})" if given else choice for choice, given in arguments.items())
    return ("none", *MIXES) if name == "mix" else tuple(schema.get("enum", ()))


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an experiment file, with which an editor completes and checks it.

    It is a little wider than `Experiment`, which also checks what fits what: arguments of functions, values of an axis.
    """
    schema = Experiment.model_json_schema()
    fields = schema["$defs"]["Recipe"]["properties"]
    for name in COMPONENTS:
        one = _component(list(COMPONENTS[name].entries))
        fields[name] |= {"items": one} if name == "augment" else one
        if name != "augment":
            del fields[name]["type"]
    for name in _TEXT_OR_MAPPING:
        fields[name] |= {"type": ["string", "object"]}
    fields["mix"] |= _component(["none", *MIXES])
    values = {name: {"$ref": f"#/$defs/Recipe/properties/{name}"} for name in fields}
    below = {"anyOf": [{"$ref": "#/$defs/Grid"}, {"type": "null"}]}
    axes = {
        name: {"anyOf": [{"type": "array", "items": one, "minItems": 1}, *_RANGE_SCHEMAS, {"$ref": "#/$defs/Axes"}]}
        for name, one in values.items()
    }
    any_value = {"anyOf": [{"type": "array", "minItems": 1}, *_RANGE_SCHEMAS]}
    arguments = {rf"^({'|'.join(FIELDS)})\.\w+$": any_value}
    changes = {
        "type": "object",
        "properties": values,
        "patternProperties": {axis: {} for axis in arguments},
        "additionalProperties": False,
    }
    lists = {name: {"anyOf": [one, {"type": "array", "items": one}]} for name, one in values.items()}
    schema["$defs"] |= {
        "Grid": {
            "type": "object",
            "properties": axes,
            "patternProperties": arguments,
            "additionalProperties": False,
        },
        "Axes": {"type": "object", "additionalProperties": below, "not": {"anyOf": _RANGE_SCHEMAS}},
    }
    top = schema["properties"]
    top["grid"] |= {"$ref": "#/$defs/Grid"}
    top["grid"].pop("type", None)
    top["grid"].pop("additionalProperties", None)
    top["include"]["items"] = changes
    top["exclude"]["items"] = {**changes, "properties": lists}
    schema["required"] = []  # the file's name is the default of `name`
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(schema)}


_RANGE_SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {kind: {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}},
        "required": [kind],
        "additionalProperties": False,
    }
    for kind in RANGES
] + [
    {
        "type": "object",
        "properties": {"choice": {"type": "array"}},
        "required": ["choice"],
        "additionalProperties": False,
    }
]


def _component(names: list[str]) -> dict[str, Any]:
    """Return the schema of a function's name, of its name with arguments, and of both as a mapping."""
    return {
        "anyOf": [
            {"enum": names},
            {"type": "string", "pattern": r"^\w+\(.*\)$|:"},  # with arguments, or code of the user's own
            {
                "type": "object",
                "propertyNames": {"anyOf": [{"enum": names}, {"pattern": ":"}]},
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


def _without_titles(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names; a property called title stays."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(one) for key, one in schema.items() if not (key == "title" and isinstance(one, str))
        }
    return [_without_titles(one) for one in schema] if isinstance(schema, list) else schema
