"""Loss, accuracy and predictions of a model on a split, and the splits as they lie on a device."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from raytrain.data import Splits
from raytrain.data.augmentation.views import VIEWS
from raytrain.data.batches import DeviceImages, evaluation_batches, exact_dtype, normalize, on_device
from raytrain.metrics.class_metrics import label_ranks
from raytrain.metrics.epoch import Evaluation
from raytrain.metrics.predictions import MOST_PROBABILITIES, Predictions, metrics_of
from raytrain.training.devices import autocast

MOST_AT_ONCE = 1000
"""Largest number of images that are evaluated at a time."""
PIXELS_AT_ONCE = MOST_AT_ONCE * 32**2
"""Pixels that are evaluated at a time. A layer of 64 channels takes 0.26 GB for them; for 1,000 images of 224 pixels it
would take 13 GB."""


class EvaluatedCount:
    """A count of evaluated batches, which another thread may read to see that an evaluation goes on.

    Attributes:
        batches: Number of batches so far.
    """

    def __init__(self) -> None:
        self.batches = 0


@dataclass(frozen=True)
class TrainingData:
    """The three splits on one device, and what normalises them.

    Attributes:
        train: The training images.
        val: The validation images, which choose the epoch and the trial; may be empty.
        test: The test images, which are reported on.
        mean: Mean of each channel of the training images, or what the recipe has instead, on the scale [0, 1].
        std: Standard deviation of each channel, in the same way.
        num_classes: Number of classes; labels run from 0 to `num_classes` - 1.
        channels_last: Whether the model takes its images in NHWC memory order, as the recipe has it.
        evaluated: Count of the batches of these splits that have been evaluated.
    """

    train: DeviceImages
    val: DeviceImages
    test: DeviceImages
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    num_classes: int
    channels_last: bool = True
    evaluated: EvaluatedCount = field(default_factory=EvaluatedCount, compare=False)

    @property
    def device(self) -> torch.device:
        """The device that batches are on."""
        return self.train.device

    def normalized(self, images: Tensor) -> Tensor:
        """Return uint8 images, (N, 3, H, W), as the model takes them: normalised, float32, in its memory order."""
        return self.laid_out(normalize(images, mean=self.mean, std=self.std))

    def laid_out(self, images: Tensor) -> Tensor:
        """Return images, (N, 3, H, W), in the memory order of the model; as they are where that is NHWC."""
        return images if self.channels_last else images.contiguous()

    @classmethod
    def on(cls, device: torch.device, splits: Splits) -> "TrainingData":
        """Return `splits` on `device`: shared memory on a CPU, one copy on a GPU (154 MB for CIFAR-10)."""
        train, val, test = (on_device(images, device) for images in (splits.train, splits.val, splits.test))
        return cls(train, val, test, splits.mean, splits.std, len(splits.classes))


def images_at_once(image_size: int, *, trained: int = 1) -> int:
    """Return how many images are evaluated at a time, so that memory suffices wherever it suffices for training.

    1,000 of up to 32 pixels, and of larger ones as many as have no more pixels; or as many as a training step takes at
    once, which needs more memory for each, if that is more. Never more than 1,000.

    Args:
        image_size: Height and width of the images, in pixels.
        trained: Images that a training step takes at once on a device.
    """
    return min(MOST_AT_ONCE, max(PIXELS_AT_ONCE // image_size**2, trained, 1))


@torch.no_grad()  # not inference_mode(): what a network caches there cannot be used in training
def evaluate(
    model: nn.Module,
    images: DeviceImages,
    *,
    data: TrainingData,
    precision: str,
    batch_size: int = MOST_AT_ONCE,
    detailed: bool = False,
) -> Evaluation:
    """Return the mean loss and accuracy of `model` on `images`, without augmentation.

    Every image counts once, whatever the number of ranks and the batch size.

    Args:
        model: Maps normalised images (N, 3, H, W) to logits (N, classes).
        images: One of the splits of `data`.
        data: Gives the mean and std to normalise by.
        precision: fp32, bf16 or fp16.
        batch_size: Images at a time, such as `images_at_once` says.
        detailed: Whether to measure the metrics beside loss and accuracy too.
    """
    if detailed:
        whole, predictions = predict(model, images, data=data, precision=precision, batch_size=batch_size)
        return replace(whole, **vars(metrics_of(predictions)))
    sums = torch.zeros(2, dtype=exact_dtype(images.device), device=images.device)
    seen = 0
    for logits, labels in _outputs(model, images, data=data, precision=precision, batch_size=batch_size):
        sums += _loss_and_correct(logits, labels)
        seen += len(labels)
    return reduce_sums(sums, seen)


@torch.no_grad()
def evaluate_views(
    model: nn.Module,
    images: DeviceImages,
    *,
    data: TrainingData,
    precision: str,
    tta: str,
    below: float = 1.0,
    batch_size: int = MOST_AT_ONCE,
) -> tuple[Evaluation, int]:
    """Return what `evaluate` does, of the mean logits of several views of an image: test-time augmentation.

    K. Jordan 2024, arXiv:2404.00498, section 3.5. That only unsure images have several views is ours.

    Args:
        model: Maps normalised images (N, 3, H, W) to logits (N, classes).
        images: One of the splits of `data`.
        data: Gives the mean and std to normalise by.
        precision: fp32, bf16 or fp16.
        tta: A key of `VIEWS`.
        below: Probability of the predicted class below which an image has several views; others keep the prediction of
            the plain image. 1 for all images.
        batch_size: Images at a time, such as `images_at_once` says.

    Returns:
        The evaluation, and the number of images that had several views, over all ranks.
    """
    sums = torch.zeros(2, dtype=exact_dtype(images.device), device=images.device)
    several = torch.zeros((), dtype=torch.int64, device=images.device)
    seen = 0
    was_training = model.training
    model.eval()
    for batch, labels in _batches(images, data=data, batch_size=batch_size):
        inputs = data.normalized(batch)
        with autocast(batch.device, precision):
            logits: Tensor = model(inputs).float()
            # in the type of the sums, as in the file of predictions; what rounds to 1 is below 1 all the same
            unsure = (logits.to(sums.dtype).softmax(dim=1).amax(dim=1) < below) | (below == 1)
            if unsure.all():
                logits = _mean_logits(model, logits, VIEWS[tta](inputs), data)
            elif unsure.any():
                logits[unsure] = _mean_logits(model, logits[unsure], VIEWS[tta](inputs[unsure]), data)
        sums += _loss_and_correct(logits, labels)
        several += unsure.sum()
        seen += len(labels)
    model.train(was_training)
    if dist.is_initialized():
        dist.all_reduce(several)
    return reduce_sums(sums, seen), int(several)


def _mean_logits(model: nn.Module, plain: Tensor, views: list[tuple[float, Tensor]], data: TrainingData) -> Tensor:
    """Return the weighted mean of the logits of several views, of which the first are known, (N, classes) float32."""
    (share, _), *others = views
    seen = [weight * model(data.laid_out(view)).float() for weight, view in others]
    return torch.stack([share * plain, *seen]).sum(dim=0)


@torch.no_grad()
def predict(
    model: nn.Module, images: DeviceImages, *, data: TrainingData, precision: str, batch_size: int = MOST_AT_ONCE
) -> tuple[Evaluation, Predictions]:
    """Return what `evaluate` does, and what the network says about each image.

    Under `torch.distributed` every rank returns all predictions, in the order of the images.

    Args:
        model: Maps normalised images (N, 3, H, W) to logits (N, classes).
        images: One of the splits of `data`.
        data: Gives the mean and std to normalise by.
        precision: fp32, bf16 or fp16.
        batch_size: Images at a time, such as `images_at_once` says.
    """
    kept = len(images) * data.num_classes <= MOST_PROBABILITIES
    sums = torch.zeros(2, dtype=exact_dtype(images.device), device=images.device)
    # (B, 5) each, in the type of the sums: label, predicted class, probability, rank of the label, loss
    seen: list[Tensor] = []
    softmax: list[Tensor] = []  # (B, classes) float16 each
    for logits, labels in _outputs(model, images, data=data, precision=precision, batch_size=batch_size):
        sums += _loss_and_correct(logits, labels)
        probabilities = logits.to(sums.dtype).softmax(dim=1)
        predicted = logits.argmax(dim=1)  # of the logits, as accuracy counts: probabilities may round to a tie
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        ranks = torch.from_numpy(label_ranks(logits.float().cpu().numpy(), labels.cpu().numpy())).to(labels.device)
        columns = (labels, predicted, probabilities.max(dim=1).values, ranks, losses)
        seen.append(torch.stack([column.to(sums.dtype) for column in columns], dim=1).cpu())
        if kept:
            softmax.append(probabilities.half().cpu())
    mine = torch.cat(seen) if seen else torch.empty(0, 5, dtype=sums.dtype)
    rows = _of_all_ranks(mine).numpy()
    shares = torch.cat(softmax) if softmax else torch.empty(0, data.num_classes, dtype=torch.float16)
    predictions = Predictions(
        rows[:, 0].astype("int64"),
        rows[:, 1].astype("int64"),
        rows[:, 2].astype("float32"),
        rows[:, 3].astype("int64"),
        rows[:, 4].astype("float32"),
        _of_all_ranks(shares).numpy() if kept else None,
    )
    return reduce_sums(sums, len(mine)), predictions


def _outputs(
    model: nn.Module, images: DeviceImages, *, data: TrainingData, precision: str, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, classes) logits and (B,) labels for this rank's share of the images, with the model in eval mode."""
    was_training = model.training
    model.eval()
    for batch, labels in _batches(images, data=data, batch_size=batch_size):
        with autocast(batch.device, precision):
            logits = model(data.normalized(batch))
        yield logits, labels
    model.train(was_training)


