"""Tests of raytrain.trackers.owner: which entries of a tracker are of a run."""

import logging

import pytest

from raytrain.storage.folder import Folder
from raytrain.trackers.owner import Owners, owner_tags

SESSION = {"started": "2026-01-02T03:04:05.678+00:00", "command": ["raytrain", "compare"], "machine": {"host": "one"}}
HERE = {"raytrain.run": "quick", "raytrain.run_id": "a1", "raytrain.folder": "/a/quick", "raytrain.host": "one"}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"raytrain.folder": "/b/quick", "raytrain.host": "two"}, True),  # it was moved
        ({"raytrain.run_id": "b2"}, True),  # it was begun again in the same folder
        ({"raytrain.run_id": "b2", "raytrain.folder": "/b/quick"}, False),
        ({"raytrain.run_id": "b2", "raytrain.host": "two"}, False),  # /workspace of another container
        ({"raytrain.run_id": None, "raytrain.host": None}, True),  # an earlier version told the folder alone
        ({"raytrain.run_id": None, "raytrain.host": None, "raytrain.folder": "/b/quick"}, False),
        ({"raytrain.run_id": None, "raytrain.host": None, "raytrain.folder": None}, False),
    ],
)
def test_an_entry_is_of_a_run_by_its_id_or_else_by_folder_and_host(
    changed: dict[str, str | None], *, same: bool
) -> None:
    entry = {name: value for name, value in {**HERE, **changed}.items() if value is not None}
    assert Owners("MLflow").is_same(HERE, entry) is same


def test_the_id_stays_with_the_first_session() -> None:
    first = owner_tags(Folder.at("/a/quick"), [SESSION])
    moved = owner_tags(Folder.at("/b/quick"), [{**SESSION, "ended": "2026-01-02T04:00:00+00:00"}, SESSION])
    other = owner_tags(Folder.at("/a/quick"), [{**SESSION, "started": "2026-01-02T03:04:05.679+00:00"}])
    assert first["raytrain.run_id"] == moved["raytrain.run_id"] != other["raytrain.run_id"]
    assert "raytrain.run_id" not in owner_tags(Folder.at("/a/quick"), [])


def test_each_other_run_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    owners = Owners("MLflow at http://team:5000")
    with caplog.at_level(logging.WARNING):
        for folder in ("/b/quick", "/c/quick", "/b/quick"):
            owners.is_same(HERE, {**HERE, "raytrain.run_id": "b2", "raytrain.folder": folder})
    assert [one.getMessage().partition(" on one;")[0] for one in caplog.records] == [
        f"MLflow at http://team:5000 has trials of another run called quick, from {folder}"
        for folder in ("/b/quick", "/c/quick")
    ]
