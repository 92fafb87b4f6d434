"""Experiments read from YAML, with errors that name the file, the line and the nearest valid key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raytrain.errors import ExperimentError, RunFolderError, StorageError, first_line
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.keys import refuse_unknown_keys, unknown_key
from raytrain.experiment.paths import with_paths_from
from raytrain.experiment.search.arguments import is_argument
from raytrain.experiment.search.assigned import with_argument_set
from raytrain.experiment.search.combination import CombinationError
from raytrain.experiment.search.grid import checked_axis
from raytrain.experiment.search.written_grid import with_values, without_dependent
from raytrain.experiment.trial_checks import RepeatedError, refuse_what_earlier_versions_took
from raytrain.experiment.user_code import read_user_code, with_user_code_read
from raytrain.experiment.yaml_source import MAX_BYTES, MAX_VALUES, Keys, YamlSource, dump_yaml, parse_value, read_yaml
from raytrain.storage.folder import Folder
from raytrain.storage.typed_path import is_a_file
from raytrain.training.recipe import Recipe

STORED_HEAD = "# The experiment as the run has it, with every default.\n"
"""First line of the experiment of a run folder; files of earlier versions have none."""
STORED_END = "# end of the experiment\n"
"""Last line of a file that begins with `STORED_HEAD`."""


def read_experiment(
    path: Path, *, overrides: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> Experiment:
    """Return the experiment in the file at `path`.

    Relative paths in the file start from its folder: those of data sets, learning curves, code and weights.

    Args:
        path: A YAML file, or a pipe, in which relative paths start from the working folder.
        overrides: Recipe fields to set; where the grid has such an axis, it keeps this value alone.
        changes: Other top-level keys to set, such as `name`, `seeds` or `asha`; a mapping is merged.

    Raises:
        ExperimentError: Anything about the file, the overrides or a resulting trial is invalid.
    """
    source = read_yaml(path)
    refuse_unknown_keys(source)
    folder = path.parent if is_a_file(path) else Path()  # a pipe is in no folder
    values = with_user_code_read(source, folder=folder)
    axes = (changes or {}).get("grid")
    replaced = "dataset" in (overrides or {}) or (isinstance(axes, Mapping) and "dataset" in axes)
    values = with_paths_from(source, values, folder=folder, replaced=replaced)
    return _build(source, overrides or {}, {"name": path.stem, **values}, changes or {})


def stored_text(experiment: Experiment) -> str:
    """Return an experiment as its run folder keeps it: with every default, and marks by which a cut is noticed."""
    return f"{STORED_HEAD}{dump_yaml(experiment.model_dump(mode='json'))}{STORED_END}"


def read_run(folder: Folder) -> Experiment:
    """Return the experiment that was run in a run folder.

    Raises:
        RunFolderError: It cannot be read, or is of another version.
    """
    where = f"{folder}/experiment.yaml"
    try:
        text = folder.read("experiment.yaml", most=10 * MAX_BYTES).decode()  # every default is in it
        _refuse_cut(text)
        return Experiment.model_validate(parse_value(text, name=where, most_items=MAX_VALUES))
    except StorageError:
        raise
    except (OSError, ValueError, ExperimentError) as error:
        reason = _first_problem(error) if isinstance(error, ValidationError) else first_line(error)
        raise RunFolderError(
            f"{where}: cannot be read, or is of another raytrain version: {reason.removeprefix(f'{where}: ')}\n"
            f"Put a copy of the experiment file there, with `name: {folder.name}` in it."
        ) from error


def _refuse_cut(text: str) -> None:
    if text.startswith(STORED_HEAD) and STORED_END not in text:
        raise ValueError("its end is missing")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where + ': ' if where else ''}{first['msg']}, given {_short_repr(first['input'])}"


def default_experiment(
    name: str, *, overrides: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> Experiment:
    """Return the experiment that has one trial, the default recipe with `overrides`."""
    return _build(YamlSource("", {}, {}), overrides or {}, {"name": name}, changes or {})


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        if (
            both and key == "grid"
        ):  # an axis of the command line takes the place of those of its name, wherever they are
            merged[key] = without_dependent(merged[key], value)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _build(
    source: YamlSource, overrides: Mapping[str, Any], values: Mapping[str, Any], changes: Mapping[str, Any]
) -> Experiment:
    overrides = {
        field: read_user_code(field, value, folder=Path(), where=f"--set {field}={_short_repr(value)}")
        for field, value in overrides.items()
    }
    if "seed" in overrides and changes.get("seeds") is not None:
        seeds = str(changes["seeds"]).strip("[]()").replace(", ", ",")
        raise ExperimentError(f"--set seed={overrides['seed']} and --seeds {seeds} were given; give one of them")
    try:
        left_out = "asha" in changes and changes["asha"] is None
        if left_out and "asha" in values:  # it is to be right all the same
            Experiment.model_validate({"name": "asha", "asha": values["asha"]})
        written = _override(_merged(values, changes), overrides)
        experiment = Experiment.model_validate(written)
        refuse_what_earlier_versions_took(experiment, options=changes, written=written, overrides=overrides)
    except ValidationError as error:
        raise ExperimentError(_locate(error, source, overrides, changes)) from None
    except CombinationError as error:
        raise ExperimentError(_locate_combination(error, source, overrides)) from None
    except RepeatedError as error:
        in_file = source.name and not _set_by(changes, error.path)
        where = source.where(error.path) if in_file else ".".join(map(str, error.path))
        raise ExperimentError(f"{where}: {error}") from None
    except ExperimentError as error:
        raise ExperimentError(f"{source.name}: {error}" if source.name else str(error)) from None
    return experiment


def _override(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    if not overrides:
        return values
    values = dict(values)
    recipe: Any = values.get("recipe") or {}
    if isinstance(recipe, dict):
        values["recipe"] = {**recipe, **{field: one for field, one in overrides.items() if not is_argument(field)}}
    if isinstance(values.get("grid"), dict):
        # an axis of one value, not none: without a grid, `include` alone would be left
        values["grid"] = with_values(values["grid"], overrides)
    if isinstance(values.get("include"), list):
        values["include"] = [
            {**entry, **{field: overrides[field] for field in entry if field in overrides}}
            if isinstance(entry, dict)
            else entry
            for entry in values["include"]
        ]
    if "seed" in overrides:
        values.pop("seeds", None)
    for axis in filter(is_argument, overrides):
        values = with_argument_set(values, axis, overrides[axis])
    return values


def _locate(
    error: ValidationError, source: YamlSource, overrides: Mapping[str, Any], changes: Mapping[str, Any]
) -> str:
    first, *others = error.errors(include_url=False)
    loc = first["loc"]
    if loc == ("grid",):
        loc = _axis_at_fault(source) or loc
    path: Keys = _in_file(loc, source)
    if first["type"] == "value_error":
        problem = str(first["msg"]).removeprefix("Value error, ")
    elif first["type"] == "extra_forbidden":
        problem = unknown_key(loc, of_recipe=error.title == Recipe.__name__)
    elif first["type"] == "missing":
        problem = f"{loc[-1]} is missing; it must be given"
    else:
        # the members of a union, such as "auto" or a number, are reported one by one
        same = [first, *(other for other in others if other["loc"][:-1] == first["loc"][:-1] == path)]
        problem = f"given {_short_repr(first['input'])}; must be {' or '.join(map(_expected, same))}"
    field = loc[1] if len(loc) > 1 and loc[0] == "recipe" else None
    if said := [name for name in overrides if name == field or (is_argument(name) and name.startswith(f"{field}."))]:
        return f"{' '.join(f'--set {name}={_short_repr(overrides[name])}' for name in said)}: {problem}"
    if first["type"] == "extra_forbidden":  # those of the file have been refused before
        return problem
    if _set_by(changes, loc):  # an option said it, not the file
        return f"{'.'.join(map(str, loc[:2]))}: {problem}"
    where = source.where(path) + ": " if source.name else ""
    named = ".".join(str(part) for part in path)
    return f"{where}{named + ': ' if named else ''}{problem}"


def _locate_combination(error: CombinationError, source: YamlSource, overrides: Mapping[str, Any]) -> str:
    loc = error.cause.errors()[0]["loc"]
    field = str(loc[0]) if loc else ""
    problem = _locate(error.cause, YamlSource("", {}, {}), overrides, {})
    for path, value in _listed(source, field):
        if field in error.changes and _same(value, error.changes[field]):
            return f"{source.where(path)}: grid.{field}: {problem.removeprefix(f'{field}: ')}"
    shown = ", ".join(f"{name}: {_short_repr(value)}" for name, value in error.changes.items())
    section: Keys = ("grid",)
    entries = source.values.get("include")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if _same(entry, error.changes):
            section = ("include", index, field)
    where = f"{source.where(section)}: " if source.name else ""
    return f"{where}the trial {{{shown}}}: {problem}" if shown else f"{where}{problem}"


def _listed(source: YamlSource, field: str) -> list[tuple[Keys, Any]]:
    """Return the values that a file lists for an axis, each with its path; none of what options have replaced."""
    axes = source.values.get("grid")
    axis = axes.get(field) if isinstance(axes, dict) else None
    path: Keys = ("grid", field)
    if isinstance(axis, dict) and "choice" in axis:
        path, axis = (*path, "choice"), axis["choice"]
    return [((*path, index), value) for index, value in enumerate(axis)] if isinstance(axis, list | dict) else []


def _axis_at_fault(source: YamlSource) -> Keys:
    """Return the path of the first axis of a grid that is none, or () where it is another one's fault."""
    axes = source.values.get("grid")
    for field, axis in axes.items() if isinstance(axes, dict) else ():
        try:
            checked_axis(str(field), axis)
        except ValueError:
            return ("grid", field)
    return ()


def _set_by(changes: Mapping[str, Any], loc: tuple[str | int, ...]) -> bool:
    top = changes.get(str(loc[0])) if loc else None
    return (len(loc) > 1 and loc[1] in top) if isinstance(top, dict) else top is not None


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and one == other)  # nan is not equal to itself, and 1 is to True


_EXPECTED = {
    "tuple_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "bool_type": "true or false",
    "string_too_short": "text",
}


def _expected(error: Mapping[str, Any]) -> str:
    if expected := _EXPECTED.get(error["type"]):
        return expected
    return (
        str(error["msg"]).removeprefix("Input should be ").replace("a valid ", "a ").replace("a integer", "an integer")
    )


def _in_file(path: Keys, source: YamlSource) -> Keys:
    """Return `path` without the parts that pydantic adds for the members of a union."""
    longest = [path[:length] for length in range(len(path), 0, -1) if path[:length] in source.positions]
    return longest[0] if longest else path[:2]


def _short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
