"""Paths to data in an experiment file: relative to the file, as those of code and weights are."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytrain.data.named import DATASETS
from raytrain.errors import ExperimentError
from raytrain.experiment.yaml_source import Keys, YamlSource
from raytrain.storage.typed_path import is_there
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of

Change = Callable[[str, Keys], str]
"""Takes a name and the keys that lead to it in the file."""


def with_paths_from(
    source: YamlSource, values: dict[str, Any], *, folder: Path, replaced: bool = False
) -> dict[str, Any]:
    """Return the values of an experiment file with its relative paths to data as the working folder has them.

    These are the paths of data sets, wherever the file says `dataset`, and of learning curves in `asha`. What is no
    path stays as it is: names of data sets and of runs, URIs, absolute paths, the user's own code.

    Args:
        source: The file, of which messages name the line.
        values: Its values, which are left as they are.
        folder: Its folder.
        replaced: Whether the command line gives another data set, so that those of the file are not looked for.

    Raises:
        ExperimentError: A relative path leads to something from the working folder, and to nothing from the file's.
    """
    if os.path.realpath(folder) == os.path.realpath("."):
        return values

    def dataset(name: str, path: Keys) -> str:
        if _is_no_path(name):
            return name
        found = _from_file(name, folder)
        address, mark, _ = name.rpartition("#")  # the configuration of a data set; or a part of its name
        if is_there(found) or (mark and is_there(_from_file(address, folder))):
            return f"./{found}" if _is_no_path(found) else found
        if (is_there(name) or (mark and is_there(address))) and not replaced:
            raise ExperimentError(_only_here(name, found, f"{source.where(path)}: dataset", folder, "--set dataset"))
        return found if os.sep in name else name

    def curves(name: str, path: Keys) -> str:
        if _is_no_path(name) or not (name.endswith(".parquet") or os.sep in name):  # a run by its name
            return name
        found = _from_file(name, folder)
        if is_there(name) and not is_there(found):
            raise ExperimentError(_only_here(name, found, f"{source.where(path)}: asha.curves", folder, ""))
        return found

    changed = {key: _fields(value, (key,), dataset) for key, value in values.items() if key == "recipe"}
    changed |= {key: _axes(value, (key,), dataset) for key, value in values.items() if key == "grid"}
    for section in {"include", "exclude"} & values.keys():
        entries = values[section]
        listed = isinstance(entries, list)
        changed[section] = [_fields(e, (section, i), dataset) for i, e in enumerate(entries)] if listed else entries
    if isinstance(asha := values.get("asha"), dict) and "curves" in asha:
        changed["asha"] = {**asha, "curves": _each(asha["curves"], ("asha", "curves"), curves)}
    return values | changed


def _is_no_path(name: str) -> bool:
    """Return whether a name is none of a file or folder, or one that does not depend on a folder."""
    elsewhere = not name or Path(name).is_absolute() or name.startswith(("hf:", "~")) or "://" in name
    return elsewhere or name in DATASETS or reference_of(name_of(name)) is not None


def _from_file(name: str, folder: Path) -> str:
    """Return the path from the working folder to what a relative path in a file of `folder` names."""
    found = f"{os.path.relpath(folder)}/{name}"
    short = os.path.normpath(found)
    return short if os.path.realpath(short) == os.path.realpath(found) else found  # a/.. may lead through a link


def _only_here(name: str, found: str, what: str, folder: Path, option: str) -> str:
    """Return the message about a path that leads to something from the working folder only."""
    advice = f", or give {option}={name}" if option else ""
    return (
        f"{what}: {found} is not there; a relative path in an experiment file starts from the file. To name {name} in "
        f"the working folder, write {os.path.relpath(name, folder)}{advice}"
    )


def _fields(values: Any, path: Keys, change: Change) -> Any:
    """Return the fields of a recipe with its data set changed."""
    if not isinstance(values, Mapping) or "dataset" not in values:
        return values
    return {**values, "dataset": _each(values["dataset"], (*path, "dataset"), change)}


def _axes(values: Any, path: Keys, change: Change) -> Any:
    """Return the axes of a grid with the data sets changed, also those of axes below a value."""
    if not isinstance(values, Mapping):
        return values
    found: dict[Any, Any] = {}
    for field, axis in values.items():
        keys = (*path, field)
        if isinstance(axis, Mapping) and "choice" not in axis:
            axis = {value: _axes(below, (*keys, value), change) for value, below in axis.items()}
        found[field] = _each(axis, keys, change) if field == "dataset" else axis
    return found


def _each(value: Any, path: Keys, change: Change) -> Any:
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, list):
        return [_each(one, path, change) for one in value]
    if isinstance(value, Mapping) and "choice" in value:
        return {**value, "choice": _each(value["choice"], path, change)}
    if isinstance(value, Mapping):  # values with axes of their own
        return {_each(key, path, change): below for key, below in value.items()}
    return value
