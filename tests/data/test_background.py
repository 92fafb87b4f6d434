"""The colour behind transparent pixels is the recipe's; images decoded on one are not taken for those on another."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from raytrain.cli.app import app
from raytrain.data import load
from raytrain.data.layouts.background import canonical_background, colour_of
from raytrain.data.origin import Origin
from raytrain.errors import DataError
from raytrain.training.recipe import Recipe


@pytest.fixture
def icons(tmp_path: Path) -> Path:
    """White squares: in pictures of a cat the lower half is transparent, in pictures of a dog the upper half."""
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                pixels = np.full((8, 8, 4), 255, dtype=np.uint8)
                pixels[4 - 4 * label : 8 - 4 * label, :, 3] = 0
                pixels[7 * label, 0, 0] = number + 100 * (part == "test")  # no two alike
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "kept", "colour"),
    [
        ("white", "white", (255, 255, 255)),
        ("Black", "black", (0, 0, 0)),
        ("#1E90ff", "#1e90ff", (30, 144, 255)),
        ("#FFFFFF", "white", (255, 255, 255)),
        ("#000000", "black", (0, 0, 0)),
    ],
)
def test_one_colour_is_kept_in_one_way(given: str, kept: str, colour: tuple[int, int, int]):
    assert canonical_background(given) == kept
    assert colour_of(kept) == colour
    assert Recipe(background=given) == Recipe(background=kept)


@pytest.mark.parametrize("given", ["", "grey", "#fff", "#ggggggg", "1e90ff", 0, None, ["black"]])
def test_what_is_no_colour_is_refused_in_a_message_that_says_how_to_write_one(given: object):
    with pytest.raises(ValueError, match=r"is no colour; give white, black, or red, green and blue as '#rrggbb'"):
        canonical_background(given)


def test_white_leaves_the_id_of_a_trial_as_it_was_and_another_colour_does_not():
    assert Recipe(background="white").digest == Recipe().digest == "791dd994"
    assert Recipe(background="black").digest != Recipe().digest


def test_images_decoded_on_one_colour_are_not_read_for_another(icons: Path):
    for _ in ("decoded", "from the cache"):
        for background, colour in (("white", 255), ("black", 0), ("#0000ff", (0, 0, 255))):
            key = Recipe(dataset=str(icons), image_size=8, background=background).data_key
            images = key.load().train.images
            np.testing.assert_array_equal(images[:2, 4:], np.broadcast_to(colour, (2, 4, 8, 3)))
            np.testing.assert_array_equal(images[2:, :4], np.broadcast_to(colour, (2, 4, 8, 3)))
            assert images[:2, 1:4].min() == images[2:, 4:7].min() == 255


def test_what_is_kept_beside_images_on_white_has_no_field_that_an_older_raytrain_does_not_know():
    assert "background" not in Origin().as_json()
    assert Origin.from_json(Origin(background="black").as_json()).background == "black"


def test_the_summary_and_the_page_name_the_colour(icons: Path):
    assert load(str(icons), image_size=8, background="black").summary.endswith(
        "8 have transparent pixels, which are black"
    )
    shown = CliRunner().invoke(app, ["data", "verify", str(icons), "--image-size", "8", "--background", "#000000"])
    assert "8 transparent, now black" in shown.stdout
    refused = CliRunner().invoke(app, ["data", "verify", str(icons), "--background", "grey"])
    assert refused.exit_code == 2
    assert "--background: 'grey' is no colour" in refused.stderr


def test_a_background_is_refused_where_the_data_set_has_no_image_files():
    with pytest.raises(DataError, match="background: black is for image files, and digits gives pixels; leave it out"):
        load("digits", image_size=8, background="black")
