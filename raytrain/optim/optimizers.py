"""Optimizers and the groups of parameters that they take; `OPTIMIZERS` names them.

A new one is a function and an entry. PyTorch takes 1.5 s to import and is imported only where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from annotated_types import Ge, Le, Lt

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    decoupled: bool = False,
    bias_lr_factor: float = 1.0,
    head_lr_factor: float = 1.0,
    head_apart: bool = False,
    backbone_lr_factor: float = 1.0,
    head: Sequence[nn.Parameter] = (),
    layer_decay: float = 1.0,
    layers: Sequence[Sequence[nn.Parameter]] = (),
) -> list[dict[str, Any]]:
    """Split the trainable parameters by how they learn.

    Weights of layers, as `is_weight` says, decay; the others do not: biases and BatchNorm's weights, as He et al. 2019,
    arXiv:1812.01187, section 3.1, have it, and parameters such as positions and class tokens. They are called biases
    below.

    Args:
        model: The model, whose parameters are split.
        lr: Peak learning rate.
        weight_decay: Weight decay of the groups that decay.
        decoupled: Whether `weight_decay` is independent of the learning rate and follows the schedule only, as
            K. Jordan 2024, arXiv:2404.00498, section 3.1, has it for SGD. For that it is divided by the group's peak
            learning rate, which the optimizer multiplies with again.
        bias_lr_factor: Factor of the learning rate of biases and BatchNorm's weights. K. Jordan 2024, arXiv:2404.00498,
            has 64 for the biases of BatchNorm alone, and there they decay.
        head_lr_factor: Factor of the learning rate of the head's weights.
        head_apart: Whether the weights of the head are a group even where they learn as the other weights do.
        backbone_lr_factor: Factor of the learning rate of all parameters that are not in `head`, beside the others.
        head: Parameters of the head. Where none are given, the weights of the last linear layer are apart.
        layer_decay: Factor of the learning rate from each layer to the one before it, beside the others. As Bao et al.
            2021, arXiv:2106.08254, and Clark et al. 2020, arXiv:2003.10555, have it: the head counts as the last layer.
        layers: Parameters of the backbone by layer, from the first to the last; needed with `layer_decay`.

    Returns:
        Groups as PyTorch's optimizers take them, each with its "lr_factor": the weights, the biases, and the head where
        it is apart; with `backbone_lr_factor`, the biases of the head too. With `layer_decay`, the weights and the
        biases of each layer, from the head to the first.
    """

    def group(those: list[nn.Parameter], factor: float, decay: float) -> dict[str, Any]:
        decay = decay / (lr * factor) if decoupled else decay
        return {"params": those, "weight_decay": decay, "lr_factor": factor, "lr": lr * factor}

    decays = {id(one) for name, one in model.named_parameters() if is_weight(name, one)}
    if layer_decay != 1.0:
        groups: list[dict[str, Any]] = []
        for number, layer in enumerate([head, *reversed(layers)]):
            rate = layer_decay**number
            weights_rate = rate * (head_lr_factor if number == 0 else 1.0)
            groups.append(group([one for one in layer if id(one) in decays], weights_rate, weight_decay))
            groups.append(group([one for one in layer if id(one) not in decays], rate * bias_lr_factor, 0.0))
        return [one for one in groups if one["params"]]

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    whole_head = {id(one) for one in head} if backbone_lr_factor != 1.0 else set[int]()
    apart = head_apart or head_lr_factor != 1.0 or backbone_lr_factor != 1.0
    head_weights = {id(one) for one in head or _last_linear(model)} if apart else set[int]()

    weights = [one for one in parameters if id(one) in decays]
    biases = [one for one in parameters if id(one) not in decays]
    back = backbone_lr_factor
    groups = [
        group([one for one in weights if id(one) not in head_weights], back, weight_decay),
        group([one for one in biases if id(one) not in whole_head], back * bias_lr_factor, 0.0),
    ]
    if head_weights:
        groups.append(group([one for one in weights if id(one) in head_weights], head_lr_factor, weight_decay))
    if whole_head:
        groups.append(group([one for one in biases if id(one) in whole_head], bias_lr_factor, 0.0))
    return groups


def is_weight(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter is a weight of a layer: its own name has "weight" in it, and it has two dimensions.

    Such are `weight` of convolutions and linear layers, `in_proj_weight` of an attention, and what
    `torch.nn.utils.parametrizations` makes of a weight. Positions, class tokens, LayerScale, tables of an attention's
    biases and temperatures are none, though they have two dimensions or more.

    Args:
        name: Its name in the network.
        parameter: The parameter.
    """
    parts = name.rpartition("parametrizations.")[2].split(".")  # parametrizations.weight.original0 is of a weight
    own = parts[0] if "parametrizations." in name else parts[-1]
    return parameter.ndim > 1 and "weight" in own


