"""PyTorch's optimizers without its compiler.

An optimizer of PyTorch imports `torch._dynamo`, the front of its compiler, when it is made and at each step, only to
say there that it is not to be traced. On an AMD EPYC with two cores that import takes 4 s of processor time, nearly as
much as the rest of the start of a process that trains, and every trial may have a new process. The methods below are
the same without that word, so the numbers are the same, which a test compares.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.optim import Optimizer

METHODS = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
"""Methods that PyTorch wraps; where a version does not, they are taken as they are."""


@cache
def eager(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """Return an optimizer that computes what `kind` does and imports no compiler.

    Args:
        kind: A class of `torch.optim`, or another optimizer.
    """
    plain: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in METHODS}
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)
