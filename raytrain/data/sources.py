"""The data sets by name, and any folder or URI of Parquet files or images."""

import contextlib
import logging
import socket
import sys
from collections.abc import Generator
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from raytrain.data.cache import cached, data_home
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.layouts.background import WHITE
from raytrain.data.layouts.decode import resized
from raytrain.data.layouts.folder import has_images, load_folder
from raytrain.data.layouts.hub import commit_of, is_fetched, is_on_hub, open_repository
from raytrain.data.layouts.parquet import configurations, find_parquet, load_parquet
from raytrain.data.layouts.source_folder import SourceFolder, open_folder
from raytrain.data.split import TEST_SIZE, stratified, with_test
from raytrain.data.user_dataset import load_user_dataset
from raytrain.errors import DataError, PreflightError, did_you_mean
from raytrain.storage.typed_path import is_there
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of
from raytrain.user_code.source import kept

log = logging.getLogger(__name__)

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


def is_here(dataset: str) -> bool:
    """Return whether a data set can be loaded without a network, as far as that can be told without reading it."""
    if dataset in CIFAR_FOLDERS:
        return (data_home() / CIFAR_FOLDERS[dataset]).is_dir()
    if reference := reference_of(name_of(dataset)):
        return kept(reference.digest) is not None
    if is_on_hub(dataset):
        return is_fetched(*parted(dataset))
    return dataset in DATASETS or "://" not in dataset


def refuse_missing(dataset: str) -> None:
    """Raise DataError where a folder or URI holds no data set, as `load` does; no image is read.

    Args:
        dataset: A data set as `load` takes it; one of DATASETS, or a function of the user's, is not looked for.
    """
    if dataset in DATASETS or reference_of(name_of(dataset)):
        return
    address, configuration = parted(dataset)
    folder = open_folder(address)
    if find_parquet(folder, configuration) is None and not has_images(folder):
        raise _unknown(dataset, there=folder.exists())


def load(
    dataset: str,
    *,
    image_size: int,
    test_size: float = TEST_SIZE,
    columns: str = "",
    skip_bad: bool = False,
    background: str = WHITE,
    quiet: bool = False,
) -> ImageDataset:
    """Return the data set of that name, or the one in the folder or URI of that address; log what it is in a line.

    Args:
        dataset: A key of DATASETS, which goes before a folder of the same name, or a path or URI, or a function of the
            user's as a recipe keeps it, or the name of a repository of the Hugging Face hub behind `hf:`. Where a
            folder holds several configurations in Parquet files, `#` and the name of one stand behind it.
        image_size: Height and width in pixels.
        test_size: Share below 1, or number, of the images to test on where the source has no test part.
        columns: Names of the columns of Parquet files: "image=photo,label=species"; empty for the usual ones.
        skip_bad: Whether to go on without images that cannot be read.
        background: Colour behind transparent pixels of image files: "white", "black" or "#rrggbb".
        quiet: Whether nothing is logged.

    Raises:
        DataError: There is no such data set, its content is not as it must be, or an image cannot be read.
        ExperimentError: Code of the user's own cannot be imported.
        PreflightError: It is not on this machine and cannot be downloaded.
    """
    found = read(dataset, image_size=image_size, test_size=test_size, columns=columns, background=background)
    refuse(found, skip_bad=skip_bad, name=dataset)
    if not quiet:
        _log(found, dataset)
    return found


