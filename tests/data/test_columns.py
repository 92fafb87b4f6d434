from typing import Any

import pytest

from raytrain.data.layouts.columns import Columns, canonical_columns, columns_of


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", ""),
        (None, ""),
        ({"label": "species", "image": "photo"}, "image=photo,label=species"),
        ("label=fine label, image=photo", "image=photo,label=fine label"),
        ({"label": "species"}, "label=species"),
    ],
)
def test_a_mapping_and_a_text_have_one_form(given: Any, text: str):
    assert canonical_columns(given) == text
    assert canonical_columns(text) == text


@pytest.mark.parametrize(
    "given",
    [
        {"images": "photo"},
        {"image": 3},
        {"image": ""},
        {},
        "photo",
        ["photo"],
        7,
        {"image": "a,b"},
        "image=a=b",
        "image=a,image=b",
    ],
)
def test_what_names_no_columns_is_refused(given: Any):
    with pytest.raises(ValueError, match="column"):
        canonical_columns(given)


def test_the_text_names_the_columns():
    assert columns_of("label=species") == Columns(image="", label="species")
