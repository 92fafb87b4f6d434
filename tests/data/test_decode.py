"""Images come out as a person sees them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from raytrain.data.layouts.decode import decode
from raytrain.errors import DataError


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))


TURNED: dict[int, Any] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, k=-1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels),
}
"""What is seen, by EXIF orientation."""


@pytest.mark.parametrize("orientation", TURNED)
def test_a_photo_is_turned_as_its_exif_orientation_says(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(encoded(photo(), exif=exif), image_size=8)
    np.testing.assert_array_equal(seen, TURNED[orientation](np.asarray(photo())))


def half_transparent() -> NDArray[np.uint8]:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., 0], pixels[:4, :, 3], pixels[4:, :, 3] = 200, 255, 0
    return pixels


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "GIF"), ("RGBA", "WEBP")]
)
def test_transparent_pixels_are_white_and_the_others_stay(mode: str, kind: str):
    image = Image.fromarray(half_transparent()).convert(mode)
    options = {"lossless": True} if kind == "WEBP" else {}
    seen = decode(encoded(image, kind, **options), image_size=8)
    opaque = Image.fromarray(half_transparent()[..., :3]).convert("L" if mode == "LA" else "RGB").convert("RGB")
    np.testing.assert_array_equal(seen[4:], 255)
    np.testing.assert_allclose(
        seen[:4].astype(int), np.asarray(opaque)[:4].astype(int), atol=60 if mode == "P" or kind == "GIF" else 0
    )


def test_a_colour_that_is_named_transparent_is_white():
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    seen = decode(encoded(image, transparency=(10, 20, 30)), image_size=8)
    np.testing.assert_array_equal(seen, 255)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    seen = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), image_size=8)
    np.testing.assert_array_equal(seen[0, 0], [255, 0, 0])


@pytest.mark.parametrize("kind", ["EPS", "PDF"])
def test_a_format_that_starts_other_programs_is_not_read(kind: str):
    with pytest.raises(DataError, match="none of the formats BMP, GIF, JPEG"):
        decode(encoded(photo(), kind), image_size=8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer, .*git lfs pull"),
    ],
)
def test_a_file_that_stands_for_an_image_is_called_what_it_is(content: bytes, said: str):
    with pytest.raises(DataError, match=said):
        decode(content, image_size=8)


def test_a_very_large_photo_is_read_without_a_warning_and_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # a photo has 64; Pillow refuses more than twice the number
    np.testing.assert_array_equal(decode(encoded(photo()), image_size=8), np.asarray(photo()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(DataError, match=r"exceeds limit of 60 pixels, could be decompression bomb"):
        decode(encoded(photo()), image_size=8)


def png_of_16_bits(colour: int, *values: int) -> bytes:
    """Return a PNG file of one pixel, written out: Pillow writes none of 16 bits in colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(f">{len(values)}H", *values))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "image", [png_of_16_bits(2, 0x1200, 0x3400, 0x5600), b"P6 1 1 65535\n\x12\x00\x34\x00\x56\x00"], ids=["PNG", "PPM"]
)
def test_colours_of_16_bits_are_brought_to_8(image: bytes):
    assert decode(image, image_size=1).tolist() == [[[0x12, 0x34, 0x56]]]


@pytest.mark.parametrize("image", [png_of_16_bits(0, 0x1234), b"P5 1 1 65535\n\x12\x34"], ids=["PNG", "PGM"])
def test_grey_of_16_bits_is_refused(image: bytes):
    with pytest.raises(DataError, match="only images of 8 bits per channel are read: convert it"):
        decode(image, image_size=1)
