"""The batches of an epoch as the model takes them; randomness is a function of (seed, epoch, rank)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from raytrain.data.augmentation.resolution import resized, resolution_of
from raytrain.data.balance import balanced_order
from raytrain.data.batches import images_per_step, normalize, permutation, seeded, training_batches
from raytrain.training.choices import AUGMENT_CHOICES, MIX_CHOICES
from raytrain.training.evaluation import TrainingData, images_at_once, rank_and_world_size
from raytrain.training.recipe import Recipe
from raytrain.user_code.component import accepted


def training_inputs(recipe: Recipe, data: TrainingData, *, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's share of an epoch's batches: shuffled or drawn by class, augmented, normalised, mixed.

    Args:
        recipe: The recipe, whose fields choose augmentation, mixing and batch size.
        data: The data, whose training split is used.
        epoch: Number of the epoch, from 0; with the seed and the rank it decides every random number.

    Yields:
        (B, 3, H, W) float32 images of the size that the epoch has, and their targets: (B,) int64 labels, or
        (B, classes) float32 once mixed.
    """
    rank, world_size = rank_and_world_size()
    device = data.device
    if recipe.sampler == "balanced":
        order = balanced_order(data.train.labels, seed=recipe.seed, epoch=epoch)
    else:
        order = permutation(len(data.train), seed=recipe.seed, epoch=epoch)
    augment_generator = seeded(recipe.seed, epoch, rank, 0, device=device)
    mix_generator = seeded(recipe.seed, epoch, rank, 1)
    mixed_epoch = recipe.mix != "none" and epoch < recipe.epochs - recipe.mix_off_epochs
    batches = training_batches(data.train, batch_size=recipe.batch_size, order=order, rank=rank, world_size=world_size)
    size = resolution_of(recipe.resolution, epoch=epoch, epochs=recipe.epochs, full=recipe.image_size)
    mix = MIX_CHOICES.bound(recipe.mix) if mixed_epoch else None
    augmentations = [AUGMENT_CHOICES.function(name) for name in recipe.augment]
    for images, labels, index in batches:
        offered = {"generator": augment_generator, "index": index, "epoch": epoch, "seed": recipe.seed}
        for function in augmentations:
            images = function(images, **{name: offered[name] for name in accepted(function.func) & offered.keys()})
        inputs = normalize(images, mean=data.mean, std=data.std)
        if recipe.resolution:
            inputs = resized(inputs, size)
        if not recipe.channels_last:
            inputs = inputs.contiguous()
        if mix and torch.rand((), generator=mix_generator) < recipe.mix_prob:
            mixing = {"num_classes": data.num_classes, "alpha": recipe.mix_alpha, "generator": mix_generator}
            yield mix(inputs, labels, **mixing)
        else:
            yield inputs, labels


def evaluated_at_once(recipe: Recipe, data: TrainingData) -> int:
    """Return how many images a rank evaluates at a time, which depends on how many it trains at once.

    Args:
        recipe: The recipe, whose `batch_size` and `accumulate` say how many it trains at once.
        data: The data, whose training images may be fewer.
    """
    world_size = rank_and_world_size()[1]
    together = images_per_step(len(data.train), batch_size=recipe.batch_size, world_size=world_size)
    return images_at_once(recipe.image_size, trained=-(-together // (world_size * recipe.accumulate)))
