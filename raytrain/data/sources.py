"""A data set by its name, or in any folder or URI of Parquet files or images."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from raytrain.data.cache import data_home
from raytrain.data.images import ImageDataset
from raytrain.data.layouts.background import WHITE
from raytrain.data.layouts.folder import Links, load_folder
from raytrain.data.layouts.hub import commit_of, is_fetched, is_on_hub, open_repository
from raytrain.data.layouts.parquet import configurations, find_parquet, load_parquet
from raytrain.data.layouts.parts import has_images
from raytrain.data.layouts.source_folder import SourceFolder, open_folder
from raytrain.data.named import CIFAR_FOLDERS, DATASETS
from raytrain.data.split import TEST_SIZE, refuse_no_size, with_test
from raytrain.data.user_dataset import load_user_dataset
from raytrain.errors import DataError, did_you_mean
from raytrain.storage.typed_path import expanded, is_a_folder, is_there
from raytrain.user_code.calls import name_of
from raytrain.user_code.reference import reference_of
from raytrain.user_code.source import kept

log = logging.getLogger(__name__)


class PixelsError(DataError):
    """A background was given for a data set that gives pixels, of which none is transparent."""


def is_here(dataset: str) -> bool:
    """Return whether a data set can be loaded without a network, as far as that can be told without reading it."""
    if dataset in CIFAR_FOLDERS:
        return is_a_folder(data_home() / CIFAR_FOLDERS[dataset])
    if reference := reference_of(name_of(dataset)):
        return kept(reference.digest) is not None
    if is_on_hub(dataset):
        return is_fetched(*parted(dataset))
    return dataset in DATASETS or "://" not in dataset


def refuse_missing(dataset: str) -> None:
    """Raise DataError where a folder or URI holds no data set, as `load` does; no image is read.

    Args:
        dataset: A data set as `load` takes it; one of DATASETS or of the hub, or a function of the user's, is not
            looked for.
    """
    if dataset in DATASETS or is_on_hub(dataset) or reference_of(name_of(dataset)):
        return
    address, configuration = parted(dataset)
    folder = open_folder(address)
    if find_parquet(folder, configuration) is None and not has_images(folder):
        raise _unknown(dataset, there=folder.exists())


@contextmanager
def advised_where_gone(dataset: str, advice: str) -> Generator[None]:
    """Add advice to a DataError where a data set is the path of a folder that is no longer on this machine.

    Args:
        dataset: A data set as `load` takes it, of a run or a model that was trained on it.
        advice: What to do where the folder was moved, as a sentence; empty for none.
    """
    try:
        yield
    except DataError as error:
        is_path = dataset not in DATASETS and "://" not in dataset and not is_on_hub(dataset)
        if not advice or not is_path or reference_of(name_of(dataset)) or open_folder(parted(dataset)[0]).exists():
            raise
        raise DataError(f"{error}\n{advice}") from error


def load(
    dataset: str,
    *,
    image_size: int,
    test_size: float = TEST_SIZE,
    columns: str = "",
    skip_bad: bool = False,
    background: str = WHITE,
    follow_links: bool = False,
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
        follow_links: Whether links are followed that lead out of the folder of the data set.
        quiet: Whether nothing is logged.

    Raises:
        DataError: There is no such data set, its content is not as it must be, or an image cannot be read.
        ExperimentError: Code of the user's own cannot be imported.
        PreflightError: It is not on this machine and cannot be downloaded.
    """
    links: Links = "follow" if follow_links else "refuse"
    found = _read(dataset, links, image_size=image_size, test_size=test_size, columns=columns, background=background)
    refuse(found, skip_bad=skip_bad, name=dataset)
    if not quiet:
        _log(found, dataset)
    return found


def read(
    dataset: str,
    *,
    image_size: int,
    test_size: float = TEST_SIZE,
    columns: str = "",
    background: str = WHITE,
    follow_links: bool = False,
) -> ImageDataset:
    """Return the data set as `load` does, without the images that cannot be read; log nothing, and refuse no content.

    Arguments and errors are those of `load`; `refuse` raises those that `origin` tells of.
    """
    links: Links = "follow" if follow_links else "leave out"
    return _read(dataset, links, image_size=image_size, test_size=test_size, columns=columns, background=background)


def _read(
    dataset: str, links: Links, *, image_size: int, test_size: float, columns: str, background: str
) -> ImageDataset:
    refuse_no_size(test_size, name="test_size")
    if dataset in DATASETS:
        found = DATASETS[dataset](image_size=image_size)
    elif reference := reference_of(name_of(dataset)):
        found = load_user_dataset(dataset, reference, image_size=image_size, background=background)
        found = with_test(found, test_size)
    else:
        address, configuration = parted(dataset)
        on_hub = is_on_hub(address)
        folder = open_repository(address, configuration) if on_hub else open_folder(address)
        tables = find_parquet(folder, configuration)
        if tables is not None:
            found = load_parquet(
                tables,
                image_size=image_size,
                columns=columns,
                background=background,
                follow_links=links == "follow",
            )
            _say_which(found, folder, tables, configuration)
        elif has_images(folder):
            found = load_folder(folder, image_size=image_size, background=background, links=links)
        else:
            raise _unknown(dataset, there=folder.exists())
        if on_hub:
            found.origin.remarks.append(f"the hub's commit {commit_of(folder)[:12]} was fetched")
        found = with_test(found, test_size)
    if columns and found.origin.labels in ("", "folders"):
        raise DataError(f"columns: {columns} is for Parquet files, and {dataset} has none; leave it out")
    if background != WHITE and not found.origin.names:
        name = reference.as_written if (reference := reference_of(name_of(dataset))) else dataset
        raise PixelsError(f"background: {background} is for image files, and {name} gives pixels; leave it out")
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
    address = reference.as_written if reference else dataset.origin.address
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
    if not address or ("://" not in dataset and is_there(expanded(dataset))):  # a name may hold a #
        return dataset, ""
    return address, configuration


def _say_which(dataset: ImageDataset, folder: SourceFolder, tables: SourceFolder, configuration: str) -> None:
    if configuration or tables.path == folder.path:
        return
    others = [name for name in configurations(folder) if folder.folder(name).path != tables.path]
    if others:
        chosen = tables.path.rpartition("/")[2]
        listed = ", ".join(sorted([chosen, *others]))
        dataset.origin.remarks.append(f"of the configurations {listed}, {chosen} is read: # and a name choose another")


def _unknown(dataset: str, *, there: bool) -> DataError:
    what = f"{dataset!r} holds no data set" if there else f"unknown data set {dataset!r}"
    if not there and (near := did_you_mean(dataset, DATASETS)):
        return DataError(f"{what}; {near}")
    return DataError(
        f"{what}; choose one of {', '.join(DATASETS)}, or give a folder or URI that holds "
        "train*.parquet and test*.parquet, or train/<class>/ and test/<class>/ with image files, or <class>/ alone"
    )


def _log(dataset: ImageDataset, name: str) -> None:
    """Log what was decided when the files were read, at each loading: the cache keeps it."""
    if left_out := dataset.origin.left_out_in_words():
        log.warning("%s: left out, because only images are read: %s", name, left_out)
    if skipped := len(dataset.origin.unreadable):
        images = "1 image" if skipped == 1 else f"{skipped:,} images"
        log.warning("%s: without %s that cannot be read, as skip_bad says", name, images)
    for warning in dataset.origin.warnings:
        log.warning("%s: %s", name, warning)
    log.info("%s: %s", name, dataset.summary)
