"""The layers of a network in order, each with its parameters: what a learning rate that decays by layer counts."""

from collections.abc import Iterator, Sequence

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)
"""Modules that are looked into: their parts are layers of their own. Any other module is one layer, such as a residual
block or a block of a transformer."""


def layers_of(model: nn.Module, *, head: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return the trainable parameters of each layer of the backbone, in the order in which the layers were defined.

    A part without weights of two dimensions or more, such as BatchNorm, belongs to the layer before it. Parameters of
    the network itself, such as the positions of a vision transformer, belong to the first layer. Where that makes one
    layer of the whole backbone, because it is a module in another one, the parts of that module are the layers.

    Args:
        model: The network.
        head: Parameters of its head, which are in no layer.
    """
    parts = list(model.children())
    layers = _joined(parts, head)
    while len(layers) == 1 and any(list(part.children()) for part in parts):
        parts = [inner for part in parts for inner in (list(part.children()) or [part])]
        layers = _joined(parts, head)
    inside = {id(one) for layer in (*layers, head) for one in layer}
    own = [one for one in model.parameters() if one.requires_grad and id(one) not in inside]
    return [own + layers[0], *layers[1:]] if layers else [own]


def _joined(parts: Sequence[nn.Module], head: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    layers: list[list[nn.Parameter]] = []
    seen = {id(one) for one in head}
    for unit in (unit for part in parts for unit in _units(part)):
        new = [one for one in unit.parameters() if one.requires_grad and id(one) not in seen]
        seen |= {id(one) for one in new}
        if layers and all(one.ndim <= 1 for one in new):
            layers[-1] += new
        elif new:
            layers.append(new)
    return layers


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules in a container that are none, in order."""
    if isinstance(module, CONTAINERS):
        for part in module.children():
            yield from _units(part)
    else:
        yield module
