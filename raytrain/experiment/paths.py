"""Paths to data in an experiment file: relative to the file, as those of code and weights are."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raytrain.data.named import DATASETS
from raytrain.errors import ExperimentError
from raytrain.experiment.yaml_source import Keys, YamlSource
from raytrain.storage.typed_path import is_there
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of


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
        if name in DATASETS or name.startswith(("hf:", "~")) or "://" in name or reference_of(name_of(name)):
            return name
        from_file = os.path.normpath(folder / name)
        address, mark, _ = name.rpartition("#")  # the configuration of a data set; or a part of its name
        if is_there(from_file) or (mark and is_there(folder / address)):
            return from_file
        if is_there(name) and not replaced:
            raise ExperimentError(
                f"{source.where(path)}: dataset: {from_file} is not there; a relative path in an experiment file "
                f"starts from the file. To name {name} in the working folder, write {os.path.relpath(name, folder)}, "
                f"or give --set dataset={name}"
            )
        return from_file if os.sep in name else name

    def curves(name: str, path: Keys) -> str:
        del path
        return os.path.normpath(folder / name) if "://" not in name and is_there(folder / name) else name

    changed = dict(values)
    for section in ("recipe", "grid", "include", "exclude"):
        changed[section] = _fields(values.get(section), (section,), dataset)
    if isinstance(asha := values.get("asha"), dict) and "curves" in asha:
        changed["asha"] = {**asha, "curves": _each(asha["curves"], ("asha", "curves"), curves)}
    return {key: changed[key] for key in values}


def _fields(values: Any, path: Keys, change: Callable[[str, Keys], str]) -> Any:
    """Return a section with each `dataset` changed: of a mapping, of a list of them, of the values of an axis."""
    if isinstance(values, list):
        return [_fields(one, (*path, index), change) for index, one in enumerate(values)]
    if not isinstance(values, dict):
        return values
    return {
        key: _each(value, (*path, key), change) if key == "dataset" else _fields(value, (*path, key), change)
        for key, value in values.items()
    }


def _each(value: Any, path: Keys, change: Callable[[str, Keys], str]) -> Any:
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, list):
        return [_each(one, path, change) for one in value]
    if isinstance(value, dict):  # the values of an axis, each with axes of its own; or code with arguments
        return {_each(key, path, change): below for key, below in value.items()}
    return value
