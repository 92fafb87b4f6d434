"""Images as files in one folder per class: train/<class>/, val/<class>/ and test/<class>/, or <class>/ alone."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raytrain.data.cache import cached_or_mapped
from raytrain.data.images import ImageDataset, LabelledImages, image_dataset
from raytrain.data.inspection.overlap import compare_parts
from raytrain.data.layouts.background import WHITE, key_suffix
from raytrain.data.layouts.blocks import in_blocks, read_ahead
from raytrain.data.layouts.collected import CollectedImages
from raytrain.data.layouts.decode import SUFFIXES, decode_all
from raytrain.data.layouts.image_tree import ImageTree, followed_links, is_image
from raytrain.data.layouts.parts import WHOLE, part_folders
from raytrain.data.layouts.source_folder import SourceFolder, combined, hash_each, printable_name
from raytrain.data.origin import Origin
from raytrain.errors import DataError

# Part of the cache key: raise it when the same files shall give other arrays.
FORMAT = "folder-4"

LINKS_OUT = "that are links out of the folder"
Links = Literal["refuse", "leave out", "follow"]
"""What becomes of links that lead out of the folder: leaving them out is for a look at what else is there."""


def load_folder(
    folder: SourceFolder, *, image_size: int, background: str = WHITE, links: Links = "refuse"
) -> ImageDataset:
    """Return the data set in a folder of image files, decoded once per machine.

    Its parts are train/<class>/ and, where they are there, test/<class>/ and val/<class>/ (or valid, validation). With
    no test/, val/ is the test set, as it is in ImageNet; with neither, and where the folder holds the classes
    themselves, there are no test images. The images of a class may lie in folders of its own; a link that leads back up
    is not followed. What is no image by its name is left out, and counted. Images that cannot be read are named in
    `origin.unreadable`. Labels follow the sorted class names.

    Args:
        folder: The folder, for which `has_images` is true.
        image_size: Height and width in pixels; images of another size are cropped centrally and resized.
        background: Colour behind transparent pixels, as `canonical_background` returns it.
        links: What becomes of links that lead out of the folder. `origin.refusal` tells of those that are left out.

    Raises:
        DataError: A class is missing or has no image, or links lead out of the folder; the message says which.
    """
    tree = ImageTree(follow_links=links == "follow")
    layout = part_folders(folder)
    parts = {part: _class_files(folder, path, tree) for part, path in layout.items()}
    if links == "refuse":
        _refuse_outside(folder, tree)
    try:
        _refuse_empty(folder, layout, parts)
        for part in ("test", "val"):
            if part in parts:
                _refuse_other_classes(folder, layout, parts, part=part)
    except DataError:
        _refuse_outside(folder, tree)  # what is missing lies behind the links
        raise

    def build(disk_folder: Path | None) -> ImageDataset:
        origin = Origin(labels="folders", address=folder.address, background=background)
        images = {
            part: _read(
                folder,
                files,
                parts["train"],
                part=part,
                image_size=image_size,
                faults=faults,
                origin=origin,
                disk_folder=disk_folder,
            )
            for part, files in parts.items()
        }
        train = images["train"]
        nothing = LabelledImages(train.images[:0], train.labels[:0])
        classes = tuple(map(printable_name, parts["train"]))
        test = images.get("test", nothing)
        return compare_parts(image_dataset(train, test, classes=classes, val=images.get("val"), origin=origin))

    listed = [name for part in parts.values() for names in part.values() for name in names]
    faults: dict[str, str] = {}  # part of the key: once such a file can be read, the images are decoded again
    source = combined(hash_each(folder, listed, faults=faults))
    key = f"{FORMAT}-{image_size}-{'-'.join(parts)}-{source[:32]}{key_suffix(background)}"
    dataset = cached_or_mapped(key, build, size=len(listed) * image_size**2 * 3)
    dataset.origin.address = folder.address
    dataset.origin.left_out = tree.left_out  # not in the cache, which knows images only
    if tree.outside and tree.follow_links:
        dataset.origin.remarks.append(followed_links(len(tree.outside)))
    elif tree.outside:
        dataset.origin.left_out[LINKS_OUT] = len(tree.outside)
    dataset.origin.refusal = tree.refusal or dataset.origin.refusal
    dataset.origin.warnings += _not_read(folder, layout)
    if layout.get("test", "test").lower() != "test":
        dataset.origin.remarks.append(f"there is no test/, so {layout['test']}/ is the test set")
    return dataset


def _refuse_other_classes(
    folder: SourceFolder, layout: Mapping[str, str], parts: Mapping[str, Collection[str]], *, part: str
) -> None:
    """Raise DataError where a part has not the classes of train/; validation images may lack some."""
    lacks = {"train": sorted({*parts[part]} - {*parts["train"]})}
    if part == "test":
        lacks[part] = sorted({*parts["train"]} - {*parts[part]})
    for name, classes in lacks.items():
        if classes:
            raise DataError(
                f"{folder.address}: {layout['train']}/ and {layout[part]}/ must hold the same classes; "
                f"{layout[name]}/ lacks {', '.join(map(printable_name, classes))}"
            )


def _class_files(folder: SourceFolder, part: str, tree: ImageTree) -> dict[str, list[str]]:
    """Return the image files of each class, relative to `folder` and sorted; none where a link leads out."""
    if part == WHOLE:
        part_folder, prefix = folder, ""
    elif part in tree.entered(folder, "", [part]):
        part_folder, prefix = folder.folder(part), f"{part}/"
    else:
        return {}
    above = frozenset({folder.really(), part_folder.really()})
    return {
        name: tree.images(part_folder.folder(name), f"{prefix}{name}/", above)
        for name in tree.entered(part_folder, prefix, part_folder.folders())
    }


def _refuse_outside(folder: SourceFolder, tree: ImageTree) -> None:
    """Raise DataError where something that must not be read lies in the place of an image or a folder."""
    if tree.refusal:
        raise DataError(f"{folder.address}: {tree.refusal}")


def _refuse_empty(folder: SourceFolder, layout: Mapping[str, str], parts: Mapping[str, dict[str, list[str]]]) -> None:
    """Raise DataError where a part has no class, or a class no image."""
    for part, found in parts.items():
        where = folder.address if layout[part] == WHOLE else folder.locate(layout[part])
        if not found:
            raise DataError(f"{where} holds no class; it must have one folder per class, with its images")
        empty = [name for name, files in found.items() if not files]
        if empty:
            raise DataError(
                f"{where}: no image for the class {', '.join(map(printable_name, empty))}; add some, or remove the "
                f"folder (image files end in {' '.join(sorted(SUFFIXES))})"
            )


def _not_read(folder: SourceFolder, layout: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning of images that lie in no class, and one of folders with images that are no part."""
    prefixes = dict.fromkeys(["", *(f"{path}/" for path in layout.values() if path != WHOLE)])
    inside = {prefix: folder.folder(prefix.rstrip("/")) if prefix else folder for prefix in prefixes}
    loose = [f"{prefix}{name}" for prefix, one in inside.items() for name in one.files() if is_image(name)]
    if loose:
        lie = "1 image lies" if len(loose) == 1 else f"{len(loose):,} images lie"
        yield f"{lie} in no folder of a class, such as {printable_name(loose[0])}: left out"
    if WHOLE in layout.values():
        return
    others = [folder.folder(name) for name in folder.folders() if name not in layout.values()]
    unknown = [
        printable_name(other.path.rpartition("/")[2])
        for other in others
        if any(is_image(name) for one in (other, *map(other.folder, other.folders())) for name in one.files())
    ]
    if unknown:
        yield f"{'/, '.join(unknown)}/ holds images that are not read: the parts are {', '.join(layout.values())}"


