"""The networks that a library has, with the pretrained weights of each: all, or those of a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from raytrain.errors import ExperimentError, did_you_mean
from raytrain.models.libraries import LIBRARIES, not_installed


@dataclass(frozen=True)
class LibraryNetwork:
    """A network of a library.

    Attributes:
        name: Name as a recipe gives it: "timm:resnet18".
        weights: Names of the library's pretrained weights of it. Those of timm may stand behind the name, as in
            "timm:resnet18.a1_in1k".
    """

    name: str
    weights: tuple[str, ...]


def family(like: str) -> list[LibraryNetwork]:
    """Return the networks of a library whose names begin as a text does, in the library's order.

    Args:
        like: Library, colon and the beginning of a name, in which `*` stands for any characters: "timm:resnet",
            "timm:*vit*", "torchvision:".

    Raises:
        ExperimentError: There is no such library, it is not installed, or it has no such network.
    """
    library, colon, begins = like.partition(":")
    if not colon or library not in LIBRARIES:
        libraries = " or ".join(f"{name}:{begins or library}" for name in LIBRARIES)
        raise ExperimentError(f"--like {like}: give a library and the beginning of a name, such as {libraries}")
    networks = _NETWORKS[library]()
    found = [name for name in networks if fnmatchcase(name, f"{begins.lower()}*")]
    if not found:
        hint = did_you_mean(begins, networks, most=3, shown=lambda one: f"{library}:{one}", between=", ")
        said = [hint, f"`--like {library}:` lists all, and * stands for any characters"]
        raise ExperimentError(f"--like {like}: {library} has no such network; {' '.join(filter(None, said))}")
    return [LibraryNetwork(f"{library}:{name}", networks[name]) for name in found]


def _timm() -> dict[str, tuple[str, ...]]:
    try:
        import timm
    except ImportError as error:
        raise ExperimentError(not_installed("timm:")) from error
    tags: dict[str, list[str]] = {name: [] for name in timm.list_models()}
    for tagged in timm.list_pretrained():
        name, _, tag = tagged.partition(".")
        tags.setdefault(name, []).append(tag)
    return {name: tuple(found) for name, found in tags.items()}


def _torchvision() -> dict[str, tuple[str, ...]]:
    from torchvision import models

    return {
        name: tuple(weights.name for weights in models.get_model_weights(name))
        for name in models.list_models(module=models)
    }


_NETWORKS: dict[str, Callable[[], dict[str, tuple[str, ...]]]] = {"timm": _timm, "torchvision": _torchvision}
