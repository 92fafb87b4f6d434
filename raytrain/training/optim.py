"""Optimizers, and the learning rate as a function of progress; `OPTIMIZERS` and `SCHEDULES` name them.

A new one is a function and an entry.

A schedule maps progress in [0, 1] to a factor in [0, 1] of the peak learning rate, in plain floats: it can be
plotted, tested and read without PyTorch, which takes 1.5 s to import and is imported only where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters in those that decay and those that do not.

    Weights of convolutions and linear layers decay; biases and BatchNorm's weights, all of one dimension, do
    not: He et al. 2019, arXiv:1812.01187, section 3.1.

    Args:
        model: The model, whose parameters are split.
        weight_decay: Weight decay of the group that decays.

    Returns:
        Two groups as PyTorch's optimizers take them.
    """
    parameters = list(model.parameters())
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def sgd(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:
    """Return stochastic gradient descent; weight decay, from the groups, is an L2 term in the gradient.

    Sutskever et al. 2013 for momentum and Nesterov's; as PyTorch has it, the learning rate multiplies the
    accumulated velocity, so a change of it acts at once.
    """
    import torch

    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov)


def adam(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:  # noqa: ARG001
    """Return Adam with betas (0.9, 0.999); `momentum` and `nesterov` have no effect.

    Kingma & Ba 2015, arXiv:1412.6980. Weight decay, from the groups, is an L2 term in the gradient and so is
    divided by the running magnitude like the rest of it.
    """
    import torch

    return torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.999))


def adamw(parameters: ParamsT, *, lr: float, momentum: float, nesterov: bool) -> Optimizer:  # noqa: ARG001
    """Return AdamW with betas (0.9, 0.999); `momentum` and `nesterov` have no effect.

    Loshchilov & Hutter 2019, arXiv:1711.05101: weight decay, from the groups, is decoupled from the gradient
    and, as in PyTorch, multiplied by the current learning rate.
    """
    import torch

    # 0 unless the groups say otherwise, as for the others: PyTorch's own default here is 0.01
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.999), weight_decay=0.0)


class OptimizerEntry(NamedTuple):
    """An optimizer that a recipe can name.

    Attributes:
        build: Function that makes it from the parameters, `lr`, `momentum` and `nesterov`.
        moments: Most numbers that it keeps for each parameter; they are part of every checkpoint.
    """

    build: Callable[..., Optimizer]
    moments: int


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(sgd, moments=1),
    "adam": OptimizerEntry(adam, moments=2),
    "adamw": OptimizerEntry(adamw, moments=2),
}


def constant(progress: float) -> float:  # noqa: ARG001 - the signature of a schedule
    """Stay at 1."""
    return 1.0


def linear(progress: float) -> float:
    """Fall from 1 to 0 along a line."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Fall from 1 to 0 along half a cosine: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts."""
    return (1.0 + math.cos(math.pi * progress)) / 2


def multistep(progress: float) -> float:
    """Multiply by 0.1 at one half and again at three quarters, as He et al. 2016, arXiv:1512.03385, did."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def onecycle(progress: float) -> float:
    """Rise from 1/25 to 1 over the first 30 %, then fall to 1/250,000, both along half a cosine.

    Smith & Topin 2018, arXiv:1708.07120, in the form and with the defaults of PyTorch's OneCycleLR, without
    its cycle of the momentum. OneCycleLR counts slightly otherwise: with n steps it peaks at step 0.3 n - 1
    and reaches the end at step n - 1; ours peaks at step 0.3 n and would reach the end at step n.
    """
    start, end, peak = 1 / 25, 1 / 25 / 1e4, 0.3
    if progress < peak:
        return 1.0 + (start - 1.0) * cosine(progress / peak)
    return end + (1.0 - end) * cosine((progress - peak) / (1.0 - peak))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "onecycle": onecycle,
    "multistep": multistep,
    "linear": linear,
}


def learning_rate_factor(step: int, *, total_steps: int, warmup_steps: int, schedule: str) -> float:
    """Return the factor of the peak learning rate to take optimizer step `step` with.

    The first w = `warmup_steps` steps rise along a line: 1/w, 2/w, ..., 1 (Goyal et al. 2017,
    arXiv:1706.02677). The n that remain follow the schedule at progress 0, 1/n, ..., (n - 1)/n. So no step is
    taken at progress 1, where cosine and linear are 0 and it would change nothing; `total_steps` itself is
    allowed and gives that end.

    This is how PyTorch's CosineAnnealingLR (T_max=n), LinearLR (to 0, total_iters=n) and MultiStepLR count.
    `onecycle` has a rise of its own, so `warmup_steps` is to be 0 with it.

    Args:
        step: Number of the step, from 0; at most `total_steps`.
        total_steps: Number of steps of the whole run, warm-up included.
        warmup_steps: Number of steps of the warm-up; at most `total_steps`.
        schedule: A key of `SCHEDULES`.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step == total_steps:  # also where the warm-up is the whole run and nothing remains to divide by
        return SCHEDULES[schedule](1.0)
    return SCHEDULES[schedule]((step - warmup_steps) / (total_steps - warmup_steps))
