"""Muon: momentum whose step, for each matrix of weights, is made orthogonal.

K. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", kellerjordan.github.io/posts/muon, in
the form of its CIFAR-10 record, except that the iteration is in float32 where the record has bf16, and that weights may
decay. For matrices, `torch.optim.Muon` computes the same but for one factor: it multiplies
the step by sqrt(max(1, rows / columns)), so its steps for tall matrices are longer. A test compares the two. PyTorch's
takes neither the filters of convolutions nor the biases and the head beside them. Positions, class tokens and
LayerScale of a transformer are no weights of layers, though they have two dimensions or more:
`raytrain.optim.optimizers.is_weight`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, by which an iteration brings every singular value towards 1: of the post above."""
TINY = 1e-7
"""Least norm that a matrix is divided by."""


def orthogonalised(matrix: Tensor, *, iterations: int) -> Tensor:
    """Return the orthogonal matrix that is nearest to `matrix`, roughly: singular values between about 0.7 and 1.2.

    A Newton-Schulz iteration: of `matrix` = U S V', it approaches U V' without a singular value decomposition.

    Args:
        matrix: (rows, columns) float32.
        iterations: Number of iterations; 5 is usual, 3 is enough for small networks.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=TINY)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is matrix else x.T


class Muon(Optimizer):
    """Muon for the first group of parameters, the weights of hidden layers, and SGD with momentum for the others.

    The filters of a convolution, (out, in, height, width), are a matrix of out rows. Weight decay is decoupled for
    hidden layers and an L2 term of the gradient for the others, as in `torch.optim.Muon` and `torch.optim.SGD`.

    Args:
        params: Groups of parameters.
        lr: Learning rate; a group may have its own.
        momentum: Momentum of the hidden layers.
        nesterov: Whether momenta are Nesterov's.
        iterations: Newton-Schulz iterations.
        sgd_momentum: Momentum of the other groups.
        unit_filters: Whether the weights of a hidden layer are scaled before each step to the norm sqrt(out), which is
            a norm of 1 for each filter on average.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        momentum: float,
        nesterov: bool,
        iterations: int,
        sgd_momentum: float,
        unit_filters: bool,
    ) -> None:
        shared = {"nesterov": nesterov, "iterations": iterations, "unit_filters": unit_filters}
        super().__init__(params, {"lr": lr, "momentum": sgd_momentum, "weight_decay": 0.0, "hidden": False, **shared})
        self.param_groups[0].update(hidden=True, momentum=momentum)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient; returns what `closure` returns."""
        loss = torch.enable_grad()(closure)() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        hidden, decay = group["hidden"], group["weight_decay"]
        if decay and not hidden:
            gradient = gradient.add(parameter, alpha=decay)
        kept = self.state[parameter]
        if "momentum_buffer" not in kept:
            kept["momentum_buffer"] = torch.zeros_like(parameter)
        velocity: Tensor = kept["momentum_buffer"]
        velocity.mul_(group["momentum"]).add_(gradient)
        step = gradient.add(velocity, alpha=group["momentum"]) if group["nesterov"] else velocity
        if hidden:
            step = orthogonalised(step.flatten(1), iterations=group["iterations"]).view_as(step)
            if group["unit_filters"]:
                parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=TINY))
            parameter.mul_(1 - group["lr"] * decay)
        parameter.add_(step, alpha=-group["lr"])
