"""The layers of a network in order, each with its parameters: what a learning rate that decays by layer counts."""

from collections.abc import Iterator, Sequence

from torch import nn

CONTAINERS = (nn.Sequential, nn.ModuleList)
"""Modules that are looked into, as a stage is: their parts are layers of their own. Any other module is one layer, such
as a residual block or a block of a transformer."""


def layers_of(model: nn.Module, *, head: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return the trainable parameters of each layer of the backbone, in the order in which the layers were defined.

    A part without weights of two dimensions or more, such as BatchNorm, belongs to the layer before it, and so do the
    parameters of a stage itself. Parameters of the network itself, such as the positions of a vision transformer,
    belong to the first layer. Where that makes one layer of the whole backbone, because it is a module in another one,
    the parts of that module are the layers.

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
    for may_begin, unit in (unit for part in parts for unit in _units(part)):
        new = [one for one in unit if one.requires_grad and id(one) not in seen]
        if may_begin and (not layers or any(one.ndim > 1 for one in new)):
            layers += [new] if new else []
        elif layers:
            layers[-1] += new
        else:
            continue
        seen |= {id(one) for one in new}
    return layers


def _units(module: nn.Module) -> Iterator[tuple[bool, list[nn.Parameter]]]:
    """Yield the parameters of each module in a container or a stage that is none, in order.

    Before them come the container's or the stage's own, with False: they are no layer.
    """
    if isinstance(module, CONTAINERS) or _is_stage(module):
        yield False, list(module.parameters(recurse=False))
        for part in module.children():
            yield from _units(part)
    else:
        yield True, list(module.parameters())


def _is_stage(module: nn.Module) -> bool:
    """Whether a module has blocks, as the stages of many libraries and the encoder of a vision transformer have.

    They are in a container of their own, or are all that has parameters in it.
    """
    children = list(module.children())
    inside = [list(child.children()) for child in children if isinstance(child, CONTAINERS)]
    return any(map(_are_blocks, [*inside, [child for child in children if next(child.parameters(), None) is not None]]))


def _are_blocks(modules: Sequence[nn.Module]) -> bool:
    """Whether modules are several blocks of one class.

    A block has two layers or more that mix channels: a convolution with its BatchNorm is none, nor is a separable one.
    """
    return (
        len(modules) > 1
        and len({type(one) for one in modules}) == 1
        and not isinstance(modules[0], CONTAINERS)
        and all(sum(one.ndim > 1 and one.shape[1] > 1 for one in module.parameters()) > 1 for module in modules)
    )
