"""The data sets that have a name: CIFAR-10 and CIFAR-100, which are downloaded, and the digits of scikit-learn."""

import contextlib
import socket
import sys
from collections.abc import Generator
from http.client import HTTPException
from importlib import metadata
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from raytrain.data.cache import cached, data_home
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.layouts.decode import resized
from raytrain.data.split import stratified
from raytrain.errors import PreflightError

# torchvision sets no timeout: it would wait for ever for a server that does not answer.
SOCKET_TIMEOUT_SECONDS = 30.0

DIGITS_TEST_IMAGES = 360


class Source(Protocol):
    """What DATASETS holds."""

    def __call__(self, *, image_size: int) -> ImageDataset:
        """Return the data set with square images of `image_size` pixels."""
        ...


def cifar10(*, image_size: int) -> ImageDataset:
    """Return CIFAR-10, downloaded once per machine: 50,000 + 10,000 images of 32 x 32 in 10 classes.

    Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".

    Raises:
        PreflightError: It is not on this machine and cannot be downloaded.
    """
    return _cifar("cifar10", "CIFAR10", image_size=image_size)


def cifar100(*, image_size: int) -> ImageDataset:
    """Return CIFAR-100, fine labels, downloaded once per machine: 50,000 + 10,000 images in 100 classes.

    Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".

    Raises:
        PreflightError: It is not on this machine and cannot be downloaded.
    """
    return _cifar("cifar100", "CIFAR100", image_size=image_size)


def digits(*, image_size: int) -> ImageDataset:
    """Return the 1,797 handwritten digits that scikit-learn carries, 8 x 8 grey, resized: needs no network.

    Alpaydin and Kaynak 1998, doi:10.24432/C50P49. The grey levels 0 to 16 become 0 to 255, in three equal
    channels. They are the test part of the original, so a fixed stratified split sets 360 of them aside.
    """
    # scikit-learn takes 1.3 s to import, which is a tenth of the time to the first epoch
    return cached(f"digits-{metadata.version('scikit-learn')}-{image_size}", lambda: _digits(image_size))


def _digits(image_size: int) -> ImageDataset:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    grey: NDArray[np.uint8] = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = resized(np.repeat(grey[..., None], 3, axis=-1), image_size=image_size)
    labels: NDArray[np.int64] = bunch.target.astype(np.int64)
    classes = tuple(str(digit) for digit in range(10))
    train, test = stratified(labels, DIGITS_TEST_IMAGES, classes=classes)
    return image_dataset(
        LabelledImages(images[train], labels[train]),
        LabelledImages(images[test], labels[test]),
        classes=classes,
    )


CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""Names of the folders in which torchvision keeps the two data sets."""
DATASETS: dict[str, Source] = {"cifar10": cifar10, "cifar100": cifar100, "digits": digits}


def _cifar(name: str, loader: str, *, image_size: int) -> ImageDataset:
    try:
        train, test = _torchvision(loader, download=False)  # without a lock: the folder may be read-only
    except RuntimeError:  # absent, incomplete or damaged, by torchvision's checksums
        train, test = _fetch(name, loader)
    return image_dataset(
        _labelled(train, image_size=image_size),
        _labelled(test, image_size=image_size),
        classes=tuple(train.classes),
    )


def _fetch(name: str, loader: str) -> tuple[Any, Any]:
    home = data_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Of many processes one downloads; the others then find the files there.
        with FileLock(home / f"{name}.lock"), _socket_timeout(), contextlib.redirect_stdout(sys.stderr):
            return _torchvision(loader, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise PreflightError(
            f"{name} is not in {home} and could not be downloaded there ({type(error).__name__}: {error}); "
            f"run `raytrain data fetch {name}` where there is a network and copy the folder, or set "
            "RAYTRAIN_DATA to a folder that has it, or use other data: `--set dataset=digits`, or a path"
        ) from error


def _torchvision(loader: str, *, download: bool) -> tuple[Any, Any]:
    from torchvision import datasets  # 5 s to import, brings torch

    root = data_home()
    make: Any = getattr(datasets, loader)
    return make(root, train=True, download=download), make(root, train=False, download=download)


def _labelled(part: Any, *, image_size: int) -> LabelledImages:
    images: NDArray[np.uint8] = np.ascontiguousarray(part.data)  # torchvision transposes without a copy
    return LabelledImages(resized(images, image_size=image_size), np.asarray(part.targets, dtype=np.int64))


@contextlib.contextmanager
def _socket_timeout() -> Generator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SOCKET_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
