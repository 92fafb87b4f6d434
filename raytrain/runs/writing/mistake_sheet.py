"""The images that a trial gets wrong with the most confidence, as one picture for TensorBoard."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from raytrain.data.data_key import DataKey
from raytrain.data.mapped import Images
from raytrain.metrics.predictions import Predictions

log = logging.getLogger(__name__)

TAG = "Mistakes/Test"
"""TensorBoard's tag of the picture; the step is the epoch whose weights were tested."""
MOST = 12
"""Most images on the picture: those of the report."""
COLUMNS = 4
SIDE = 128
"""Height and width of an image on the picture, in pixels."""
CELL = (196, SIDE + 46)
"""Width and height of an image with its two lines of text and the space around them, in pixels."""
FONT_SIZE = 13
TAKEN = "taken for "
INK, SOFT, PAPER = (27, 31, 36), (90, 98, 108), (255, 255, 255)


class NamedImages(NamedTuple):
    """The test images of a data set, with the names of its classes.

    Attributes:
        images: (N, H, W, 3) uint8, in the order of the predictions.
        classes: Names of the classes, in the order of the labels.
    """

    images: Images
    classes: Sequence[str]


NamedImagesByKey = Mapping[DataKey, NamedImages]
"""The test images of each data set of a run, by `Recipe.data_key`."""


def sheet_of(predictions: bytes, tests: NamedImages | None) -> NDArray[np.uint8] | None:
    """Return `mistake_sheet` of the content of a predictions file; None where it cannot be drawn, which is logged."""
    try:
        return mistake_sheet(Predictions.from_bytes(predictions), tests) if tests else None
    except Exception as error:  # a picture that fails loses nothing of the run
        log.warning("no picture of the mistakes for TensorBoard: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        return None


def mistake_sheet(predictions: Predictions, tests: NamedImages) -> NDArray[np.uint8] | None:
    """Return a picture of the most confident mistakes: (height, width, 3) uint8; None if nothing is wrong.

    Below each image stand its true class, and the predicted class with its probability.

    Args:
        predictions: What a trial predicts of the test images.
        tests: The test images.
    """
    rows = predictions.surest_mistakes(MOST).tolist()
    if not rows:
        return None
    (width, height), lines = CELL, -(-len(rows) // COLUMNS)
    sheet = Image.new("RGB", (width * min(len(rows), COLUMNS), height * lines), PAPER)
    draw, font = ImageDraw.Draw(sheet), _font()
    for index, row in enumerate(rows):
        left, top = index % COLUMNS * width + (width - SIDE) // 2, index // COLUMNS * height + 4
        sheet.paste(_enlarged(tests.images[row]), (left, top))
        share = f", {100 * float(predictions.probabilities[row]):.0f} %"
        told = _fitted(TAKEN, tests.classes[int(predictions.predicted[row])], share, font)
        true = _fitted("", tests.classes[int(predictions.labels[row])], "", font)
        for text, ink, line in ((true, INK, 0), (told, SOFT, 1)):
            draw.text((index % COLUMNS * width + width / 2, top + SIDE + 3 + 17 * line), text, ink, font, anchor="ma")
    return np.asarray(sheet)


def _enlarged(image: NDArray[np.uint8]) -> Image.Image:
    method = Image.Resampling.NEAREST if image.shape[0] < SIDE else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize((SIDE, SIDE), method)


def _font() -> ImageFont.FreeTypeFont:
    import matplotlib as mpl  # its font has Cyrillic and Greek letters too, which Pillow's own lacks

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", FONT_SIZE)


def _fitted(start: str, name: str, end: str, font: ImageFont.FreeTypeFont) -> str:
    """Return a name between two texts in a line, with fewer letters of the name where a cell is too narrow for all."""
    kept = "".join(one if one.isprintable() else " " for one in name)  # Pillow cannot draw others
    text = f"{start}{kept}{end}"
    while kept and font.getlength(text) > CELL[0] - 8:
        kept = kept[:-1]
        text = f"{start}{kept}…{end}"
    return text
