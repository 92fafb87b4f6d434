"""Weights from elsewhere for a network: read from the bytes of a file, and fitted into the network."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from raytrain.errors import ModelError
from raytrain.models.head import head_of

WRAPPED = ("ema", "state_dict_ema", "state_dict", "model_state_dict", "model", "weights")
"""Names under which files of training runs keep a state dict; of several, the first is taken."""
PREFIX = "module."
"""What DistributedDataParallel and `torch.optim.swa_utils.AveragedModel` put before the names of a network."""
COUNT = "n_averaged"
"""What AveragedModel has beside its network."""
NAMED = 5
"""Most weights that a message names."""


def read_weights(content: bytes, *, name: str) -> dict[str, Tensor]:
    """Return the weights in a file, on the CPU. No code in it is run.

    Args:
        content: Bytes of a .safetensors file, or of one that `torch.save` wrote: a state dict, or a dict with one under
            one of the names `WRAPPED`.
        name: What messages call the file.

    Raises:
        ModelError: It is damaged, or holds something else.
    """
    try:
        if content[8:9] == b"{":  # the header of .safetensors, after its length
            found: Any = safetensors.torch.load(content)
        else:
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        if "Unsupported global" in str(error):
            raise ModelError(
                f"{name}: holds more than weights, and such a file could run code; save the network's state_dict() "
                "alone, with torch.save or as .safetensors"
            ) from None
        reason = next(iter(str(error).splitlines()), "")
        raise ModelError(f"{name}: is damaged, or no file of weights: {reason}") from error
    for key in WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found:
        raise ModelError(f"{name}: holds no weights; give a file with the state_dict of a network")
    if others := [str(one) for one, value in found.items() if not isinstance(value, Tensor)]:
        raise ModelError(f"{name}: holds other things than weights, such as {others[0]!r}; save a state_dict alone")
    return dict(found)


def as_safetensors(weights: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a .safetensors file with the weights."""
    return safetensors.torch.save({name: tensor.contiguous().clone() for name, tensor in weights.items()})


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Give a network weights of its own kind, in place, as `load_state_dict` does.

    A state dict says the version of each module beside the weights, and some modules refuse one without, such as
    torchvision's MNASNet. A plain dict and a .safetensors file have lost the versions: the network's own are taken.

    Args:
        model: The network.
        weights: Weights by name.
        strict: Whether the names must be those of the network.

    Raises:
        RuntimeError: They do not fit.
    """
    versioned: Any = OrderedDict(weights)
    versioned._metadata = getattr(model.state_dict(), "_metadata", None)
    model.load_state_dict(versioned, strict=strict)


def initialise(model: nn.Module, weights: Mapping[str, Tensor], *, classes: int, strict: bool, name: str) -> list[str]:
    """Give a network weights from elsewhere, in place; return the names of those of its own that it keeps.

    The prefix `module.` of all names, from DistributedDataParallel or a moving average, is left out where the network's
    own names fit better without it. The head keeps its own where it has another shape there, or is missing there. A
    counter of batches (`num_batches_tracked`) may be missing, as it is in old files.

    Args:
        model: The network.
        weights: Weights by name.
        classes: Number of outputs.
        strict: Whether anything else that does not fit is an error; else it is left out.
        name: What messages call the weights.

    Raises:
        ModelError: They do not fit; the message names what does not. Without `strict`: nothing fits.
    """
    own = model.state_dict()
    weights = _unwrapped(weights, own)
    head = head_of(model, classes)
    unlike = [one for one in own if one in weights and weights[one].shape != own[one].shape]
    missing = [one for one in own if one not in weights]
    left_out = list(head) if set(head) & {*unlike, *missing} else []
    extra = [one for one in weights if one not in own]
    unlike, missing = ([one for one in those if one not in left_out] for those in (unlike, missing))
    missing = [one for one in missing if not one.endswith("num_batches_tracked")]
    kept = [*left_out, *unlike, *missing]
    fitting = {one: weights[one] for one in own if one in weights and one not in kept}
    shapes = [f"{one} {tuple(weights[one].shape)} there, {tuple(own[one].shape)} here" for one in unlike]
    problems = [
        _listed(those, what)
        for those, what in ((shapes, "of another shape"), (missing, "missing there"), (extra, "not in the network"))
        if those
    ]
    if problems and strict:
        raise ModelError(
            f"{name}: does not fit the network: {'; '.join(problems)}.\n"
            "Give weights of the same network, or set init_strict: false to leave out what does not fit."
        )
    if not any(one in fitting for one, _ in model.named_parameters()):
        raise ModelError(f"{name}: no weight in it fits the network: {'; '.join(problems) or 'only the head would'}")
    load_weights(model, fitting, strict=False)
    return [*kept, *extra]


def _unwrapped(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights by the names that they have in the network itself, and without the count of a moving average."""
    if COUNT not in own:
        weights = {name: tensor for name, tensor in weights.items() if name != COUNT}
    plain = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items() if name.startswith(PREFIX)}
    fits_better = len(own.keys() & plain.keys()) > len(own.keys() & weights.keys())
    return plain if len(plain) == len(weights) and fits_better else weights


def _listed(names: list[str], what: str) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {what}: {', '.join(names[:NAMED])}{more}"
