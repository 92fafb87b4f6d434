"""What reading the files of a data set met: kept beside the decoded arrays, and told whenever they are loaded."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from raytrain.data.layouts.background import WHITE
from raytrain.errors import DataError, counted

HIDDEN = "hidden"
"""Files that nobody misses: they are counted, without a warning."""
NO_FILES = "that are no files, such as links to nowhere"
LOOPS = "links to a folder above"
_ONE = {NO_FILES: "that is no file, such as a link to nowhere", LOOPS: "link to a folder above"}
NAMED = 20
"""Most images that a message names."""


class FileFacts(NamedTuple):
    """What an image file is, as far as it does not show in the decoded pixels.

    Attributes:
        format: Pillow's name for the format: "PNG".
        mode: Pillow's name for the kind of pixels: "RGB".
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        turned: Whether its EXIF orientation turned it.
        transparent: Whether some pixel was transparent.
    """

    format: str
    mode: str
    width: int
    height: int
    turned: bool
    transparent: bool


@dataclass
class Origin:
    """What reading the files of a data set met; filled while they are read, and empty where there are no files.

    Attributes:
        names: What each image is called, by part, in the order of its rows: a path in the folder, or a file and a row.
        unreadable: Name and fault of each image that could not be read; none of them is among the rows.
        formats: Number of images of each format.
        modes: Number of images of each Pillow mode.
        sizes: Number of images of each size in pixels, as "WIDTHxHEIGHT".
        turned: Number of images that their EXIF orientation turned.
        transparent: Number of images with transparent pixels, which now show the background.
        labels: Where the names of the classes come from: the names of the folders, the metadata of Parquet files, or
            the labels themselves, words or integers. Empty where there are no files.
        remarks: What was decided, as sentences without their full stop.
        warnings: What a person should look at, likewise.
        refusal: Why nothing may be trained on these images; empty where it may.
        left_out: Number of files that are no images, by what they are.
        address: Path or URI of the folder that holds the files; empty where they are named by paths of their own.
        background: Colour that transparent pixels show, as the recipe has it.
    """

    names: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    unreadable: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    formats: Counter[str] = field(default_factory=Counter[str])
    modes: Counter[str] = field(default_factory=Counter[str])
    sizes: Counter[str] = field(default_factory=Counter[str])
    turned: int = 0
    transparent: int = 0
    labels: Literal["", "folders", "metadata", "words", "integers"] = ""
    remarks: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    refusal: str = ""
    left_out: Counter[str] = field(default_factory=Counter[str])
    address: str = ""
    background: str = WHITE

    def add(self, facts: FileFacts) -> None:
        """Count an image that was read."""
        self.formats[facts.format] += 1
        self.modes[facts.mode] += 1
        self.sizes[f"{facts.width}x{facts.height}"] += 1
        self.turned += facts.turned
        self.transparent += facts.transparent

    def left_out_in_words(self) -> str:
        """Return what was left out, with its number: "60 .heic, 1 .txt"; hidden files are not said."""
        listed = sorted(self.left_out.items())
        shown = [(what, count) for what, count in listed if what != HIDDEN]
        return ", ".join(counted(count, _ONE.get(what, what), what) for what, count in shown)

    def refuse_unreadable(self, *, why: str = "") -> None:
        """Raise DataError if there are images that cannot be read.

        Args:
            why: Why it does not help to leave them out; empty where it does.
        """
        if not self.unreadable:
            return
        count = len(self.unreadable)
        images = "1 image cannot be read" if count == 1 else f"{count:,} images cannot be read"
        prefix = f"{self.address.rstrip('/')}/" if self.address else ""
        listed = [f"  {prefix}{name} {fault}" for name, fault in self.unreadable[:NAMED]]
        more = [f"  and {count - NAMED:,} more"] if count > NAMED else []
        advice = why or (
            "replace or remove them, or go on without them: --set skip_bad=true, "
            "or --skip-bad of data fetch, data verify and evaluate"
        )
        raise DataError("\n".join([f"{images}:", *listed, *more, advice]))

    def as_json(self) -> dict[str, Any]:
        """Return the values that JSON can hold."""
        values = dict(vars(self))
        if self.background == WHITE:
            del values["background"]  # an older raytrain, which shares the cache, reads it
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on.

        Raises:
            TypeError: The values are others.
        """
        changed: dict[str, Any] = dict(values)
        changed |= {name: Counter(values[name]) for name in ("formats", "modes", "sizes", "left_out")}
        changed["unreadable"] = [(str(name), str(fault)) for name, fault in values["unreadable"]]
        return cls(**changed)
