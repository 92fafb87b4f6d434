"""A folder with code of a user's own."""

from pathlib import Path

import pytest

NET = """
from torch import nn

import my_layers


class MyNet(nn.Module):
    def __init__(self, num_classes: int, *, width: int, depth: int = 1):
        super().__init__()
        self.body = nn.Sequential(my_layers.block(3, width), *[my_layers.block(width, width) for _ in range(1, depth)])
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


def no_logits(num_classes):
    return nn.Flatten()
"""
LAYERS = """
from torch import nn


def block(inside, outside):
    return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1, stride=2), nn.ReLU())
"""
REST = """
import torch
from torch.nn import functional as F


def noise(images, *, strength: float = 8.0, generator):
    full = 1.0 if images.is_floating_point() else 255.0
    drawn = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + strength / 255 * full * drawn).clamp(0, full).to(images.dtype)


def steps(progress, *, drop: float = 0.1):
    return 1.0 if progress < 0.5 else drop


def rmsprop(groups, *, lr):
    return torch.optim.RMSprop(groups, lr=lr)


def focal(logits, targets, *, gamma: float = 2.0):
    losses = F.cross_entropy(logits, targets, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def blend(images, labels, *, num_classes):
    soft = F.one_hot(labels, num_classes).float()
    return images.lerp(images.roll(1, 0), 0.3), soft.lerp(soft.roll(1, 0), 0.3)


def stripes(*, image_size, count: int = 60):
    import numpy

    labels = numpy.arange(count) % 2
    images = numpy.zeros((count, image_size, image_size), dtype=numpy.uint8)
    images[labels == 1, ::2] = 200
    images += numpy.arange(count, dtype=numpy.uint8)[:, None, None] % 50
    return images, numpy.array(["plain", "striped"])[labels]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: my_net.py, my_layers.py, which it imports, and my_rest.py."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"my_net.py": NET, "my_layers.py": LAYERS, "my_rest.py": REST}.items():
        (tmp_path / name).write_text(text)
    return tmp_path
