"""Mean and standard deviation per channel that images are normalised by, where they are not those of the data."""

from collections.abc import Sequence

from raytrain.errors import ModelError
from raytrain.models.libraries import library_model

Channels = tuple[float, float, float]
"""A number for each channel: red, green, blue; on the scale [0, 1]."""
IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation that networks for ImageNet are usually trained with, as torchvision documents them."""


def normalization_of_weights(name: str) -> tuple[Channels, Channels]:
    """Return the mean and the standard deviation that a network's pretrained weights were trained with.

    The library says them; no weights are loaded.

    Args:
        name: Name of a library's network, such as `torchvision:resnet18`.

    Raises:
        ModelError: The library has no pretrained weights of it, or is not installed.
    """
    found = library_model(name)
    assert found, "a recipe checks that the network is a library's"
    library, model = found
    try:
        said = _timm(model) if library == "timm" else _torchvision(model)
    except ImportError as error:
        raise ModelError(
            f"normalize: weights: install {library}, which knows them for {name}, or give normalize: imagenet or data"
        ) from error
    if said is None:
        raise ModelError(
            f"normalize: weights: {library} has no pretrained weights of {model}, so it knows no mean and standard "
            "deviation for them; give normalize: imagenet, or data"
        )
    mean, std = ((float(red), float(green), float(blue)) for red, green, blue in said)
    return mean, std


def _torchvision(model: str) -> tuple[Sequence[float], Sequence[float]] | None:
    from torchvision import models

    weights = models.get_model_weights(model)
    if not len(weights):
        return None
    transforms = weights.DEFAULT.transforms()  # pyright: ignore[reportAttributeAccessIssue]
    return transforms.mean, transforms.std


def _timm(model: str) -> tuple[Sequence[float], Sequence[float]] | None:
    import timm

    said = timm.get_pretrained_cfg(model) if timm.is_model_pretrained(model) else None
    return (said.mean, said.std) if said else None
