"""Tests of raytrain.provenance.manifest: the entry for the images of a recipe, and what is kept of earlier commands."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from raytrain.data.data_key import DataKey
from raytrain.errors import RunFolderError
from raytrain.provenance.manifest import NAME, Inputs, Manifest, inputs_of, read_manifest
from raytrain.storage.folder import Folder
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


CODE = {"digest": "0" * 12, "sha256": "0" * 64, "files": ["my_net.py"]}
OTHER_CODE = CODE | {"digest": "1" * 12}
GIVEN = {"file": "init/2", "sha256": "2" * 64}
OTHER_GIVEN = GIVEN | {"file": "init/3"}


def opened(folder: Folder, *keys: DataKey, fresh: bool = False, **more: Any) -> dict[str, Any]:
    """Open the manifest with the images of some keys, write it, and return what is in the file."""
    data, inputs = {key.label: "abc" for key in keys}, [Inputs.of(entry(key)) for key in keys]
    manifest = Manifest.open(folder, data=data, inputs=inputs, **{"seeds": [0], **more}, fresh=fresh)
    manifest.begin_session()
    return read_manifest(folder)


def test_a_manifest_that_is_opened_again_gains_a_session_and_nothing_else(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    once = opened(folder, KEY, user_code=[CODE], initial_weights=[GIVEN])
    twice = opened(folder, KEY, user_code=[CODE], initial_weights=[GIVEN])
    assert twice | {"sessions": []} == once | {"sessions": []}
    assert (len(once["sessions"]), len(twice["sessions"])) == (1, 2)


def test_what_the_experiment_does_not_name_any_more_stays_in_the_manifest(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    other = DataKey("digits", 16, 0.2)
    opened(folder, KEY, user_code=[CODE], initial_weights=[GIVEN], seeds=[0, 1])
    opened(folder, other, user_code=[OTHER_CODE], initial_weights=[OTHER_GIVEN], seeds=[1, 2])
    content = opened(folder, other)
    assert [one["dataset"] for one in content["inputs"]] == ["photos", "digits"]
    assert content["data"] == {KEY.label: "abc", other.label: "abc"}
    assert content["user_code"] == [CODE, OTHER_CODE]
    assert content["initial_weights"] == [GIVEN, OTHER_GIVEN]
    assert content["seeds"] == [0, 1, 2]


def test_entries_that_an_earlier_version_wrote_several_times_are_one_again(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    older = {name: value for name, value in entry(KEY).items() if name != "follow_links"}
    older["classes"] = list(older["classes"])
    key = KEY._replace(follow_links=False)
    content = {"data": {}, "inputs": [older, older, older], "sessions": []}
    folder.write(NAME, json.dumps(content).encode())
    assert len(opened(folder, key)["inputs"]) == 1


def test_a_fresh_manifest_forgets_and_other_images_are_refused(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    opened(folder, KEY, user_code=[CODE])
    with pytest.raises(RunFolderError, match=r"was run on other images: .*has changed"):
        Manifest.open(folder, data={KEY.label: "other"}, inputs=[], seeds=[0], fresh=False)
    assert "user_code" not in opened(folder, KEY, fresh=True)


def test_a_manifest_whose_lists_are_none_is_damaged(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    folder.write(NAME, json.dumps({"data": {}, "sessions": [], "user_code": 3}).encode())
    with pytest.raises(RunFolderError, match="is damaged: user_code"):
        Manifest.open(folder, data={}, inputs=[], seeds=[0], fresh=False)
