"""Images per second and core that are cropped, flipped, jittered, normalised and mixed: ours against three others.

python benchmarks/input_pipeline.py --data PATH

All on one thread and in batches of 128. (1) PIL images one by one, as torchvision's documentation does it and as the
student did; (2) torchvision's v2 transforms on one uint8 tensor at a time; (3) kornia on whole batches. Each is
followed by torchvision's CutMix or MixUp on the batch.
"""

import sys
import time
from collections.abc import Callable, Iterator

import torch
from comparison import Comparison, Record, arguments, interleaved, real_or_random
from epoch import CPU, PilImages, part
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from raytrain.data import LabelledImages, split
from raytrain.training.evaluation import TrainingData
from raytrain.training.inputs import training_inputs
from raytrain.training.recipe import Recipe

BATCH = 128
JITTER = (0.4, 0.4, 0.4)

Batches = Iterator[tuple[Tensor, Tensor]]


class TensorImages(Dataset[tuple[Tensor, int]]):
    """Images as uint8 tensors (3, H, W), transformed one by one."""

    def __init__(self, images: LabelledImages, transform: v2.Compose) -> None:
        self.pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2).contiguous()
        self.labels = images.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), int(self.labels[index])


def mixed(batches: Batches) -> Batches:
    mix = v2.RandomChoice([v2.CutMix(num_classes=10), v2.MixUp(num_classes=10)])
    for images, labels in batches:
        yield mix(images, labels)


def ours(data: TrainingData, *, jitter: bool) -> Callable[[], Batches]:
    augment = ("crop", "flip", "jitter") if jitter else ("crop", "flip")
    recipe = Recipe(augment=augment, mix="cutmix_or_mixup", batch_size=BATCH)
    return lambda: training_inputs(recipe, data, epoch=0)


def pil(images: LabelledImages, data: TrainingData, *, jitter: bool) -> Callable[[], Batches]:
    steps = [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        *([transforms.ColorJitter(*JITTER)] if jitter else []),
        transforms.ToTensor(),
        transforms.Normalize(data.mean, data.std),
    ]
    loader = DataLoader(PilImages(images, transforms.Compose(steps)), batch_size=BATCH, shuffle=True)
    return lambda: mixed(iter(loader))


def torchvision_v2(images: LabelledImages, data: TrainingData, *, jitter: bool) -> Callable[[], Batches]:
    steps = [
        v2.RandomCrop(32, padding=4),
        v2.RandomHorizontalFlip(),
        *([v2.ColorJitter(*JITTER)] if jitter else []),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(data.mean, data.std),
    ]
    loader = DataLoader(TensorImages(images, v2.Compose(steps)), batch_size=BATCH, shuffle=True)
    return lambda: mixed(iter(loader))


def kornia(data: TrainingData, *, jitter: bool) -> Callable[[], Batches]:
    from kornia import augmentation as K  # noqa: N812 (as its documentation calls it)

    steps = torch.nn.Sequential(
        K.RandomCrop((32, 32), padding=4),
        K.RandomHorizontalFlip(),
        *([K.ColorJitter(*JITTER, p=1.0)] if jitter else []),
        K.Normalize(torch.tensor(data.mean), torch.tensor(data.std)),
    )
    pixels = data.train.images.permute(0, 3, 1, 2)

    def batches() -> Batches:
        for rows in torch.randperm(len(pixels)).split(BATCH):
            yield steps(pixels[rows].float().div_(255)), data.train.labels[rows]

    return lambda: mixed(batches())


def images_per_second(batches: Callable[[], Batches]) -> float:
    started, seen = time.perf_counter(), 0
    for images, _ in batches():
        seen += len(images)
    return seen / (time.perf_counter() - started)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", default="cifar10", help="a data set's name or path")
    parser.add_argument("--images", type=int, default=4096)
    options = parser.parse_args()
    try:
        import kornia as _  # noqa: F401
    except ImportError:
        print('kornia is not installed; install it with: pip install -e ".[bench]"', file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    torch.manual_seed(0)
    record = Record("input_pipeline")
    dataset, record.details["data"] = real_or_random(options.data)
    splits = split(dataset, 5000)
    images = part(splits.train, 0, options.images)
    whole = TrainingData.on(CPU, splits)
    data = TrainingData(part(whole.train, 0, options.images), whole.val, whole.test, whole.mean, whole.std, 10)
    for jitter in (True, False):
        others = [
            ("PIL in a DataLoader", pil(images, data, jitter=jitter), 10.0),
            ("torchvision v2, one by one", torchvision_v2(images, data, jitter=jitter), None),
            ("kornia on batches", kornia(data, jitter=jitter), 1.5),
        ]
        mine = ours(data, jitter=jitter)
        images_per_second(mine)
        for baseline, theirs, target in others:
            images_per_second(theirs)
            measured = interleaved(
                lambda mine=mine: images_per_second(mine),
                lambda theirs=theirs: images_per_second(theirs),
                pairs=options.pairs,
            )
            what = f"crop, flip,{' jitter,' if jitter else ''} mix: per core"
            row = Comparison(what, baseline, "images/s", *measured)
            record.add(row.aiming(at_least=target) if jitter and target else row)
    record.write(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
