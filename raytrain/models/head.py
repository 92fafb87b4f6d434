"""The head of a network: the layer that its logits come from. All other layers are the backbone."""

import torch
from torch import nn


def head_of(model: nn.Module, classes: int) -> list[str]:
    """Return the names of the parameters of the head; none where there is no such layer.

    It is the last linear layer or convolution with an output for each class. A network of timm says itself which it is.

    Args:
        model: The network.
        classes: Number of outputs.
    """
    if type(model).__module__.startswith("timm."):
        said = model.get_classifier()  # pyright: ignore[reportCallIssue] (of every network there)
        layers = [one for one in (said if isinstance(said, tuple | list) else [said]) if isinstance(one, nn.Module)]
    else:
        layers = [module for module in model.modules() if _outputs(module) == classes][-1:]
    head = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in head]


def _outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None


def backbone_and_head(model: nn.Module, classes: int) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters of the backbone and those of the head.

    Args:
        model: The network.
        classes: Number of outputs.

    Raises:
        ValueError: It has no layer that is a head.
    """
    head = set(head_of(model, classes))
    if not head:
        raise ValueError(
            "freeze_epochs, head_lr_factor, backbone_lr_factor and layer_decay need a head: a linear layer or a "
            f"convolution with {classes} outputs, one for each class; the network has none"
        )
    trainable = [(name in head, one) for name, one in model.named_parameters() if one.requires_grad]
    return [one for in_head, one in trainable if not in_head], [one for in_head, one in trainable if in_head]


def without_batch_statistics(model: nn.Module) -> None:
    """Put every BatchNorm into evaluation mode: it normalises by its running statistics, and does not change them."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage] (the base of all)
            module.eval()


def set_batchnorm_momentum(model: nn.Module, momentum: float) -> None:
    """Set the weight of the newest batch in the running statistics of every BatchNorm.

    Args:
        model: Changed in place; a model without BatchNorm stays as it is.
        momentum: The weight, above 0 and at most 1.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage] (the base of all)
            module.momentum = momentum
