"""Expected seconds of trials, by the kind of trial.

Before anything has run, a trial's time is estimated from its floating-point operations; as soon as an epoch of its
kind has been measured, from that.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from statistics import median
from typing import Self

from raytrain.data import Splits
from raytrain.data.augmentation.resolution import mean_area
from raytrain.data.data_key import DataKey
from raytrain.training.choices import model_size
from raytrain.training.recipe import EpochTime, Recipe

Kind = tuple[object, ...]
"""The values of `DECIDE_THE_TIME` in a recipe: recipes with equal ones have epochs of equal length."""

DECIDE_THE_TIME = tuple(name for name, field in Recipe.model_fields.items() if EpochTime.DEPENDS in field.metadata)
"""Names of the recipe fields that the time of an epoch depends on."""
_DECIDING: Callable[[Recipe], Kind] = attrgetter(*DECIDE_THE_TIME)


def kind_of(recipe: Recipe) -> Kind:
    """Return what `recipe` has in common with those whose epochs take as long."""
    return _DECIDING(recipe)


def epoch_flops(recipe: Recipe, *, images: int, classes: int) -> float:
    """Return the floating-point operations of the forward passes of an epoch, on average over the trial.

    Args:
        recipe: The recipe.
        images: Number of training images.
        classes: Number of classes.
    """
    area = mean_area(recipe.resolution, epochs=recipe.epochs, full=recipe.image_size)
    return float(images) * model_size(recipe, classes).forward_flops * area


class Costs:
    """Expected seconds of an epoch, by kind of trial.

    Args:
        flops: Floating-point operations of an epoch by kind, which are known before anything has run.
    """

    def __init__(self, flops: Mapping[Kind, float]) -> None:
        self._flops = dict(flops)
        self._seconds: dict[Kind, float] = {}
        self._epochs: dict[Kind, int] = {}

    @classmethod
    def of(cls, recipes: Iterable[Recipe], splits: Mapping[DataKey, Splits]) -> Self:
        """Return the costs of recipes by their operations alone, without those whose images are not there.

        Args:
            recipes: The recipes.
            splits: The split images of each data set, by `Recipe.data_key`.
        """
        flops: dict[Kind, float] = {}
        for recipe in recipes:
            if (images := splits.get(recipe.data_key)) and (kind := kind_of(recipe)) not in flops:
                flops[kind] = epoch_flops(recipe, images=len(images.train), classes=len(images.classes))
        return cls(flops)

    def took(self, kind: Kind, seconds: float, *, epochs: int = 1) -> None:
        """Add a measurement: the seconds that a number of epochs of a kind took together."""
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds
        self._epochs[kind] = self._epochs.get(kind, 0) + epochs

    def epoch_seconds(self, kind: Kind) -> float:
        """Return the expected seconds of an epoch: as measured, else from its operations at the other kinds' speed.

        While nothing has been measured, the speed is set to one operation per second: only the order of such numbers
        means anything.
        """
        if self._epochs.get(kind):
            return self._seconds[kind] / self._epochs[kind]
        speeds = [
            self._seconds[known] / epochs / self._flops[known] for known, epochs in self._epochs.items() if epochs
        ]
        return self._flops[kind] * (median(speeds) if speeds else 1.0)
