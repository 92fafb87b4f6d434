"""Where trials start, tried before anything does: weights that do not fit, or a head that is missing, are said."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import ExperimentError, RunFolderError
from raytrain.models.normalization import normalization_of_weights
from raytrain.provenance.manifest import Inputs, read_manifest
from raytrain.storage.bounded import read_bounded
from raytrain.storage.folder import Folder
from raytrain.training.initial.copies import INIT, stored_content
from raytrain.training.initial.sources import (
    NONE,
    PRETRAINED,
    Source,
    read_source,
    source_of,
    stored_name,
    weights_digest,
)
from raytrain.training.recipe import Recipe
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import without_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)


def initial_contents(recipes: Iterable[tuple[Recipe, int]], run: Folder | None) -> dict[str, bytes]:
    """Return the content of the weights that recipes start from, by its name in a run folder, and log what is left out.

    Args:
        recipes: Recipes, each with its number of classes.
        run: The run folder, whose copies are taken where it has them; None to leave them aside.

    Raises:
        ModelError: Weights cannot be read, or do not fit the network, or nothing says how to normalise images for
            them.
        ExperimentError: A backbone is to be treated otherwise than the head, and the network has no head.
        RunFolderError: A copy in the run folder has been changed.
    """
    contents: dict[str, bytes] = {}
    tried: set[tuple[object, ...]] = set()
    for recipe, classes in recipes:
        if recipe.normalize == "weights":
            normalization_of_weights(name_of(recipe.arch))
        apart = recipe.head_apart
        key = (recipe.init, recipe.init_strict, recipe.arch, recipe.width, recipe.image_size, classes, apart)
        if (recipe.init == NONE and not apart) or key in tried:
            continue
        tried.add(key)
        if apart:
            _refuse_headless(recipe, classes)
        if recipe.init == NONE:
            continue
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


def initial_weights(recipe: Recipe) -> "dict[str, Tensor] | None":
    """Return the weights that a recipe's `init` names, for `TrainState.create`; None where it names none.

    Args:
        recipe: Recipe whose `init` is "none", "pretrained", or what `raytrain.weights` returned in this process.

    Raises:
        ExperimentError: This process has not been told where the weights are.
        ModelError: They cannot be read, or pretrained ones cannot be loaded.
    """
    from raytrain.models.weights import read_weights

    init = recipe.init
    if init == NONE:
        return None
    if init != PRETRAINED and source_of(init) is None:
        raise ExperimentError(f"init: {init}: it is not known where these weights are; name them by raytrain.weights")
    return read_weights(read_source(init, recipe.arch), name=f"init: {init}")


def trained_on_test_images(recipe: Recipe, images: Splits) -> str:
    """Return a warning that the weights of `init` have seen test images, as a sentence; empty where nothing says so.

    Where a data set has no test part, an image more or less changes which images are set aside for the test. That the
    earlier training had the same data set is told by the last part of its path, and that this has changed since by the
    fingerprint, or for images of another size by the number of images. It is not known where neither the run nor the
    description of an exported model is there.

    Args:
        recipe: A recipe.
        images: Its images.
    """
    source = source_of(recipe.init)
    if source is None or not images.test_set_aside:
        return ""
    now, counts = recipe.data_key, (len(images.train) + len(images.val), len(images.test))
    changed: list[bool] = []
    for then, fingerprint, counts_then in _trained_on(source, recipe.init):
        if Path(without_digest(then.dataset)).name == Path(without_digest(now.dataset)).name:
            same_pixels = (then.image_size, then.background) == (now.image_size, now.background)
            changed.append(fingerprint != images.fingerprint if same_pixels else counts_then not in (None, counts))
    if not changed or not all(changed):
        return ""
    return (
        f"init: {recipe.init.rpartition('@')[0]} was trained on other images of {without_digest(now.dataset)}: with no "
        "test part, other images are set aside for the test now, and it may have been trained on most of them; give "
        "images that it has not seen as test/ beside train/"
    )


def _trained_on(source: Source, init: str) -> list[tuple[DataKey, str | None, tuple[int, int] | None]]:
    """Return what weights were trained on: data set, fingerprint, images for training and for the test, where known."""
    try:
        if source.run:
            manifest = read_manifest(Folder.at(source.run))
            keys = [(DataKey.of(entry), Inputs.of(entry)) for entry in manifest.get("inputs", ())]
            data = manifest["data"]
            return [(key, data.get(key.label), (one.train + one.val, one.test)) for key, one in keys]
        from raytrain.inference.model_file import MAX_DESCRIPTION, description_of

        if source.path is None or not (described := description_of(source.path)).exists():
            return []
        said = json.loads(read_bounded(described, most=MAX_DESCRIPTION))
        if said["sha256"].startswith(weights_digest(init)) and said["fingerprint"]:
            return [(DataKey.of(said["recipe"]), said["fingerprint"], None)]
    except (RunFolderError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        log.debug("what %s was trained on is not known", init, exc_info=True)
    return []


def _built(recipe: Recipe, classes: int) -> "nn.Module":
    import torch

    with torch.random.fork_rng(devices=[]):
        return recipe.build_network(classes)


def _refuse_headless(recipe: Recipe, classes: int) -> None:
    from raytrain.models.head import backbone_and_head

    try:
        backbone_and_head(_built(recipe, classes), classes)
    except ValueError as error:
        raise ExperimentError(f"{without_digest(recipe.arch)}: {error}") from None


def _try(recipe: Recipe, classes: int, content: bytes) -> None:
    from raytrain.models.weights import initialise, read_weights

    network = _built(recipe, classes)
    name = f"init: {recipe.init} for {recipe.arch}"
    weights = read_weights(content, name=name)
    left_out = initialise(network, weights, classes=classes, strict=recipe.init_strict, name=name)
    if left_out:
        log.info("%s: left out: %s", name, ", ".join(left_out))
