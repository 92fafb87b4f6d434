"""From encoded image files to uint8 arrays of one size."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from raytrain.errors import DataError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow may read, by its names for them: none of them starts another program, as EPS does."""
SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of the image files in a folder, in small letters; of what is named itself, the content decides."""
BACKGROUND = (255, 255, 255)
"""Colour that transparent pixels show."""

# Mean bytes per file from which threads pay on 2 cores: below it PIL rarely leaves the interpreter lock
# (a 32 x 32 JPEG of 1.4 kB takes 83 us alone, 188 us with two threads; one of 36 kB 1,581 and 906 us).
THREADED_BYTES = 8192


def decode(encoded: bytes, *, image_size: int) -> NDArray[np.uint8]:
    """Return the image as a person sees it: RGB, cropped to a centred square and resized where its size differs.

    It is turned as its EXIF orientation says, transparent pixels are white, and of an animation the first frame counts.

    Args:
        encoded: A file in one of `FORMATS`, 8 bits per channel.
        image_size: Height and width of the result, in pixels.

    Returns:
        (image_size, image_size, 3) uint8.

    Raises:
        DataError: The bytes are not a readable image, or have more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            mode = image.mode
            rgb = _opaque(ImageOps.exif_transpose(image))
    except Exception as error:  # a corrupt file makes Pillow raise OSError, SyntaxError, struct.error, ...
        unknown = f"none of the formats {', '.join(FORMATS)}"
        reason = unknown if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"cannot be decoded as an image ({reason}); replace or remove it") from error
    if mode.startswith(("I", "F")):  # Pillow would clip these to white
        raise DataError(f"has Pillow mode {mode}; only images of 8 bits per channel are read: convert it")
    return fit(rgb, image_size=image_size)


def _opaque(image: Image.Image) -> Image.Image:
    """Return the image in RGB, on `BACKGROUND` where it is transparent."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, BACKGROUND), layer).convert("RGB")


def decode_all(encoded: Sequence[bytes], *, image_size: int, name: Callable[[int], str]) -> NDArray[np.uint8]:
    """Return the images decoded as `decode` does, with threads where the files are large enough to gain.

    Args:
        encoded: One file per image.
        image_size: Height and width of the result, in pixels.
        name: What to call the image of an index in a message.

    Returns:
        (N, image_size, image_size, 3) uint8.

    Raises:
        DataError: An image is corrupt; the message starts with its name.
    """
    images = np.empty((len(encoded), image_size, image_size, 3), dtype=np.uint8)

    def fill(index: int) -> None:
        try:
            images[index] = decode(encoded[index], image_size=image_size)
        except DataError as error:
            raise DataError(f"{name(index)} {error}") from error

    if sum(map(len, encoded)) < THREADED_BYTES * len(encoded):
        for index in range(len(encoded)):
            fill(index)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(fill, range(len(encoded))):  # iterating raises what a thread raised
                pass
    return images


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
    return np.stack([fit(Image.fromarray(image), image_size=image_size) for image in images])