def read(
    dataset: str, *, image_size: int, test_size: float = TEST_SIZE, columns: str = "", background: str = WHITE
) -> ImageDataset:
    """Return the data set as `load` does, without the images that cannot be read; log nothing, and refuse no content.

    Arguments and errors are those of `load`; `refuse` raises those that `origin` tells of.
    """
    if dataset in DATASETS:
        found = DATASETS[dataset](image_size=image_size)
    elif reference := reference_of(name_of(dataset)):
        found = load_user_dataset(dataset, reference, image_size=image_size, background=background)
        found = with_test(found, test_size)
    else:
        address, configuration = parted(dataset)
        on_hub = is_on_hub(address)
        folder = open_repository(address, configuration) if on_hub else open_folder(address)
        place = find_parquet(folder, configuration)
        if place is not None:
            found = load_parquet(place, image_size=image_size, columns=columns, background=background)
            _say_which(found, folder, place, configuration)
        elif has_images(folder):
            found = load_folder(folder, image_size=image_size, background=background)
        else:
            raise _unknown(dataset, there=folder.exists())
        if on_hub:
            found.origin.remarks.append(f"the hub's commit {commit_of(folder)[:12]} was fetched")
        found = with_test(found, test_size)
    if columns and found.origin.labels in ("", "folders"):
        raise DataError(f"columns: {columns} is for Parquet files, and {dataset} has none; leave it out")
    if background != WHITE and not found.origin.names:
        name = f"{reference.place}:{reference.attribute}" if (reference := reference_of(name_of(dataset))) else dataset
        raise DataError(f"background: {background} is for image files, and {name} gives pixels; leave it out")
    return found


def refuse(dataset: ImageDataset, *, skip_bad: bool, name: str) -> None:
    """Raise DataError where training on these images would be wrong.

    Args:
        dataset: What `read` returned.
        skip_bad: Whether it is right to go on without the images that could not be read.
        name: What was given to `read`; a function of the user's that returns pixels has read its images itself, so
            `skip_bad` cannot help it.
    """
    reference = reference_of(name_of(name))
    address = f"{reference.place}:{reference.attribute}" if reference else dataset.origin.address
    if skip_bad and reference and not dataset.origin.names:
        raise DataError(
            f"skip_bad has no effect on {address}, which reads its images itself; leave it out, and have the function "
            "leave out what cannot be read, or return paths"
        )
    if not skip_bad:
        dataset.origin.refuse_unreadable()
    if dataset.origin.refusal:
        raise DataError(f"{address}: {dataset.origin.refusal}")


def parted(dataset: str) -> tuple[str, str]:
    """Return the address of a data set, and the name of the configuration behind its `#`, empty if there is none."""
    address, _, configuration = dataset.rpartition("#")
    if not address or ("://" not in dataset and is_there(Path(dataset).expanduser())):  # a name may hold a #
        return dataset, ""
    return address, configuration


def _say_which(dataset: ImageDataset, folder: SourceFolder, place: SourceFolder, configuration: str) -> None:
    if configuration or place.path == folder.path:
        return
    others = [name for name in configurations(folder) if folder.folder(name).path != place.path]
    if others:
        chosen = place.path.rpartition("/")[2]
        listed = ", ".join(sorted([chosen, *others]))
        dataset.origin.remarks.append(f"of the configurations {listed}, {chosen} is read: # and a name choose another")


def _unknown(dataset: str, *, there: bool) -> DataError:
    what = f"{dataset!r} holds no data set" if there else f"unknown data set {dataset!r}"
    said = "; ".join(filter(None, [what, did_you_mean(dataset, DATASETS)]))
    return DataError(
        f"{said}; choose one of {', '.join(DATASETS)}, or give a folder or URI that holds "
        "train*.parquet and test*.parquet, or train/<class>/ and test/<class>/ with image files, or <class>/ alone"
    )


def _log(dataset: ImageDataset, name: str) -> None:
    """Log what was decided when the files were read, at each loading: the cache keeps it."""
    if left_out := dataset.origin.left_out_in_words(hidden=False):
        log.warning("%s: left out, because only images are read: %s", name, left_out)
    if skipped := len(dataset.origin.unreadable):
        images = "1 image" if skipped == 1 else f"{skipped:,} images"
        log.warning("%s: without %s that cannot be read, as skip_bad says", name, images)
    for warning in dataset.origin.warnings:
        log.warning("%s: %s", name, warning)
    log.info("%s: %s", name, dataset.summary)


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
