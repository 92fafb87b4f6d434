"""Tests of raytrain.provenance.manifest: the entry for the images of a recipe, and the one that an older run wrote."""

from dataclasses import asdict
from typing import Any

import pytest

from raytrain.data.data_key import DataKey
from raytrain.errors import RunFolderError
from raytrain.provenance.manifest import Inputs, inputs_of
from raytrain.training.recipe import Recipe

KEY = DataKey(
    "photos", 24, 0.3, test_size=0.4, columns="image: a", skip_bad=True, background="black", follow_links=True
)


def entry(key: DataKey) -> dict[str, Any]:
    counts = {"train": 9, "val": 9, "test": 9}
    found = Inputs(**key._asdict(), classes=("a", "b"), mean=(0.5,) * 3, std=(0.2,) * 3, **counts)
    return asdict(found)


@pytest.mark.parametrize("field", DataKey._fields)
def test_an_entry_that_differs_in_one_field_is_of_other_images(field: str) -> None:
    recipe = Recipe.model_construct(**KEY._asdict()).model_dump()
    assert inputs_of({"inputs": [entry(KEY)]}, recipe).classes == ("a", "b")
    other = KEY._replace(**{field: getattr(DataKey("digits", 32, 0.1), field)})
    with pytest.raises(RunFolderError, match="no entry for"):
        inputs_of({"inputs": [entry(other)]}, recipe)


def test_an_entry_of_a_version_without_later_fields_has_their_defaults() -> None:
    key = DataKey("digits", 16, 0.2)
    older = {name: value for name, value in entry(key).items() if name not in DataKey._field_defaults}
    recipe = Recipe.model_construct(**key._asdict()).model_dump()
    assert inputs_of({"inputs": [older]}, recipe) == Inputs.of(entry(key))
