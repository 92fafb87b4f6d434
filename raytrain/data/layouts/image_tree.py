"""The image files in a folder and in those below it, and what else is there: counted, or refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from raytrain.data.layouts.decode import SUFFIXES
from raytrain.data.layouts.source_folder import SourceFolder, printable_name
from raytrain.data.origin import HIDDEN, LOOPS, NO_FILES

LISTED = 5
"""Most paths that a refusal names."""
OPTION = "--set follow_links=true, or --follow-links of data fetch, data verify and evaluate"
"""What allows links that lead out of the folder of a data set."""


@dataclass
class ImageTree:
    """What is met on the way through the folder of a data set.

    Links within it are followed, except those to a folder above them. Links out of it are followed where that is
    allowed: they may lead to any file of the machine, which a data set from elsewhere must not choose.

    Attributes:
        follow_links: Whether links that lead out of the folder are followed.
        option: What allows this, for messages.
        left_out: Number of files that are no images, by what they are.
        outside: Paths of the links to images and to folders that lead out of the folder.
        devices: Paths of devices, pipes and sockets that have the name of an image.
    """

    follow_links: bool
    option: str = OPTION
    left_out: Counter[str] = field(default_factory=Counter[str])
    outside: list[str] = field(default_factory=list[str])
    devices: list[str] = field(default_factory=list[str])

    @property
    def refusal(self) -> str:
        """Why the folder is refused, as a sentence without its full stop; empty where it is not."""
        links = "" if self.follow_links else refused_links(self.outside, option=self.option)
        return "; ".join(filter(None, [refused_devices(self.devices), links]))

    def entered(self, within: SourceFolder, prefix: str, names: Sequence[str]) -> list[str]:
        """Return those of the folders in one that may be read; note which lead out of the data set.

        Args:
            within: The folder.
            prefix: Its path in that of the data set, with a slash behind it; empty for that folder itself.
            names: Names of folders in it.
        """
        outside = self._outside(within, prefix, names)
        return [name for name in names if name not in outside]

    def images(self, within: SourceFolder, prefix: str, above: frozenset[str] = frozenset()) -> list[str]:
        """Return the paths of the images in a folder and in those below it, those of the folder first.

        Args:
            within: The folder.
            prefix: Its path in that of the data set, with a slash behind it; empty for that folder itself.
            above: Where the folders that lead here really are, through links.
        """
        files, folders = within.files(), within.folders()
        outside = self._outside(within, prefix, [*filter(is_image, files), *folders])
        found: list[str] = []
        for name in files:
            if not is_image(name):
                self.left_out[suffix_of(name) or "without a suffix"] += 1
            elif name not in outside:
                found.append(f"{prefix}{name}")
        devices = [name for name in within.devices() if is_image(name)]
        self.devices += [f"{prefix}{name}" for name in devices]
        self.left_out.update(NO_FILES for name in within.others() if name not in devices)
        self.left_out.update(HIDDEN for _ in range(within.hidden()))
        here = within.really()
        if here in above:
            return found
        for name in folders:
            if name in outside:
                continue
            below = within.folder(name)
            if below.really() in above | {here}:
                self.left_out[LOOPS] += 1
            else:
                found += self.images(below, f"{prefix}{name}/", above | {here})
        return found

    def _outside(self, within: SourceFolder, prefix: str, names: Sequence[str]) -> set[str]:
        """Note which of these lead out of the data set; return those that may not be followed."""
        outside = {*names} & {*within.links_out()}
        self.outside += sorted(f"{prefix}{name}" for name in outside)
        return set() if self.follow_links else outside


def refused_links(paths: Sequence[str], *, option: str = OPTION) -> str:
    """Return why links that lead out of a folder are refused, as a sentence without its full stop."""
    if not paths:
        return ""
    one = len(paths) == 1
    return (
        f"{'1 link leads' if one else f'{len(paths):,} links lead'} out of the folder: {_listed(paths)}; a link may "
        f"lead to any file of this machine, so put the files in {'its' if one else 'their'} place, or allow "
        f"{'it' if one else 'them'}: {option}"
    )


def followed_links(count: int) -> str:
    """Return that links lead out of a folder and were followed, as a sentence without its full stop."""
    return "1 link out of the folder is followed" if count == 1 else f"{count:,} links out of the folder are followed"


def refused_devices(paths: Sequence[str]) -> str:
    """Return why devices, pipes and sockets are refused, as a sentence without its full stop."""
    if not paths:
        return ""
    what = (
        "1 image is a device, pipe or socket"
        if len(paths) == 1
        else f"{len(paths):,} images are devices, pipes or sockets"
    )
    return f"{what}: {_listed(paths)}; remove {'it' if len(paths) == 1 else 'them'}"


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in small letters, with its dot; empty where there is none."""
    return f".{name.lower().rpartition('.')[2]}" if "." in name else ""


def is_image(name: str) -> bool:
    """Return whether a file is an image by its name."""
    return suffix_of(name) in SUFFIXES


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - LISTED:,} more" if len(paths) > LISTED else ""
    return ", ".join(map(printable_name, paths[:LISTED])) + more
