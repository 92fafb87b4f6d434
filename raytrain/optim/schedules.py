"""The learning rate as a function of progress; `SCHEDULES` names the functions. A new one is a function and an entry.

A schedule maps progress in [0, 1] to a factor in [0, 1] of the peak learning rate, in plain floats: it can be
plotted, tested and read without PyTorch.
"""

import math
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Share = Annotated[float, Ge(0), Le(1)]
"""A share of the whole, in [0, 1]."""


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


def triangle(
    progress: float, *, start: Share = 0.2, peak: Annotated[float, Gt(0), Lt(1)] = 0.23, end: Share = 0.07
) -> float:
    """Rise from `start` to 1 along a line until the share `peak` of the steps, then fall to `end` along another.

    As K. Jordan 2024, arXiv:2404.00498, whose values are the defaults. There the peak is rounded down to a whole step;
    here it may lie between two.
    """
    if progress < peak:
        return start + (1.0 - start) * progress / peak
    return 1.0 + (end - 1.0) * (progress - peak) / (1.0 - peak)


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": cosine,
    "onecycle": onecycle,
    "multistep": multistep,
    "linear": linear,
    "triangle": triangle,
}


def learning_rate_factor(
    step: int, *, total_steps: int, warmup_steps: int, schedule: Callable[[float], float]
) -> float:
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
        schedule: Function of progress in [0, 1], such as those of `SCHEDULES`.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step == total_steps:  # also where the warm-up is the whole run and nothing remains to divide by
        return schedule(1.0)
    return schedule((step - warmup_steps) / (total_steps - warmup_steps))
