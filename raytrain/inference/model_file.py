"""A trained model as two files: its weights, and a JSON file that says what they are.

    model.pth           the state_dict; or model.safetensors
    model.json          recipe, classes, normalisation, epoch, accuracies, SHA-256 of the weights

With the JSON the weights can be used where neither the run nor the training images are. The other formats carry it in
themselves, too, and may stand alone. Theirs is called model.safetensors.json, model.onnx.json or model.pt2.json, so
that one model may lie in one folder in every format. The last two are programs, which run without raytrain:
`raytrain.inference.program`.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from raytrain.errors import ExperimentError, ModelError, first_line
from raytrain.storage.bounded import read_bounded
from raytrain.storage.replacing import not_written, replace_file
from raytrain.storage.typed_path import is_there
from raytrain.user_code.source import Files

FORMAT = 1
"""Version of the JSON format; it increases with a change that older versions of raytrain cannot read."""
SUFFIXES = (".pth", ".safetensors")
WEIGHTS = "weights"
FORMATS: dict[str, tuple[str, ...]] = {WEIGHTS: SUFFIXES, "torch_export": (".pt2",), "onnx": (".onnx",)}
"""Endings of the file that `raytrain export` writes, by format; the first is that of its own choice."""
MAX_BYTES = 4 * 2**30
"""Largest size of a file of weights that is read, in bytes: a billion parameters in single precision."""
MAX_DESCRIPTION = 16 * 2**20
"""Largest size of the JSON file beside it, in bytes; the user's code, which may be in it, has at most 5 MB."""
_KEY = "raytrain"


@dataclass(frozen=True)
class ModelDescription:
    """The description of a file of weights.

    Attributes:
        run: Name of the run folder.
        trial: Id of the trial.
        which: "best" for the weights whose accuracies the run's table shows, "last" for those after the last epoch.
        epoch: Epoch after which the weights were saved.
        recipe: Every field of the recipe, by name.
        classes: Names of the classes, in the order of the network's outputs.
        mean: Mean per channel (red, green, blue), on the scale [0, 1].
        std: Standard deviation per channel (red, green, blue), on the scale [0, 1].
        precision: Arithmetic of the training and of the measured accuracies: fp32, bf16 or fp16.
        val_accuracy: Validation accuracy of these weights, a fraction in [0, 1]; None if not measured.
        test_accuracy: Test accuracy of these weights, a fraction in [0, 1]; None if not measured.
        fingerprint: Fingerprint of the data set of training and test; None if unknown.
        versions: Versions of raytrain and torch, by name.
        code: Text of the user's code that the recipe names, by digest and file; it is in the file only where there is
            some.
    """

    run: str
    trial: str
    which: str
    epoch: int
    recipe: dict[str, Any]
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    precision: str
    val_accuracy: float | None
    test_accuracy: float | None
    fingerprint: str | None
    versions: dict[str, str]
    code: dict[str, Files] = field(default_factory=dict)


_DESCRIPTION = TypeAdapter(ModelDescription)


def description_of(path: Path) -> Path:
    """Return the file that describes a model file: model.json of model.pth, model.onnx.json of model.onnx."""
    return path.with_suffix(".json") if path.suffix == ".pth" else path.with_name(f"{path.name}.json")


def write_model(path: Path, description: ModelDescription, weights: Mapping[str, Tensor], *, force: bool) -> None:
    """Write the weights to `path` and the description beside them.

    Args:
        path: Target file, whose name ends in .pth or .safetensors.
        description: Description of the weights.
        weights: State dict of the network, on the CPU.
        force: Whether to replace existing files.

    Raises:
        ExperimentError: The suffix is another one, a file is there, or the folder is not.
    """
    if path.suffix not in SUFFIXES:
        raise ExperimentError(f"{path}: ends in {path.suffix or 'no suffix'}; name it .pth or .safetensors")
    refuse_to_replace(path, force=force)
    values = description_values(description)
    content = _safetensors(weights, values) if path.suffix == ".safetensors" else _pickled(weights)
    write_described(path, content, {**values, "weights": path.name})


def description_values(description: ModelDescription) -> dict[str, Any]:
    """Return a description as JSON has it."""
    values = {"format": FORMAT, **asdict(description)}
    if not description.code:
        del values["code"]  # an older raytrain reads it
    return values


def refuse_to_replace(path: Path, *, force: bool) -> None:
    """Raise ExperimentError if a file is there, or its description, and `force` does not say to replace them."""
    described = description_of(path)
    if existing := [str(one) for one in (path, described) if is_there(one) and not force]:
        raise ExperimentError(f"{' and '.join(existing)} would be replaced; choose another --output, or add --force")