def _batches(images: DeviceImages, *, data: TrainingData, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's share of the images and their labels in batches, and count those that have been evaluated."""
    rank, world_size = rank_and_world_size()
    for batch in evaluation_batches(images, batch_size=batch_size, rank=rank, world_size=world_size):
        yield batch
        data.evaluated.batches += 1


def _loss_and_correct(logits: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(logits.float(), labels, reduction="sum")
    correct = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([loss, correct.to(loss.dtype)]).to(exact_dtype(logits.device))


def _of_all_ranks(rows: Tensor) -> Tensor:
    """Return the rows of all ranks, those of rank 0 first."""
    if not dist.is_initialized():
        return rows
    parts: list[Tensor] = [rows] * dist.get_world_size()
    dist.all_gather_object(parts, rows)
    return torch.cat(parts)


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the number of processes that train together; (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def reduce_sums(sums: Tensor, images: int) -> Evaluation:
    """Return the means over all ranks' images; without any, a loss that is not a number.

    Args:
        sums: (2,) in the type of `exact_dtype`, this rank's summed loss and number of correct images.
        images: How many images this rank saw.
    """
    total = torch.cat([sums, sums.new_tensor([images])])
    if dist.is_initialized():
        dist.all_reduce(total)
    loss, correct, count = total.tolist()
    return Evaluation(loss / count, correct / count) if count else Evaluation(math.nan, 0.0)
