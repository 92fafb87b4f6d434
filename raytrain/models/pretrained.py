"""Pretrained weights of the libraries whose networks a recipe can name, by the library's own loader and its cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TextIO

from raytrain.errors import ModelError
from raytrain.models.libraries import library_model

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Environment variable with which `torch.load` runs no code from a file, whoever calls it."""
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Networks of torchvision whose weights can be loaded with their auxiliary heads only, with which they return several
tensors; and they rescale the images themselves, but only where they are built with their weights."""


_OF_NETWORK = (OSError, HTTPException)
"""What a download fails with."""


def pretrained_weights(name: str, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """Return the pretrained weights of a library's network, those of its head for the classes they were trained on.

    Args:
        name: Name of the network, such as `torchvision:resnet18`.
        arguments: Arguments that the recipe gives it.

    Raises:
        ModelError: The library has none, or none that a network without auxiliary heads can start from, or they are
            neither in its cache nor can be loaded.
    """
    found = library_model(name)
    assert found, "a recipe checks that the network is a library's"
    library, model = found
    try:
        with _weights_only(), _download_unsaid():
            return dict(_LOADERS[library](model, arguments).state_dict())
    except ModelError:
        raise
    except Exception as error:  # whatever a loader and a network between here and its host may fail with
        reason = next(iter(str(error).strip().splitlines()), "")
        without = f"Without network, {_PLACES[library](model)}; or give" if isinstance(error, _OF_NETWORK) else "Give"
        raise ModelError(
            f"init: the pretrained weights of {name} cannot be loaded ({type(error).__name__}: {reason}).\n"
            f"{without} a file: init: model.safetensors."
        ) from error


def _torchvision(model: str, arguments: dict[str, Any]) -> nn.Module:
    from torchvision import models

    if model in WITH_AUXILIARY_HEADS:
        raise ModelError(
            f"init: pretrained is not for torchvision:{model}, whose weights belong to a network with auxiliary heads; "
            "choose another network, such as timm:inception_v3"
        )
    weights = next(iter(models.get_model_weights(model)), None) and models.get_model_weights(model).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    if weights is None:
        raise ModelError(f"init: torchvision has no pretrained weights of {model}; give a file")
    return models.get_model(model, weights=weights, progress=False, **arguments)


def _timm(model: str, arguments: dict[str, Any]) -> nn.Module:
    import timm

    if not timm.is_model_pretrained(model):
        tagged = ", ".join(f"timm:{one}" for one in timm.list_pretrained(f"{model.partition('.')[0]}.*")[:3])
        raise ModelError(
            f"init: timm has no pretrained weights of {model}; give {'one of ' + tagged if tagged else 'a file'}"
        )
    return timm.create_model(model, pretrained=True, **arguments)


_LOADERS: dict[str, Callable[[str, dict[str, Any]], Any]] = {"torchvision": _torchvision, "timm": _timm}


def _place_of_torchvision(model: str) -> str:
    from torchvision import models

    url: str = models.get_model_weights(model).DEFAULT.url  # pyright: ignore[reportAttributeAccessIssue]
    return f"put the file {url} into $TORCH_HOME/hub/checkpoints (~/.cache/torch/hub/checkpoints)"


def _place_of_timm(_model: str) -> str:
    return (
        "fill the cache of huggingface_hub ($HF_HOME, ~/.cache/huggingface) on a machine that has network, and copy it"
    )


_PLACES: dict[str, Callable[[str], str]] = {"torchvision": _place_of_torchvision, "timm": _place_of_timm}


@contextmanager
def _weights_only() -> Generator[None]:
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WEIGHTS_ONLY]
        else:
            os.environ[WEIGHTS_ONLY] = before


@contextmanager
def _download_unsaid() -> Generator[None]:
    """Leave out what torch.hub says of a download: on standard output, among our results, or on standard error."""
    out: Any = _WithoutDownloads(sys.stdout)
    err: Any = _WithoutDownloads(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        yield


class _WithoutDownloads:
    """A stream without the lines of torch.hub, `Downloading: "URL" to FILE`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, unless it is such a line; return its length."""
        return len(text) if text.startswith('Downloading: "') else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