def write_described(path: Path, content: bytes, values: Mapping[str, Any]) -> None:
    """Write a file, and beside it a JSON file with `values` and the SHA-256 of the content.

    Raises:
        StorageError: The disk is full.
        ExperimentError: The folder is not there, or cannot be written to.
    """
    described = description_of(path)
    said = {**values, "sha256": hashlib.sha256(content).hexdigest()}
    try:
        # the weights first: a description never speaks of weights that are not there
        replace_file(path, content)
        replace_file(described, json.dumps(said, indent=1).encode() + b"\n")
    except OSError as error:
        raise not_written(path, error) from error


def format_of(path: Path | None, given: str | None) -> str:
    """Return the format of the file that is to be written.

    Args:
        path: The file; None if none is named.
        given: Format that the user asks for; None if none is.

    Raises:
        ExperimentError: The file's name does not end as files of the format, or of any, do.
    """
    if path is None:
        return given or WEIGHTS
    found = next((name for name, suffixes in FORMATS.items() if path.suffix in suffixes), None)
    if found is None or given not in (None, found):
        suffixes = [suffix for name, those in FORMATS.items() if given in (None, name) for suffix in those]
        named = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        as_said = f", as --format {given} says" if given else ""
        raise ExperimentError(f"{path}: ends in {path.suffix or 'no suffix'}; name it {named}{as_said}")
    return found


def read_model(path: Path) -> tuple[ModelDescription, dict[str, Tensor]]:
    """Return what `write_model` wrote.

    Raises:
        ModelError: A file is missing or damaged, they do not belong together, or a newer raytrain wrote them.
    """
    if path.suffix == ".json":
        raise ModelError(f"{path}: describes a model; name the file of its weights, .pth or .safetensors, beside it")
    if path.suffix in FORMATS["torch_export"] + FORMATS["onnx"]:
        raise ModelError(
            f"{path}: this command reads weights, and this file is a program for PyTorch or ONNX Runtime; name a file "
            "of weights: raytrain export RUN -o model.pth"
        )
    try:
        content = read_bounded(path, most=MAX_BYTES)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read: {error.strerror}; write one with: raytrain export RUN -o model.pth"
        ) from error
    described = description_of(path)
    try:
        description = read_bounded(described, most=MAX_DESCRIPTION)
    except FileNotFoundError:
        description = None
    except OSError as error:
        raise ModelError(f"{described}: cannot be read: {error.strerror}; export the model again") from error
    if description is not None:
        values = _json(description, str(described))
        if values.pop("sha256", None) != hashlib.sha256(content).hexdigest():
            raise ModelError(f"{described}: describes other weights than {path.name}; export both again")
        values.pop("weights", None)
    elif path.suffix == ".safetensors":
        values = _metadata(path)
    else:
        raise ModelError(f"{described}: is missing; it describes {path.name}, and export wrote it beside that file")
    return _description(values, str(described)), _tensors(path, content)


def _description(values: dict[str, Any], where: str) -> ModelDescription:
    if values.pop("format", None) != FORMAT:
        raise ModelError(f"{where}: has another format than {FORMAT}; use the version of raytrain that wrote it")
    values.setdefault("code", {})
    known = {one.name for one in fields(ModelDescription)}
    if values.keys() != known:
        differing = ", ".join(sorted(values.keys() ^ known))
        raise ModelError(f"{where}: is damaged: these fields are missing or unknown: {differing}")
    try:
        return _DESCRIPTION.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ModelError(f"{where}: is damaged: {name}: {first['msg'].lower()}; export the model again") from error


def _json(content: bytes | str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: is damaged: {error}; export the model again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{where}: does not describe a model; export it again")
    return values


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as opened:
            said: dict[str, str] = opened.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"{path}: is damaged, or not a safetensors file: {error}") from error
    if _KEY not in said:
        raise ModelError(f"{path}: was not written by raytrain, and there is no {description_of(path).name} beside it")
    return _json(said[_KEY], str(path))


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load(content)
        except SafetensorError as error:
            raise ModelError(f"{path}: is damaged, or not a safetensors file: {error}") from error
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelError(f"{path}: is damaged, or not a file of weights: {first_line(error)}") from error


def _pickled(weights: Mapping[str, Tensor]) -> bytes:
    stream = io.BytesIO()
    torch.save(weights, stream)
    return stream.getvalue()


def _safetensors(weights: Mapping[str, Tensor], values: Mapping[str, Any]) -> bytes:
    # a copy of each: the format has no room for two names of one weight, as networks with tied weights have them
    own = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
    return save(own, metadata={_KEY: json.dumps(values)})
