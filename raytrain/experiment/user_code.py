"""The user's code that an experiment names: read before it is checked, so that recipes name it with its digest."""

from pathlib import Path
from typing import Any

from raytrain.errors import ExperimentError
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.yaml_source import Keys, YamlSource
from raytrain.storage.typed_path import is_there
from raytrain.training.choices import BUILT_IN, TAKE_USER_CODE
from raytrain.training.initial.sources import weights_in
from raytrain.user_code.installed import installed_reference
from raytrain.user_code.reference import Reference, digests_in, mapped, reference_of, texts_in, without_digest
from raytrain.user_code.source import kept, read


def code(name: str, *, folder: str | Path = ".") -> str:
    """Return the name of your own code as a recipe takes it, in Python: with the digest of its source.

        recipe = raytrain.Recipe(arch=raytrain.code("my_net.py:MyNet"))

    Args:
        name: Such as "my_net.py:MyNet" or "my_package.nets:make".
        folder: Folder that the path of a file is relative to.

    Raises:
        ExperimentError: It is no such name, or there is no such code, or it is not Python.
    """
    if reference_of(name) is None:
        raise ExperimentError(f"{name!r} names no code; write my_net.py:MyNet, or my_package.nets:make")
    return str(read_user_code("arch", name, folder=Path(folder), where=name))


def read_user_code(field: str, value: Any, *, folder: Path, where: str) -> Any:
    """Return a recipe field's value with the digest in each reference to the user's code, which is then kept.

    So it does with names that installed packages give, and with those of weights in `init`.

    Args:
        field: Name of the field; in others than `TAKE_USER_CODE` and `init` nothing is a reference.
        value: Value as a file or an option gives it.
        folder: Folder that paths are relative to.
        where: What messages begin with.

    Raises:
        ExperimentError: Code is missing, cannot be read or is not Python, or weights are missing.
    """
    if field == "init":
        try:
            return weights_in(value, folder=folder)
        except ExperimentError as error:
            raise ExperimentError(f"{where}: {error}") from None

    def with_digest(name: str) -> str:
        written = reference_of(name)
        reference = written or _of_a_package(field, name, where=where)
        if reference is None or (field == "dataset" and is_there(folder / name)):
            return name
        if reference.digest:
            if kept(reference.digest):
                return name
            raise ExperimentError(
                f"{where}: {name} is code as a run folder names it; name your file: {without_digest(name)}"
            )
        try:
            return str(read(reference, folder=folder, installed=written is None))
        except ExperimentError as error:
            raise ExperimentError(f"{where}: {error}") from None

    return mapped(value, with_digest) if field in TAKE_USER_CODE else value


def _of_a_package(field: str, name: str, *, where: str) -> Reference | None:
    if name in BUILT_IN.get(field, ()) or not name.replace("-", "_").isidentifier():
        return None
    try:
        return installed_reference(field, name)
    except ExperimentError as error:
        raise ExperimentError(f"{where}: {error}") from None


def with_user_code_read(source: YamlSource, *, folder: Path) -> dict[str, Any]:
    """Return the values of an experiment file with the digest in each reference.

    Args:
        source: The file.
        folder: Its folder.

    Raises:
        ExperimentError: Code is missing, cannot be read or is not Python.
    """

    def fields(values: Any, path: Keys) -> Any:
        if not isinstance(values, dict):
            return values
        return {field: read_field(field, value, (*path, field)) for field, value in values.items()}

    def read_field(field: str, value: Any, path: Keys) -> Any:
        if path[0] == "grid" and isinstance(value, dict) and list(value) == ["choice"]:  # a list, said as a range is
            return {"choice": read_field(field, value["choice"], (*path, "choice"))}
        found = read_user_code(field, value, folder=folder, where=f"{source.where(path)}: {field}")
        if path[0] == "grid" and isinstance(found, dict):  # values with axes of their own
            if len(found) < len(value):
                names = ", ".join(map(str, value))
                raise ExperimentError(
                    f"{source.where(path)}: {field}: two of {names} are the same; put all axes of it below one of them"
                )
            return {name: fields(below, (*path, name)) for name, below in found.items()}
        return found

    changed = dict(source.values)
    for section in ("recipe", "grid"):
        if section in changed:
            changed[section] = fields(changed[section], (section,))
    for section in ("include", "exclude"):
        if isinstance(entries := changed.get(section), list):
            changed[section] = [fields(entry, (section, index)) for index, entry in enumerate(entries)]
    return changed


def texts_of_code(experiment: Experiment) -> list[str]:
    """Return the texts of components in an experiment that name code of the user's, each once."""
    return texts_in(experiment.model_dump(mode="json"))


def digests_of(experiment: Experiment) -> list[str]:
    """Return the digests of the user's code that an experiment names, each once."""
    return digests_in(texts_of_code(experiment))
