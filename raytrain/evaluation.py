"""Loss and accuracy of a model on a split, and the splits as they lie on a device."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from raytrain.data import Splits
from raytrain.data.batches import DeviceImages, evaluation_batches, normalize, on_device
from raytrain.devices import AUTOCAST
from raytrain.metrics import Evaluation


@dataclass(frozen=True)
class TrainingData:
    """The three splits on one device, and what normalises them.

    Attributes:
        train: Images to train on.
        val: Images to select by; may be empty.
        test: Images to report on.
        mean: Per channel, of the training split, of values in [0, 1].
        std: As `mean`.
        num_classes: Number of classes, which labels count from 0.
    """

    train: DeviceImages
    val: DeviceImages
    test: DeviceImages
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    num_classes: int

    @property
    def device(self) -> torch.device:
        """Where batches come up."""
        return self.train.device

    @classmethod
    def on(cls, device: torch.device, splits: Splits) -> "TrainingData":
        """Return `splits` on `device`: shared memory on a CPU, one copy on a GPU (154 MB for CIFAR-10)."""
        train, val, test = (on_device(images, device) for images in (splits.train, splits.val, splits.test))
        return cls(train, val, test, splits.mean, splits.std, len(splits.classes))


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: DeviceImages, *, data: TrainingData, precision: str, batch_size: int = 1000
) -> Evaluation:
    """Return the mean loss and accuracy of `model` on `images`, without augmentation.

    Every image counts once, whatever the number of ranks and the batch size.

    Args:
        model: Maps normalised images (N, 3, H, W) to logits (N, classes).
        images: One of the splits of `data`.
        data: Gives the mean and std to normalise by.
        precision: fp32, bf16 or fp16.
        batch_size: Images at a time.
    """
    rank, world_size = rank_and_world_size()
    sums = torch.zeros(2, dtype=torch.float64, device=images.device)
    seen = 0
    was_training = model.training
    model.eval()
    for batch, labels in evaluation_batches(images, batch_size=batch_size, rank=rank, world_size=world_size):
        with torch.autocast(batch.device.type, dtype=AUTOCAST[precision], enabled=precision != "fp32"):
            logits = model(normalize(batch, mean=data.mean, std=data.std))
        loss = F.cross_entropy(logits.float(), labels, reduction="sum")
        correct = (logits.argmax(dim=1) == labels).sum()
        sums += torch.stack([loss.double(), correct.double()])
        seen += len(labels)
    model.train(was_training)
    return reduce_sums(sums, seen)


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the number of processes that train together; (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def reduce_sums(sums: Tensor, images: int) -> Evaluation:
    """Return the means over all ranks' images.

    Args:
        sums: (2,) float64, this rank's summed loss and number of correct images.
        images: How many images this rank saw.
    """
    total = torch.cat([sums, sums.new_tensor([images])])
    if dist.is_initialized():
        dist.all_reduce(total)
    loss, correct, count = total.tolist()
    return Evaluation(loss / count, correct / count)
