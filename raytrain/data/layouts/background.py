"""The colour that shows behind the transparent pixels of an image."""

import re

WHITE = "white"
NAMED = {WHITE: (255, 255, 255), "black": (0, 0, 0)}
"""Red, green and blue of the colours that have a name, 0 to 255 each."""
_HEX = re.compile(r"#[0-9a-f]{6}")


def canonical_background(given: object) -> str:
    """Return the text of a colour: one of `NAMED`, else `#rrggbb` in small letters.

    Args:
        given: The text, in capital or small letters.

    Raises:
        ValueError: It is something else.
    """
    text = given.strip().lower() if isinstance(given, str) else ""
    if text not in NAMED and not _HEX.fullmatch(text):
        raise ValueError(
            f"{given!r} is no colour; give white, black, or red, green and blue as '#rrggbb', in quotes, because a "
            "bare # begins a comment"
        )
    return next((name for name, colour in NAMED.items() if colour == colour_of(text)), text)


def key_suffix(text: str) -> str:
    """Return what a background adds to the key of decoded images: nothing for white, as before there was a choice."""
    return "" if text == WHITE else f"-{text.removeprefix('#')}"


def colour_of(text: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255 each, of a text from `canonical_background`."""
    if text in NAMED:
        return NAMED[text]
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
