"""A trained network as a program that runs without raytrain, and without the code of the network.

    model.pt2           torch.export.load("model.pt2").module()
    model.onnx          onnxruntime.InferenceSession("model.onnx")

Both map normalised images, (N, 3, H, W) float32 for any N, to logits, (N, classes) float32. They compute in float32,
whatever the precision of the training was. The file carries its description under the name "raytrain", and the JSON
beside it, model.pt2.json or model.onnx.json, has the same.
"""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raytrain.data.batches import normalize
from raytrain.errors import ExperimentError, ModelError, VerificationError
from raytrain.inference.model import Model
from raytrain.inference.model_file import description_values, refuse_to_replace, write_described

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
METADATA = "raytrain"
"""Name under which a program carries its description; in a .pt2 file with the ending `.json`."""
TOLERANCE = 1e-4
"""Largest difference between the logits of a program and those of its network, as a share of the largest logit, or of 1
where all are smaller."""
IMAGES = 16
"""Number of images of noise on which a program is compared with its network."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `raytrain[onnx]`."""

Run = Callable[[Tensor], Tensor]
"""A program at work: (N, 3, H, W) float32 to (N, classes) float32."""


class _Named(nn.Module):
    """A network whose input is called `images`, whatever its author calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)


def write_program(path: Path, model: Model, *, kind: str, force: bool) -> None:
    """Write a program that gives the logits of a model, and its description beside it.

    Args:
        path: Target file.
        model: The model, on the CPU.
        kind: "torch_export" or "onnx".
        force: Whether to replace existing files.

    Raises:
        ExperimentError: A file is there, the folder is not, or a package is missing.
        ModelError: No program can be made of the network.
        VerificationError: The program gives other logits.
    """
    refuse_to_replace(path, force=force)
    content, values = program_of(model, kind=kind)
    write_described(path, content, {**values, kind: path.name})


def program_of(model: Model, *, kind: str) -> tuple[bytes, dict[str, Any]]:
    """Return the content of a program that gives the logits of a model, to `TOLERANCE`, and its description.

    Args:
        model: The model, on the CPU.
        kind: "torch_export" or "onnx".

    Raises:
        ExperimentError: A package that it takes is missing.
        ModelError: No program can be made of the network.
        VerificationError: The program gives other logits.
    """
    build, load = _KINDS[kind]
    if kind == "onnx" and (missing := [one for one in ONNX_PACKAGES if importlib.util.find_spec(one) is None]):
        raise ExperimentError(
            f"--format onnx needs {' and '.join(missing)}, not installed here; install the extra, "
            "in the checkout of raytrain: pip install '.[onnx]'"
        )
    network = _Named(model.network.to(memory_format=torch.contiguous_format)).eval()  # pyright: ignore[reportCallIssue]
    values = {**description_values(model.description), "program": _usage(model, kind)}
    arch = model.description.recipe["arch"]
    images = _images(model)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporters, about their own parts
            content = build(network, images[:2], json.dumps(values))
            # a batch of another size than the one that it was made with, and a single image
            given = torch.cat([load(content)(part) for part in (images[:-1], images[-1:])])
            wanted: Tensor = network(images)
    except Exception as error:  # whatever an exporter may fail with
        raise ModelError(
            f"{arch} cannot be exported with --format {kind}: {type(error).__name__}: {_first_line(error)}\n"
            "A program cannot hold code that looks at the numbers of an image or at the size of a batch. Export the "
            "weights: --format weights."
        ) from error
    difference = float((given - wanted).abs().max() / max(1.0, float(wanted.abs().max())))
    if not difference <= TOLERANCE:  # nan too
        raise VerificationError(
            f"{arch} as {kind} gives other logits than the network: on {IMAGES} images they differ by up to "
            f"{difference:.2g}, and {TOLERANCE:g} is allowed. Nothing was written; export the weights: "
            "--format weights."
        )
    return content, values


def _usage(model: Model, kind: str) -> dict[str, Any]:
    """Return what it takes to use a program, beside the names of the classes."""
    size = model.image_size
    return {
        "format": kind,
        "input": {"name": INPUT, "type": "float32", "shape": [BATCH, 3, size, size]},
        "preprocessing": {
            "image_size": size,
            "channels": "RGB",
            "background": model.background,
            "mean": list(model.description.mean),
            "std": list(model.description.std),
            "steps": [
                f"turn the image as its EXIF data say, and put it on {model.background} where it is transparent",
                f"crop it to a centred square and resize that to {size} x {size} pixels: PIL.ImageOps.fit, bilinear",
                "divide by 255, subtract mean and divide by std, channel by channel",
            ],
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": [BATCH, len(model.classes)],
            "meaning": "logits, in the order of classes; their softmax is the probability of each class",
        },
        "checked": {"images": IMAGES, "tolerance": TOLERANCE},
    }


def _images(model: Model) -> Tensor:
    """Return images of noise, normalised: (IMAGES, 3, H, W) float32."""
    shape = (IMAGES, 3, model.image_size, model.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return normalize(pixels, mean=model.description.mean, std=model.description.std)


def _exported(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(network, (example,), dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH)}})


def _torch_export(network: nn.Module, example: Tensor, metadata: str) -> bytes:
    stream = io.BytesIO()
    torch.export.save(_exported(network, example), stream, extra_files={f"{METADATA}.json": metadata})
    return stream.getvalue()


def _load_torch_export(content: bytes) -> Run:
    return torch.export.load(io.BytesIO(content)).module()


def _onnx(network: nn.Module, example: Tensor, metadata: str) -> bytes:
    program = torch.onnx.export(
        _exported(network, example), (), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
    )
    assert program
    made: Any = program.model_proto
    made.metadata_props.add(key=METADATA, value=metadata)
    generated = made.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # such as "s34"
    for value in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == generated:
                dimension.dim_param = BATCH
    return made.SerializeToString()


def _load_onnx(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


_KINDS: dict[str, tuple[Callable[[nn.Module, Tensor, str], bytes], Callable[[bytes], Run]]] = {
    "torch_export": (_torch_export, _load_torch_export),
    "onnx": (_onnx, _load_onnx),
}


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
