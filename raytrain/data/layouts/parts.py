"""Which folders are the parts of a data set, by their names: train/, test/ and val/, in small or capital letters."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from raytrain.data.layouts.image_tree import is_image
from raytrain.data.layouts.source_folder import SourceFolder, printable_name
from raytrain.errors import DataError

WHOLE = "."
"""Path of a part that is the folder itself."""
VALIDATION = ("val", "valid", "validation")
"""Names of the folder of the validation images."""
_BEHIND = r"(?:[ _-]?(?:set|data|images?|photos|pictures))?[ _-]?\d*"  # Kaggle has a test1/ and a test_images/
_LIKE_TRAIN = re.compile(rf"train(?:ing)?{_BEHIND}", re.IGNORECASE)
_LIKE_OTHERS = re.compile(rf"(?:test(?:ing)?|val(?:id(?:ation)?)?){_BEHIND}", re.IGNORECASE)


def has_images(folder: SourceFolder) -> bool:
    """Return whether a folder holds a folder train, or at least two folders with images right inside."""
    return bool(_named(folder, "train")) or _is_flat(folder)


def part_folders(folder: SourceFolder) -> dict[str, str]:
    """Return the path of each part that is there: "train", "val", "test".

    Without a folder of a class in train/, `train` is a class of the folder itself, of railway pictures: but only where
    no other folder has the name of a part.

    Raises:
        DataError: Two folders are the same part, or a part would become a class.
    """
    train = _one(folder, "train")
    beside = [name for name in folder.folders() if _LIKE_OTHERS.fullmatch(name)]
    if train is None:
        _refuse_parts_among_classes(folder, beside)
        return {"train": WHOLE}
    if not folder.folder(train).folders() and not beside and _is_flat(folder):
        return {"train": WHOLE}
    val, test = _one(folder, *VALIDATION), _one(folder, "test")
    if test is None:
        return {"train": train, **({"test": val} if val else {})}
    return {"train": train, **({"val": val} if val else {}), "test": test}


def _named(folder: SourceFolder, *names: str) -> list[str]:
    return [name for name in folder.folders() if name.lower() in names]


def _one(folder: SourceFolder, *names: str) -> str | None:
    """Return the folder of one of these names; None where there is none.

    Raises:
        DataError: There are several, such as train/ and Train/.
    """
    found = _named(folder, *names)
    if len(found) > 1:
        what = " for the validation images" if names == VALIDATION else ""
        raise DataError(f"{folder.address} holds {' and '.join(found)}; keep one of them{what}")
    return found[0] if found else None


def _is_flat(folder: SourceFolder) -> bool:
    return len(list(islice((name for name in folder.folders() if _holds_images(folder, name)), 2))) == 2


def _holds_images(folder: SourceFolder, name: str) -> bool:
    return any(map(is_image, folder.folder(name).files()))


def _refuse_parts_among_classes(folder: SourceFolder, beside: Sequence[str]) -> None:
    """Raise DataError where a folder with the name of a part would become a class.

    Of two folders both are classes, such as valid/ and invalid/: nothing is learned of one class.

    Args:
        folder: A folder without a folder train.
        beside: The folders in it with the names of test or validation parts.
    """
    flat = [name for name in beside if _holds_images(folder, name)]
    for name in beside:
        if name not in flat and folder.folder(name).folders():
            part = printable_name(name)
            raise DataError(
                f"{folder.address} holds classes, and beside them {part}/ with folders of its own; if {part}/ is a "
                "part, put the others into train/<class>/; if it is a class, put its images right inside it"
            )
    classes = [name for name in folder.folders() if name not in beside and not _LIKE_TRAIN.fullmatch(name)]
    if not flat or (len(beside) == 1 and len(classes) == 1):
        return
    if not classes:
        raise DataError(
            f"{folder.address} holds {_listed(folder.folders())}, with images in no folder of a class; put them into "
            "train/<class>/ and test/<class>/"
        )
    raise DataError(
        f"{folder.address} holds classes, and beside them {_listed(flat)} with images right inside; if that is a part, "
        "take it out of the folder, for its images have no class; if it is a class, put all classes into train/<class>/"
    )


def _listed(names: Iterable[str]) -> str:
    """Return the names of folders as text: "test/ and val/"."""
    return " and ".join(f"{printable_name(name)}/" for name in names)
