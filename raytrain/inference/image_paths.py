"""The image files that a model is asked about: those that are named, and those in folders that are named."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raytrain.data.layouts.decode import SUFFIXES
from raytrain.data.layouts.image_tree import ImageTree
from raytrain.data.layouts.source_folder import open_folder
from raytrain.data.origin import Origin
from raytrain.errors import DataError
from raytrain.storage.typed_path import is_a_folder


@dataclass
class ImagePaths:
    """What was found at the paths that were given.

    Attributes:
        files: The files, and of a folder the images in it at any depth, sorted.
        refused: What is refused in the folders, with the reason: links that lead out, and devices.
        refusals: The same as sentences, one for each folder.
        left_out: For each folder what was left out, in words.
    """

    files: list[Path] = field(default_factory=list[Path])
    refused: dict[Path, str] = field(default_factory=dict[Path, str])
    refusals: list[str] = field(default_factory=list[str])
    left_out: list[str] = field(default_factory=list[str])


def image_paths(paths: Sequence[Path], *, follow_links: bool) -> ImagePaths:
    """Return the image files at some paths; those in a folder are told by their suffix.

    Args:
        paths: Paths of files, which may be links, and of folders.
        follow_links: Whether links are followed that lead out of a folder.

    Raises:
        DataError: A folder has no images.
    """
    found = ImagePaths()
    for path in paths:
        if is_a_folder(path):
            _add_folder(found, path, follow_links=follow_links)
        else:
            found.files.append(path)
    return found


def _add_folder(found: ImagePaths, path: Path, *, follow_links: bool) -> None:
    tree = ImageTree(follow_links=follow_links, option="--follow-links, or follow_links=True in Python")
    inside = sorted(path / name for name in tree.images(open_folder(str(path.absolute())), ""))
    links = [] if follow_links else tree.outside
    if not inside and not tree.refusal:
        raise DataError(f"{path}: has no images; their names end in {', '.join(sorted(SUFFIXES))}")
    found.files += inside
    found.refused |= {path / name: "a link that leads out of the folder" for name in links}
    found.refused |= {path / name: "a device, pipe or socket" for name in tree.devices}
    if tree.refusal:
        found.refusals.append(f"{path}: {tree.refusal}")
    if words := Origin(left_out=Counter(tree.left_out)).left_out_in_words():
        found.left_out.append(f"{path}: left out, because only images are read: {words}")
