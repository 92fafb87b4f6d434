"""The keys that an experiment and its sections take, and the message about one that they do not take."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from raytrain.errors import ExperimentError, unknown
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.search.arguments import is_argument
from raytrain.experiment.yaml_source import Keys, YamlSource
from raytrain.training.recipe import Recipe


def refuse_unknown_keys(source: YamlSource) -> None:
    """Refuse a key of a file that its section does not take.

    Raises:
        ExperimentError: There is one; the message names the line, and the nearest key.
    """
    allowed: list[tuple[Keys, Iterable[str], str]] = [((), *_keys_of("")), (("grid",), *_keys_of("recipe"))]
    allowed += [((section,), *_keys_of(section)) for section in _models()]
    for section in ("exclude", "include"):
        entries = source.values.get(section)
        count = len(entries) if isinstance(entries, list) else 0
        allowed += [((section, index), *_keys_of("recipe")) for index in range(count)]
    for path, names, what in allowed:
        for key in _mapping_at(source.values, path):
            if key not in names and not (path[:1] in {("grid",), ("include",), ("exclude",)} and is_argument(str(key))):
                raise ExperimentError(f"{source.where((*path, key))}: {unknown(key, names, what)}")


def unknown_key(path: Keys, *, of_recipe: bool) -> str:
    """Return the message about a key that pydantic refuses, with the nearest one.

    Args:
        path: Its path in what was checked.
        of_recipe: Whether a recipe alone was checked, and no experiment.
    """
    *above, key = ("recipe", *path) if of_recipe else path
    return unknown(str(key), *_keys_of(str(above[0]) if above else ""))


def _keys_of(section: str) -> tuple[Iterable[str], str]:
    """Return the keys of a section, and what one is called; those of the experiment for ""."""
    model = _models().get(section, Experiment)
    what = f"key of {section}" if section else "key"
    return model.model_fields, "recipe field" if model is Recipe else what


def _models() -> dict[str, type[BaseModel]]:
    """Return the model behind each key of an experiment that has one, optional ones included."""
    return {
        name: model
        for name, field in Experiment.model_fields.items()
        for model in (field.annotation, *get_args(field.annotation))
        if isinstance(model, type) and issubclass(model, BaseModel)
    }


def _mapping_at(values: Any, path: Keys) -> Iterator[str]:
    for step in path:
        values = values.get(step) if isinstance(values, dict) else values[step]
    yield from values if isinstance(values, dict) else ()
