"""The weights that trials start from, tried before anything starts: what does not fit is said by name."""

import hashlib
import logging
from collections.abc import Iterable, Mapping

from raytrain.storage.folder import Folder
from raytrain.training.initial import INIT, NONE, read_source, stored_content, stored_name
from raytrain.training.recipe import Recipe

log = logging.getLogger(__name__)


def initial_contents(recipes: Iterable[tuple[Recipe, int]], run: Folder | None) -> dict[str, bytes]:
    """Return the content of the weights that recipes start from, by its name in a run folder, and log what is left out.

    Args:
        recipes: Recipes, each with its number of classes.
        run: The run folder, whose copies are taken where it has them; None to leave them aside.

    Raises:
        ModelError: Weights cannot be read, or do not fit the network.
        RunFolderError: A copy in the run folder has been changed.
    """
    contents: dict[str, bytes] = {}
    tried: set[tuple[object, ...]] = set()
    for recipe, classes in recipes:
        key = (recipe.init, recipe.init_strict, recipe.arch, recipe.width, recipe.image_size, classes)
        if recipe.init == NONE or key in tried:
            continue
        tried.add(key)
        name = stored_name(recipe.init, recipe.arch)
        if name not in contents:
            stored = stored_content(run, recipe.init, recipe.arch) if run else None
            contents[name] = stored if stored is not None else read_source(recipe.init, recipe.arch)
        _try(recipe, classes, contents[name])
    return contents


def initial_described(contents: Mapping[str, bytes]) -> list[dict[str, object]]:
    """Return what the manifest says of weights: their file in the run folder, and the SHA-256 of its content."""
    return [
        {"file": f"{INIT}/{name}", "sha256": hashlib.sha256(content).hexdigest()} for name, content in contents.items()
    ]


def _try(recipe: Recipe, classes: int, content: bytes) -> None:
    import torch

    from raytrain.models.weights import initialise, read_weights

    with torch.random.fork_rng(devices=[]):
        network = recipe.build_network(classes)
    name = f"init: {recipe.init} for {recipe.arch}"
    weights = read_weights(content, name=name)
    left_out = initialise(network, weights, classes=classes, strict=recipe.init_strict, name=name)
    if left_out:
        log.info("%s: left out: %s", name, ", ".join(left_out))