def _last_linear(model: nn.Module) -> list[Tensor]:
    from torch import nn

    return [module.weight for module in model.modules() if isinstance(module, nn.Linear)][-1:]


def sgd(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:
    """Return stochastic gradient descent; weight decay, from the groups, is an L2 term in the gradient.

    Sutskever et al. 2013 for momentum and Nesterov's; as PyTorch has it, the learning rate multiplies the
    accumulated velocity, so a change of it acts at once.
    """
    import torch

    from raytrain.optim.eager import eager

    return eager(torch.optim.SGD)(parameters, lr=lr, momentum=momentum, nesterov=nesterov)


def adam(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:  # noqa: ARG001
    """Return Adam with betas (0.9, 0.999); `momentum` and `nesterov` have no effect.

    Kingma & Ba 2015, arXiv:1412.6980. Weight decay, from the groups, is an L2 term in the gradient and so is
    divided by the running magnitude like the rest of it.
    """
    import torch

    from raytrain.optim.eager import eager

    return eager(torch.optim.Adam)(parameters, lr=lr, betas=(0.9, 0.999))


def adamw(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:  # noqa: ARG001
    """Return AdamW with betas (0.9, 0.999); `momentum` and `nesterov` have no effect.

    Loshchilov & Hutter 2019, arXiv:1711.05101: weight decay, from the groups, is decoupled from the gradient
    and, as in PyTorch, multiplied by the current learning rate.
    """
    import torch

    from raytrain.optim.eager import eager

    # 0 unless the groups say otherwise, as for the others: PyTorch's own default here is 0.01
    return eager(torch.optim.AdamW)(parameters, lr=lr, betas=(0.9, 0.999), weight_decay=0.0)


def muon(
    parameters: ParamsT,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    iterations: Annotated[int, Ge(1), Le(20)] = 5,
    sgd_momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    unit_filters: bool = False,
) -> Optimizer:
    """Return Muon for the weights of hidden layers, and SGD for the rest: biases, BatchNorm, positions, the head.

    K. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon;
    see `raytrain.optim.muon`.

    Args:
        parameters: Groups of `parameter_groups` with the head apart.
        lr: Peak learning rate of the hidden layers; the others have it times their factor.
        momentum: Momentum of the hidden layers.
        nesterov: Whether both momenta are Nesterov's.
        iterations: Newton-Schulz iterations.
        sgd_momentum: Momentum of the rest.
        unit_filters: Whether the weights of a hidden layer are scaled before each step, so that a filter has the norm 1
            on average and neither grows nor decays.
    """
    from raytrain.optim.eager import eager
    from raytrain.optim.muon import Muon

    return eager(Muon)(
        parameters,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        iterations=iterations,
        sgd_momentum=sgd_momentum,
        unit_filters=unit_filters,
    )


class OptimizerEntry(NamedTuple):
    """An optimizer that a recipe can name.

    Attributes:
        build: Function that makes it from the parameters, `lr`, `momentum` and `nesterov`.
        moments: Most numbers that it keeps for each parameter; they are part of every checkpoint.
        head_apart: Whether it treats the head otherwise than hidden layers.
    """

    build: Callable[..., Optimizer]
    moments: int
    head_apart: bool = False


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(sgd, moments=1),
    "adam": OptimizerEntry(adam, moments=2),
    "adamw": OptimizerEntry(adamw, moments=2),
    "muon": OptimizerEntry(muon, moments=1, head_apart=True),
}
