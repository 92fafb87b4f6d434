"""What the splits of a recipe depend on."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from raytrain.data import ImageDataset, load
from raytrain.data.layouts.background import WHITE
from raytrain.data.split import TEST_SIZE


class DataKey(NamedTuple):
    """What the splits of a recipe depend on: recipes with equal keys train on the same images.

    Attributes:
        dataset: Name, path or URI of the data set.
        image_size: Height and width of the images in pixels.
        val_size: Validation images held out: a count, or below 1 a share of the training images.
        test_size: Test images held out where the data set has no test part, in the same way.
        columns: Names of the columns of Parquet files, as text.
        skip_bad: Whether images that cannot be read are left out.
        background: Colour behind transparent pixels.
        follow_links: Whether links are followed that lead out of the folder of the data set.
    """

    dataset: str
    image_size: int
    val_size: float
    test_size: float = TEST_SIZE
    columns: str = ""
    skip_bad: bool = False
    background: str = WHITE
    follow_links: bool = False

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Self:
        """Return the key of a recipe on record.

        Args:
            recipe: Fields of a recipe; those that an earlier version did not have may be missing.
        """
        return cls(**{name: recipe[name] for name in cls._fields if name in recipe})

    @classmethod
    def of_test_images(cls, recipe: Mapping[str, Any]) -> tuple[object, ...]:
        """Return what decides which test images there are, of a recipe on record: equal for equal test sets.

        Args:
            recipe: Fields of a recipe; those that an earlier version did not have may be missing.
        """
        return tuple(map(recipe.get, OF_TEST_IMAGES, map(cls._field_defaults.get, OF_TEST_IMAGES)))

    @property
    def label(self) -> str:
        """The data set and the size of its images in words: "digits at 32 px"."""
        other = "" if self.test_size == type(self)._field_defaults["test_size"] else f", test_size {self.test_size:g}"
        columns = f", columns {self.columns}" if self.columns else ""
        skipped = ", skip_bad" if self.skip_bad else ""
        background = "" if self.background == WHITE else f", background {self.background}"
        links = ", follow_links" if self.follow_links else ""
        return f"{self.dataset} at {self.image_size} px{other}{columns}{skipped}{background}{links}"

    def load(self, *, quiet: bool = False) -> ImageDataset:
        """Return the data set, without its validation split; arguments and errors are those of `data.load`."""
        return load(
            self.dataset,
            image_size=self.image_size,
            test_size=self.test_size,
            columns=self.columns,
            skip_bad=self.skip_bad,
            background=self.background,
            follow_links=self.follow_links,
            quiet=quiet,
        )


OF_TEST_IMAGES = ("dataset", "test_size", "columns", "skip_bad", "follow_links")
"""Fields that decide which test images there are; the others decide how they look, and how the rest is split."""
