"""A model from a file at work: measured on a data set, and asked what images show."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raytrain.data import ImageDataset, LabelledImages
from raytrain.data.batches import evaluation_batches, normalize, on_device
from raytrain.data.layouts.background import WHITE
from raytrain.data.layouts.decode import decode, resized
from raytrain.data.layouts.source_folder import MAX_FILE
from raytrain.errors import DataError, ModelError, first_line
from raytrain.inference.image_paths import image_paths
from raytrain.inference.model_file import ModelDescription, read_model
from raytrain.metrics.epoch import Evaluation
from raytrain.metrics.predictions import Predictions
from raytrain.models.weights import load_weights
from raytrain.storage.bounded import read_bounded
from raytrain.training.devices import autocast, choose_device
from raytrain.training.evaluation import TrainingData, images_at_once, predict
from raytrain.training.recipe import Recipe
from raytrain.user_code.reference import digests_in
from raytrain.user_code.source import Source, keep_all, kept

BATCH = 256
"""Most images that are predicted at a time."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about some images.

    Attributes:
        classes: Name of the most probable class of each image.
        probabilities: (N, classes) float64 in [0, 1], in the order of `Model.classes`; each row adds up to 1.
        files: Path of each image, those in a folder sorted; empty where an array was given.
    """

    classes: list[str]
    probabilities: NDArray[np.float64]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
        network: The network, in evaluation mode, on `device`.
        description: Origin of the weights, classes and normalisation.
        device: Device on which the network computes.
    """

    network: nn.Module
    description: ModelDescription
    device: torch.device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self.description.classes

    @property
    def image_size(self) -> int:
        """Height and width in pixels that every image is brought to."""
        return Recipe(**self.description.recipe).image_size

    @property
    def background(self) -> str:
        """Colour behind the transparent pixels of an image, as the recipe has it."""
        return Recipe(**self.description.recipe).background

    @property
    def channels_last(self) -> bool:
        """Whether the network takes its images in NHWC memory order."""
        return Recipe(**self.description.recipe).channels_last

    def predict(
        self, images: str | Path | Sequence[str | Path] | NDArray[np.uint8], *, follow_links: bool = False
    ) -> Prediction:
        """Return the most probable class of each image, and the probability of every class.

        Args:
            images: One or several paths of image files (BMP, GIF, JPEG, PNG, PPM, TIFF or WebP), or of folders of such;
                or (N, H, W, 3) uint8, RGB. Other sizes are cropped to a centred square and resized, as in training.
            follow_links: Whether links in a folder are followed that lead out of it.

        Raises:
            DataError: An image cannot be read, a folder has none or links that lead out of it, or the array has another
                shape or type.
        """
        files: tuple[Path, ...] = ()
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
                raise DataError(
                    f"an array of shape {images.shape} and type {images.dtype} is not a batch of images; "
                    "give (N, H, W, 3) of type uint8"
                )
            # PyTorch takes no array that runs backwards, such as bgr[..., ::-1]
            pixels = iter(resized(np.ascontiguousarray(images), image_size=self.image_size))
        else:
            paths = [images] if isinstance(images, str | Path) else images
            found = image_paths([Path(path) for path in paths], follow_links=follow_links)
            if found.refusals:
                raise DataError("\n".join(found.refusals))
            files = tuple(found.files)
            size, background = self.image_size, self.background
            pixels = (read_image(path, image_size=size, background=background) for path in files)
        shares = np.concatenate([np.empty((0, len(self.classes))), *probabilities_in_blocks(self, pixels)])
        return Prediction([self.classes[label] for label in shares.argmax(axis=1)], shares, files)


def load_model(path: str | Path, *, allow_code: bool = False) -> Model:
    """Return the model in a file that `raytrain export` wrote, on a GPU where there is one.

    Args:
        path: model.pth with model.json beside it, or model.safetensors.
        allow_code: Whether the code that the model brings, if its network is its author's own, may run here.

    Raises:
        ModelError: The file or its description is missing, damaged, or of something else, or brings code that is not
            allowed.
    """
    description, weights = read_model(Path(path))
    return build(description, weights, device=choose_device(), allow_code=allow_code, name=str(path))


