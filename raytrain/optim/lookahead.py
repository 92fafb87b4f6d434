"""Lookahead: slow weights that follow the trained ones every few steps, and from which these go on.

M. R. Zhang et al. 2019, arXiv:1907.08610. Every `every` steps the slow weights move towards those of the network, the
fast ones, and the network takes the slow weights over. After the last step it takes them over once more.

We differ from the paper in that BatchNorm's statistics are moved as the weights are, as K. Jordan 2024,
arXiv:2404.00498, does. Without that the statistics are those of weights that the network no longer has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le

if TYPE_CHECKING:
    from torch import Tensor, nn

Steps = Annotated[int, Ge(1)]
"""A number of optimizer steps."""


class Lookahead:
    """The slow weights of a network.

    Attributes:
        every: Number of optimizer steps between two moves.
        slow: The slow weights and statistics, in the order of the network's parameters and buffers, contiguous.
    """

    def __init__(self, network: nn.Module, *, every: int, kept: Callable[[float], float]) -> None:
        """Start from the weights that the network has.

        Args:
            network: The network.
            every: Number of optimizer steps between two moves.
            kept: Maps progress in [0, 1] to the share of themselves that the slow weights keep in a move.
        """
        import torch

        from raytrain.optim.averaging import may_be_infinite

        self.every = every
        self._kept = kept
        self.slow = [one.clone(memory_format=torch.contiguous_format) for one in _numbers(network)]
        everything = (*network.parameters(), *network.buffers())
        self._may_be_infinite = [
            flag for one, flag in zip(everything, may_be_infinite(network), strict=True) if one.is_floating_point()
        ]

    def follow(self, network: nn.Module, *, step: int, total_steps: int) -> None:
        """Move the slow weights and let the network take them over, where that is due after this step.

        Args:
            network: The network.
            step: Number of optimizer steps so far.
            total_steps: Number of optimizer steps of the whole training.
        """
        from raytrain.optim.averaging import take_over_infinite

        if step % self.every:
            return
        share = 1.0 - self._kept(step / total_steps)
        for slow, fast, infinite in zip(self.slow, _numbers(network), self._may_be_infinite, strict=True):
            slow.lerp_(fast, share)
            if infinite:  # of infinite numbers there is no average: they are the network's
                take_over_infinite(slow, fast)
            fast.copy_(slow)

    def finish(self, network: nn.Module, *, step: int) -> None:
        """Let the network take the slow weights over at the end; it keeps its own where they have never moved.

        Args:
            network: The network.
            step: Number of optimizer steps of the whole training.
        """
        if step < self.every:
            return
        for slow, fast in zip(self.slow, _numbers(network), strict=True):
            fast.copy_(slow)

    def load(self, slow: list[Tensor]) -> None:
        """Take over slow weights that were saved."""
        for mine, saved in zip(self.slow, slow, strict=True):
            mine.copy_(saved)


def none(network: nn.Module) -> None:
    """Train without slow weights."""


def constant(network: nn.Module, *, every: Steps = 5, share: Annotated[float, Gt(0), Le(1)] = 0.5) -> Lookahead:
    """Move the slow weights by the same share of the way each time: k and alpha of Zhang et al., with their values."""
    return Lookahead(network, every=every, kept=lambda _: 1.0 - share)


def cubic(network: nn.Module, *, every: Steps = 5, decay: Annotated[float, Ge(0), Le(1)] = 0.95) -> Lookahead:
    """Move the slow weights the whole way at first, and less and less of it later.

    At progress p they keep `decay`^`every` p^3 of themselves, as in airbench (K. Jordan 2024, arXiv:2404.00498).
    """
    return Lookahead(network, every=every, kept=lambda progress: decay**every * progress**3)


LOOKAHEADS: dict[str, Callable[..., Lookahead | None]] = {"none": none, "constant": constant, "cubic": cubic}


def _numbers(network: nn.Module) -> list[Tensor]:
    """Return the weights and statistics of a network that are no counts, each once, without their gradients."""
    # not state_dict, which has shared weights twice: they would move twice
    return [one.detach() for one in (*network.parameters(), *network.buffers()) if one.is_floating_point()]
