"""The loss that training minimises; `LOSSES` names the choices.

A loss takes logits, (N, classes) float32, and targets, (N,) int64 or (N, classes) float32 once mixed, and returns
the mean over the images, a scalar. What is measured on validation and test images is cross-entropy, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    """Return the cross-entropy of the softmax in nats.

    Args:
        logits: (N, classes) float32.
        targets: (N,) int64, or (N, classes) float32.
        label_smoothing: Share of each target that is spread evenly over all classes.
    """
    from torch.nn import functional as F

    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def bce(logits: Tensor, targets: Tensor, *, num_classes: int, label_smoothing: float) -> Tensor:
    """Return the binary cross-entropy of each class by itself in nats, the mean over images and classes.

    Wightman et al. 2021, arXiv:2110.00476, who take mixed labels as several classes that are all there; here they keep
    their shares, as in timm.

    Args:
        logits: (N, classes) float32.
        targets: (N,) int64, or (N, classes) float32.
        num_classes: Number of classes.
        label_smoothing: Share of each target that is spread evenly over all classes.
    """
    from torch.nn import functional as F

    soft = F.one_hot(targets, num_classes).to(logits.dtype) if targets.ndim == 1 else targets
    return F.binary_cross_entropy_with_logits(logits, soft * (1 - label_smoothing) + label_smoothing / num_classes)


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": cross_entropy, "bce": bce}