def build(
    description: ModelDescription,
    weights: dict[str, Tensor],
    *,
    device: torch.device,
    allow_code: bool = False,
    name: str = "the model",
) -> Model:
    """Return the model that a file describes.

    Args:
        description: Description of the weights.
        weights: State dict of the network.
        device: Device to compute on.
        allow_code: Whether the code in the description may run.
        name: What messages call the model.

    Raises:
        ModelError: The weights are not those of the architecture, this raytrain does not know it, or it is code that is
            not allowed.
    """
    if allow_code:
        keep_all(description.code)
    _refuse_code(description, name=name)
    try:
        recipe = Recipe(**description.recipe)
        network = recipe.build_network(len(description.classes))
        load_weights(network, weights)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"the weights do not match their description: {first_line(error)}") from error
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    placed = network.to(device=device).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    return Model(placed.eval(), description, device)


def _refuse_code(description: ModelDescription, *, name: str) -> None:
    """Refuse a network that is code which nobody has allowed to run in this process.

    Raises:
        ModelError: It is; the message says whose code it is, and how to read it.
    """
    arch = str(description.recipe.get("arch", ""))
    (digest,) = digests_in([arch]) or [None]
    if digest is None or kept(digest):
        return
    if digest not in description.code:
        raise ModelError(f"{name}: names the code {arch}, and does not bring it; export the model again")
    raise ModelError(
        f"{name}: its network is code that came with it: {Source(description.code[digest])}, from the trial "
        f"{description.trial} of the run {description.run}. It would run with your rights.\n"
        'Read it: it is under "code" in the model\'s JSON. Then add --allow-code, or allow_code=True in Python.'
    )


def evaluate_on(model: Model, dataset: ImageDataset, *, name: str) -> tuple[Evaluation, Predictions]:
    """Return loss, accuracy and predictions on the test images of a data set, as a trial measures them at its end.

    Raises:
        DataError: Its classes are others than the model's.
    """
    description = model.description
    if dataset.classes != description.classes:
        raise DataError(
            f"{name} has the classes {_listed(dataset.classes)}; the model knows {_listed(description.classes)}.\n"
            "Give a data set with the same classes, in the same order."
        )
    test = on_device(dataset.test, model.device)
    size = dataset.test.images.shape[1]
    none = LabelledImages(np.empty((0, size, size, 3), dtype=np.uint8), np.empty(0, dtype=np.int64))
    empty = on_device(none, model.device)
    mean, std, classes = description.mean, description.std, len(description.classes)
    data = TrainingData(empty, empty, test, mean, std, classes, channels_last=model.channels_last)
    recipe = Recipe(**description.recipe)
    at_once = images_at_once(size, trained=-(-recipe.batch_size // recipe.accumulate))  # as its trial did
    return predict(model.network, test, data=data, precision=description.precision, batch_size=at_once)


def probabilities_in_blocks(model: Model, images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float64]]:
    """Yield how probable each class is for each of some images, for `BATCH` of them at a time.

    Args:
        model: The network.
        images: Images of `probabilities`, one by one, which are asked for as they are needed.
    """
    left = iter(images)
    while block := list(islice(left, BATCH)):
        yield probabilities(model, np.stack(block))


@torch.no_grad()  # what a network caches here can be used in training
def probabilities(model: Model, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how probable each class is for each image.

    Args:
        model: The network.
        images: (N, H, W, 3) uint8, RGB, where H and W are the recipe's `image_size`.

    Returns:
        (N, classes) float64; each row adds up to 1.
    """
    description = model.description
    precision, channels_last = description.precision, model.channels_last
    unknown = np.zeros(len(images), dtype=np.int64)
    parts: list[NDArray[np.float64]] = []
    at_once = min(BATCH, images_at_once(images.shape[1]))
    for batch, _ in evaluation_batches(on_device(LabelledImages(images, unknown), model.device), batch_size=at_once):
        inputs = normalize(batch, mean=description.mean, std=description.std)
        with autocast(model.device, precision):
            logits = model.network(inputs if channels_last else inputs.contiguous())
        parts.append(logits.cpu().double().softmax(dim=1).numpy())
    return np.concatenate(parts) if parts else np.empty((0, len(description.classes)))


def read_image(path: Path, *, image_size: int, background: str = WHITE) -> NDArray[np.uint8]:
    """Return an image as training sees it: RGB, cropped to a centred square, resized; (image_size, image_size, 3).

    Args:
        path: The file.
        image_size: Height and width of the result, in pixels.
        background: Colour behind transparent pixels, as the recipe has it.

    Raises:
        DataError: It cannot be read.
    """
    try:
        content = read_bounded(path, most=MAX_FILE, regular=False)  # also `predict model.pth <(curl ...)`
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return decode(content, image_size=image_size, background=background)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _listed(classes: Sequence[str], *, most: int = 12) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more
