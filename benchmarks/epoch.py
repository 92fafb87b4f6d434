"""An epoch of our loop against the loop that the student wrote, side by side on the same images and cores.

python benchmarks/epoch.py --data PATH

The student's loop, in our words: images as PIL, augmented one by one in a DataLoader with two workers, batches of 128,
fp32 and NCHW, CutMix or MixUp on the CPU, `.item()` at every step; after the epoch the augmented training set and the
test set are gone through once more. Ours: what `raytrain.training.loop.train` does, with its validation.

Both loops take turns on slices of the images, because the machine's speed drifts: 2,048 images for ResNet-18, 1,024 for
ResNet-50, three turns each. Shorter turns would flatter ours: each epoch of the student starts the two processes of a
DataLoader three times. The record says what one start takes, and what share of a turn and of an epoch of 50,000 images
three starts are. Data-set proportions are CIFAR-10's: one test image to five training images for the student, one
validation image to nine training images for us.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from comparison import Comparison, Record, arguments, interleaved, real_or_random
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from raytrain.data import ImageDataset, LabelledImages, split
from raytrain.data.batches import DeviceImages
from raytrain.models.architectures import ARCHITECTURES
from raytrain.training.evaluation import TrainingData
from raytrain.training.loop import train
from raytrain.training.recipe import Recipe
from raytrain.training.state import TrainState

TARGETS = {"resnet18": 3.0, "resnet50": 4.0}
TURNS = {"resnet18": 2048, "resnet50": 1024}
"""Training images of a turn."""
CIFAR_IMAGES = 50_000
STARTS = 5
"""Starts of a DataLoader that are timed."""
CPU = torch.device("cpu")


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets give them: PIL, transformed when asked for."""

    def __init__(self, images: LabelledImages, transform: transforms.Compose) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images.images[index])), int(self.images.labels[index])