def _read(
    folder: SourceFolder,
    files_of: Mapping[str, list[str]],
    classes: Collection[str],
    *,
    part: str,
    image_size: int,
    faults: Mapping[str, str],
    origin: Origin,
    disk_folder: Path | None,
) -> LabelledImages:
    """Return the images of a part that can be read; labels are the positions of its classes among `classes`.

    They are in a file in `disk_folder`, if one is given. Files in `faults` are not tried: they have no content.

    Raises:
        DataError: Of a class, none can be read.
    """
    files = [name for names in files_of.values() for name in names]
    positions = [list(classes).index(name) for name in files_of]
    labels = np.repeat(np.array(positions, dtype=np.int64), [len(names) for names in files_of.values()])
    origin.unreadable += [(printable_name(name), faults[name]) for name in files if name in faults]
    kept = np.array([name not in faults for name in files], dtype=np.bool_)
    there = [name for name in files if name not in faults]
    images = CollectedImages(len(there), image_size=image_size, part=part, disk_folder=disk_folder)
    readable: list[NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
    start = 0
    for encoded in in_blocks(read_ahead(folder.read, there)):
        names = [printable_name(name) for name in there[start : start + len(encoded)]]
        decoded, read = decode_all(encoded, image_size=image_size, name=names.__getitem__, origin=origin)
        del encoded  # before the next block is read
        images.add(decoded, of=len(names))
        readable.append(read)
        start += len(names)
    kept[kept] = np.concatenate(readable)
    origin.names[part] = [printable_name(name) for name, read in zip(files, kept, strict=True) if read]
    lost = [name for name, label in zip(files_of, positions, strict=True) if not kept[labels == label].any()]
    if lost:
        why = f"without them {part}/ holds no image of the class {', '.join(map(printable_name, lost))}; replace them"
        origin.refuse_unreadable(why=why)
    return LabelledImages(images.images(), labels[kept])
