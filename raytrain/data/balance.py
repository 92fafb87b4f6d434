"""What gives rare classes more say in training: weights of the loss, or drawing their images more often."""

import torch
from torch import Tensor

from raytrain.data.batches import exact_dtype, seeded


def balanced_weights(labels: Tensor, *, classes: int) -> Tensor:
    """Return the weight n / (k n_c) of each class in the loss, (classes,) float32, on the labels' device.

    n is the number of images, k that of the classes that have any, and n_c that of the class: the weights of all images
    add up to n. It is scikit-learn's `class_weight="balanced"`, after G. King and L. Zeng, Political Analysis 9 (2001).
    A class without images has the weight 0.

    Args:
        labels: Classes of the training images, (n,) int64.
        classes: Number of classes.
    """
    counts = torch.bincount(labels, minlength=classes)
    weights = len(labels) / ((counts > 0).sum() * counts.to(exact_dtype(counts.device)).clamp(min=1))
    return torch.where(counts > 0, weights, 0.0).float()


def balanced_order(labels: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return as many rows as there are images, drawn with replacement, (n,) int64 on the CPU, the same on every rank.

    Each draw takes a class, all that have images with equal probability, and one of its images.

    Args:
        labels: Classes of the training images, (n,) int64.
        seed: Seed of the recipe, at least 0.
        epoch: Number of the epoch, from 0.
    """
    labels = labels.cpu()
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = (counts.cumsum(0) - counts)[counts > 0]
    counts = counts[counts > 0]
    # the last number keeps it apart from what `permutation`, augmentation and mixing draw
    generator = seeded(seed, epoch, 0, 2)
    drawn = torch.randint(len(counts), (len(labels),), generator=generator)
    within = (torch.rand(len(labels), generator=generator, dtype=torch.float64) * counts[drawn]).long()
    return by_class[starts[drawn] + within]