class StudentLoop:
    """The student's loop.

    Attributes:
        model: The network.
        batch_size: Images of a step; his is 128.
        device: The device that computes. Images are read, augmented and mixed on the CPU.
        seconds: What the epochs so far took, by part.
    """

    def __init__(
        self,
        arch: str,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        lr: float = 0.05,
        width: int = 64,
        batch_size: int = 128,
        device: torch.device = CPU,
    ) -> None:
        self.mean_std = transforms.Normalize(mean, std)
        self.batch_size, self.device = batch_size, device
        self.model = ARCHITECTURES[arch](10, width=width).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)
        self.loss = nn.CrossEntropyLoss()
        self.mix = v2.RandomChoice([v2.CutMix(num_classes=10), v2.MixUp(num_classes=10)])
        self.seconds: dict[str, float] = {"steps and input": 0.0, "evaluation": 0.0}

    def batches(self, images: LabelledImages, *, augmented: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        augment = [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4),
        ]
        transform = transforms.Compose([*(augment if augmented else []), transforms.ToTensor(), self.mean_std])
        return DataLoader(PilImages(images, transform), batch_size=self.batch_size, shuffle=augmented, num_workers=2)

    def epoch(self, train: LabelledImages, test: LabelledImages) -> None:
        started = time.perf_counter()
        self.model.train()
        total = 0.0
        for images, labels in self.batches(train, augmented=True):
            inputs, targets = (mixed.to(self.device) for mixed in self.mix(images, labels))
            self.optimizer.zero_grad()
            loss = self.loss(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        trained = time.perf_counter()
        self.evaluate(self.batches(train, augmented=True))
        self.evaluate(self.batches(test, augmented=False))
        self.seconds["steps and input"] += trained - started
        self.seconds["evaluation"] += time.perf_counter() - trained

    def start_seconds(self, images: LabelledImages) -> float:
        """Return the seconds from the start of a DataLoader's processes to its first batch, of two images."""
        started = time.perf_counter()
        next(iter(self.batches(part(images, 0, 2), augmented=True)))
        return time.perf_counter() - started

    @torch.no_grad()
    def evaluate(self, batches: DataLoader[tuple[Tensor, Tensor]]) -> float:
        self.model.eval()
        correct, seen = 0, 0
        for pixels, classes in batches:
            images, labels = pixels.to(self.device), classes.to(self.device)
            logits = self.model(images)
            self.loss(logits, labels).item()
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
        return correct / seen


def part(images: LabelledImages | DeviceImages, start: int, end: int) -> "LabelledImages | DeviceImages":
    """Return some of the images, without a copy."""
    return dataclasses.replace(images, images=images.images[start:end], labels=images.labels[start:end])


def compare(arch: str, record: Record, *, dataset: ImageDataset, size: int, pairs: int) -> None:
    splits = split(dataset, 5000)
    student = StudentLoop(arch, mean=splits.mean, std=splits.std)
    recipe = Recipe(arch=arch, epochs=10_000, augment=("crop", "flip", "jitter"), mix="cutmix_or_mixup", lr=0.05)
    data = TrainingData.on(CPU, splits)
    state = TrainState.create(recipe, num_classes=10, device=CPU, data=data)
    slices: dict[str, Iterator[int]] = {side: iter(range(-1, pairs)) for side in ("ours", "theirs")}

    def ours() -> float:
        at = max(0, next(slices["ours"])) * size
        here = dataclasses.replace(data, train=part(data.train, at, at + size), val=part(data.val, 0, size // 9))
        metrics = next(train(recipe, state, here))
        return metrics.seconds

    def theirs() -> float:
        at = max(0, next(slices["theirs"])) * size
        started = time.perf_counter()
        student.epoch(part(splits.train, at, at + size), part(splits.test, 0, size // 5))
        return time.perf_counter() - started

    ours()  # the first pass allocates, and oneDNN picks its kernels
    theirs()
    student.seconds = dict.fromkeys(student.seconds, 0.0)
    measured = interleaved(ours, theirs, pairs=pairs)
    record.add(
        Comparison(
            f"{arch}: an epoch of {size:,} images, with its evaluation", "the student's loop", "s", *measured
        ).aiming(at_least=TARGETS.get(arch, 3.0))
    )
    start = statistics.median(student.start_seconds(splits.train) for _ in range(STARTS))
    turn = statistics.median(measured[1])
    epoch = (turn - 3 * start) * CIFAR_IMAGES / size + 3 * start
    record.details[arch] = {
        "images": size * pairs,
        "seconds of one start of the student's DataLoader": start,
        "share of three starts in a turn": 3 * start / turn,
        "share of three starts in an epoch of 50,000 images": 3 * start / epoch,
        "seconds of an epoch of 50,000 images": {
            "ours": statistics.median(measured[0]) * CIFAR_IMAGES / size,
            "the student's loop": epoch,
        },
        "our shares": our_shares(recipe, state, data, size),
        "student's shares": {k: v / sum(student.seconds.values()) for k, v in student.seconds.items()},
    }


def our_shares(recipe: Recipe, state: TrainState, data: TrainingData, size: int) -> dict[str, float]:
    """Return which part of an epoch goes into input, steps and evaluation."""
    from raytrain.training.evaluation import evaluate
    from raytrain.training.inputs import training_inputs

    some = dataclasses.replace(data, train=part(data.train, 0, size), val=part(data.val, 0, 0))
    started = time.perf_counter()
    for _ in training_inputs(recipe, some, epoch=0):
        pass
    inputs = time.perf_counter() - started
    started = time.perf_counter()
    evaluate(state.evaluated_model, part(data.val, 0, size // 9), data=data, precision=state.precision)
    evaluation = time.perf_counter() - started
    training = next(train(recipe, state, some)).seconds
    total = training + evaluation
    return {"input": inputs / total, "step": (training - inputs) / total, "evaluation": evaluation / total}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", default="cifar10", help="a data set's name or path")
    parser.set_defaults(pairs=3)
    parser.add_argument("--images", type=int, help="training images per turn (2,048; 1,024 for resnet50)")
    parser.add_argument("--archs", nargs="+", default=list(TURNS), choices=list(ARCHITECTURES))
    options = parser.parse_args()
    torch.manual_seed(0)
    record = Record("epoch")
    dataset, record.details["data"] = real_or_random(options.data)
    for arch in options.archs:
        compare(arch, record, dataset=dataset, size=options.images or TURNS.get(arch, 1024), pairs=options.pairs)
    record.write(options.output)


if __name__ == "__main__":
    sys.exit(main())
