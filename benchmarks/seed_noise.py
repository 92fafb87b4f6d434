"""Kinds of noise between seeds, as benchmarks/referee.py draws them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytrain.analysis.statistics.sequential import Differences

BAD = 0.06
"""How much lower bad seeds end, a fraction."""
BAD_NOISE = 0.001
"""Standard deviation of all other seeds beside bad ones, a fraction."""

Accuracies = NDArray[np.float64]
Draw = Callable[[tuple[int, ...], float, np.random.Generator], Accuracies]
"""Draws accuracies of a shape, of a network whose mean accuracy is a gain above that of the base."""


def normal(noise: float, images: int | None = None) -> Draw:
    """Return what draws normal accuracies, on the grid of some images if they are given."""

    def draw(shape: tuple[int, ...], gain: float, generator: np.random.Generator) -> Accuracies:
        values = 0.95 + gain + generator.normal(0, noise, shape)
        return np.round(values * images) / images if images else values

    return draw


def binomial(images: int, accuracy: float) -> Draw:
    """Return what draws the number of correct images, each right or wrong by itself."""

    def draw(shape: tuple[int, ...], gain: float, generator: np.random.Generator) -> Accuracies:
        return generator.binomial(images, accuracy + gain, shape) / images

    return draw


@dataclass(frozen=True)
class Kind:
    """A kind of seed noise.

    Attributes:
        name: What the tables call it.
        draw: What draws accuracies.
        noise: Standard deviation over seeds, a fraction.
        images: Number of test images; None for continuous accuracies.
    """

    name: str
    draw: Draw
    noise: float
    images: int | None = None

    def differences(self, values: Accuracies) -> Differences:
        """Return differences with the least variance that is known without predictions: that of the rounding."""
        floor = 1 / (6 * self.images**2) if self.images else 0.0
        return Differences(values, np.full(values.shape, floor))


def kinds() -> list[Kind]:
    points = (0.001, 0.002, 0.003, 0.005)
    return [
        *(Kind(f"normal, {100 * noise:.1f} points", normal(noise), noise) for noise in points),
        *(Kind(f"360 images, {100 * noise:.1f} points", normal(noise, 360), noise, 360) for noise in points),
        Kind("binomial, 360 images, 0.9 points", binomial(360, 0.97), np.sqrt(0.97 * 0.03 / 360), 360),
        Kind("binomial, 10,000 images, 0.2 points", binomial(10_000, 0.95), np.sqrt(0.95 * 0.05 / 10_000), 10_000),
    ]


def with_bad_seeds(share: float) -> Draw:
    """Return what draws normal accuracies of which a share lies 6 points lower, the others so much higher in turn."""

    def draw(shape: tuple[int, ...], gain: float, generator: np.random.Generator) -> Accuracies:
        bad = generator.random(shape) < share
        return 0.95 + gain + generator.normal(0, BAD_NOISE, shape) + BAD * (share - bad)

    return draw
