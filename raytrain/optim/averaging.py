"""The moving average of a network, and what of a network no average is taken of.

Beside weights and statistics, a network may hold integers, such as the indices into a table, and numbers that are
infinite, such as the mask of an attention. Between two integers there is often none, and the average of infinite
numbers is undefined: they are copied.
"""

from collections.abc import Iterator
from itertools import compress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]
"""Tensors in the two forms in which PyTorch gives them to a function that averages."""


class MovingAverage(AveragedModel):
    """The exponential moving average of a network's parameters and buffers.

    Szegedy et al. 2016, arXiv:1512.00567, evaluate with such an average. It is computed as PyTorch's
    `get_ema_multi_avg_fn` does, bit for bit, where numbers are floating point and finite. Integers are those of the
    network: PyTorch cuts off what it averages of them, and so makes 3 of 4. Of the numbers that `may_be_infinite`
    names, an average that is not finite is replaced by the number that the network has.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        """Start from a copy of a network.

        Args:
            network: The network.
            decay: Share of itself that the average keeps in an update.
        """
        weighted = get_ema_multi_avg_fn(decay)

        def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:  # all of one dtype
            if averaged[0].is_floating_point() or averaged[0].is_complex():
                weighted(averaged, current, updates)
            else:
                for mine, now in zip(averaged, current, strict=True):
                    mine.copy_(now)

        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self._may_be_infinite = may_be_infinite(network)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the network's present state into the average."""
        super().update_parameters(model)
        # not strict, as PyTorch's own pairs: a network may make a buffer when it is first called
        pairs = zip(_tensors(self.module), _tensors(model), strict=False)
        for averaged, current in compress(pairs, self._may_be_infinite):
            take_over_infinite(averaged.detach(), current.detach())


def may_be_infinite(network: nn.Module) -> list[bool]:
    """Return of each parameter and then of each buffer whether it may hold infinite numbers while training goes well.

    Such are floats that are neither trained nor a statistic of BatchNorm. The others are not looked at after each step,
    which would take time.
    """
    apart = {id(one) for one in network.parameters() if one.requires_grad}
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            apart |= {id(one) for one in layer.buffers(recurse=False)}
    return [one.is_floating_point() and id(one) not in apart for one in _tensors(network)]


def take_over_infinite(averaged: Tensor, current: Tensor) -> None:
    """Give an average the present numbers wherever it is not finite."""
    averaged.copy_(torch.where(averaged.isfinite(), averaged, current))


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()
