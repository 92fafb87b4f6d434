"""A trial: one complete recipe to train, under a name that a person can read and that no other recipe has."""

from dataclasses import dataclass
from functools import lru_cache

from raytrain.training.recipe import Recipe
from raytrain.training.trial_id import trial_id
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of


@dataclass(frozen=True)
class Trial:
    """One complete recipe to train.

    Attributes:
        id: Readable name that ends in the recipe's digest; also the name of the trial's folder.
        recipe: The recipe to train.
    """

    id: str
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe) -> "Trial":
        """Return the trial of `recipe`; the same recipe has the same id in every experiment."""
        lr = f"{recipe.lr:g}".replace("+", "")
        names = [short_name(component) for component in (recipe.arch, recipe.optimizer, recipe.schedule)]
        words = (*names[:2], f"lr{lr}", names[2], f"s{recipe.seed}")
        return cls(trial_id(words, recipe.digest), recipe)


@lru_cache(maxsize=1024)
def short_name(component: str) -> str:
    """Return the name of a component as a folder may be called: `MyNet` of `my_net.py:MyNet@3f2a9c1b7d04(depth=3)`."""
    name = name_of(component)
    reference = reference_of(name)
    return reference.attribute if reference else name.replace(":", "-")
