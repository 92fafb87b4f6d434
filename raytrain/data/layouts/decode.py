"""From encoded image files to uint8 arrays of one size."""

import io
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from raytrain.data.layouts.background import WHITE, colour_of
from raytrain.data.origin import FileFacts, Origin
from raytrain.errors import DataError
from raytrain.machine import usable_cores

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow may read, by its names for them: none of them starts another program, as EPS does."""
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the image files in a folder, in small letters; of what is named itself, the content decides."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What a file begins with that stands for one which Git LFS has not fetched."""
OPAQUE = 255
"""Alpha of a pixel that hides all behind it."""
ORIENTATION = 0x0112
"""EXIF tag of the orientation; 2 to 8 mean that the image is to be turned or mirrored."""

# Mean bytes per file from which threads pay on 2 cores: below it PIL rarely leaves the interpreter lock
# (a 32 x 32 JPEG of 1.4 kB takes 83 us alone, 188 us with two threads; one of 36 kB 1,581 and 906 us).
THREADED_BYTES = 8192


def decode(encoded: bytes, *, image_size: int, background: str = WHITE) -> NDArray[np.uint8]:
    """Return the image as a person sees it: RGB, cropped to a centred square and resized where its size differs.

    It is turned as its EXIF orientation says, transparent pixels show the background, and of an animation the first
    frame counts.

    Args:
        encoded: A file in one of `FORMATS`. Pillow brings colours of 16 bits per channel to 8.
        image_size: Height and width of the result, in pixels.
        background: Colour behind transparent pixels, as `canonical_background` returns it.

    Returns:
        (image_size, image_size, 3) uint8.

    Raises:
        DataError: The bytes are not a readable image, or Pillow has its pixels as integers or floats of more than 8
            bits, as those of a grey image of 16 bits.
    """
    try:
        with _large_images():
            return decode_with_facts(encoded, image_size=image_size, background=background)[0]
    except DataError as error:
        raise DataError(f"{error}; replace or remove it") from error


def decode_with_facts(encoded: bytes, *, image_size: int, background: str) -> tuple[NDArray[np.uint8], FileFacts]:
    """Return the image as `decode` does, and what its file is; the message of an error names the fault alone."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            format_, mode, size = image.format or "", image.mode, image.size
            turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
            rgb, transparent = _opaque(ImageOps.exif_transpose(image), background)
    except Exception as error:  # a corrupt file makes Pillow raise OSError, SyntaxError, struct.error, ...
        reason = _unidentified(encoded) if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"cannot be decoded as an image ({reason})") from error
    if mode.startswith(("I", "F")):  # Pillow would clip these to white
        raise DataError(f"has Pillow mode {mode}; only images of 8 bits per channel are read: convert it")
    facts = FileFacts(format_, mode, *size, turned=turned, transparent=transparent)
    return fit(rgb, image_size=image_size), facts


def _unidentified(encoded: bytes) -> str:
    """Return what is wrong with a file that Pillow takes for no image."""
    if not encoded:
        return "the file is empty"
    if encoded.startswith(LFS_POINTER):
        return "a Git LFS pointer, not the file; fetch it with: git lfs pull"
    return f"none of the formats {', '.join(FORMATS)}"


def _opaque(image: Image.Image, background: str) -> tuple[Image.Image, bool]:
    """Return the image in RGB, on the background where it is transparent, and whether it is transparent somewhere."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB"), False
    layer = image.convert("RGBA")
    lowest, _ = layer.getchannel("A").getextrema()
    whole = Image.alpha_composite(Image.new("RGBA", layer.size, colour_of(background)), layer).convert("RGB")
    return whole, lowest != OPAQUE


def decode_all(
    encoded: Sequence[bytes | None], *, image_size: int, name: Callable[[int], str], origin: Origin
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the images decoded as `decode` does, with threads where the files are large enough to gain.

    Args:
        encoded: One file per image; None where there should be one.
        image_size: Height and width of the result, in pixels.
        name: What to call the image of an index.
        origin: Has the background; gets the facts of the images that are read, and the names and faults of the others.

    Returns:
        (N, image_size, image_size, 3) uint8 of the images that could be read; (len(encoded),) bool, which those are.
    """
    images = np.empty((len(encoded), image_size, image_size, 3), dtype=np.uint8)

    def fill(index: int) -> FileFacts | DataError:
        content = encoded[index]
        if content is None:
            return DataError("has no bytes; store the encoded image in the file, not its path")
        try:
            images[index], facts = decode_with_facts(content, image_size=image_size, background=origin.background)
        except DataError as error:
            return error
        return facts

    with _large_images():
        if sum(len(one or b"") for one in encoded) < THREADED_BYTES * len(encoded):
            outcomes = list(map(fill, range(len(encoded))))
        else:
            with ThreadPoolExecutor(usable_cores()) as pool:
                outcomes = list(pool.map(fill, range(len(encoded))))
    readable = np.ones(len(encoded), dtype=np.bool_)
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, DataError):
            readable[index] = False
            origin.unreadable.append((name(index), str(outcome)))
        else:
            origin.add(outcome)
    return images if readable.all() else images[readable], readable


@contextmanager
def _large_images() -> Generator[None]:
    """Have Pillow read images of up to 179 million pixels without a warning; larger ones it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def fit(image: Image.Image, *, image_size: int) -> NDArray[np.uint8]:
    """Return an RGB image as (image_size, image_size, 3) uint8, cropped centrally and resized if need be."""
    size = (image_size, image_size)
    if image.size != size:
        image = ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
    return np.asarray(image)


def resized(images: NDArray[np.uint8], *, image_size: int) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) images at another size; the array itself where it has that size."""
    if images.shape[1:3] == (image_size, image_size):
        return images
    if not len(images):
        return np.empty((0, image_size, image_size, 3), dtype=np.uint8)
    return np.stack([fit(Image.fromarray(image), image_size=image_size) for image in images])
