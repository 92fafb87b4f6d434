"""Tests of runs.planned: the time that a plan gave is found again for exactly its trials, and never in the way."""

from dataclasses import replace
from pathlib import Path

import pytest

from raytrain.runs import planned
from raytrain.runs.planned import Range, recall, remember

TIME = Range(10.0, 12.0, 15.0)
WHERE = "2 at a time"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(planned.platformdirs, "user_state_path", lambda _: tmp_path)
    return tmp_path / "plans.json"


def test_the_time_of_a_plan_is_found_for_its_trials_in_any_order() -> None:
    remember("runs/x", {"b": 3, "a": 0}, TIME, where=WHERE)
    assert recall("runs/x", {"a": 0, "b": 3}, where=WHERE) == TIME


@pytest.mark.parametrize(
    ("folder", "trials"),
    [("runs/x", {"a": 0}), ("runs/x", {"a": 0, "b": 0, "c": 0}), ("runs/y", {"a": 0, "b": 0})],
)
def test_other_trials_and_other_folders_have_no_plan(folder: str, trials: dict[str, int]) -> None:
    remember("runs/x", {"a": 0, "b": 0}, TIME, where=WHERE)
    assert recall(folder, trials, where=WHERE) is None


def test_trials_with_fewer_epochs_left_have_no_plan() -> None:
    remember("runs/x", {"a": 0, "b": 0}, TIME, where=WHERE)
    assert recall("runs/x", {"a": 5, "b": 0}, where=WHERE) is None


def test_a_plan_for_other_resources_is_no_plan_for_these() -> None:
    remember("runs/x", {"a": 0}, TIME, where=WHERE)
    assert recall("runs/x", {"a": 0}, where="1 at a time") is None


def test_a_newer_plan_takes_the_place_of_the_earlier() -> None:
    remember("runs/x", {"a": 0}, TIME, where=WHERE)
    remember("runs/x", {"a": 0}, replace(TIME, median=13.0), where=WHERE)
    found = recall("runs/x", {"a": 0}, where=WHERE)
    assert found is not None
    assert found.median == 13.0


def test_only_the_newest_plans_are_kept() -> None:
    for number in range(planned.KEPT + 1):
        remember(f"runs/{number}", {"a": 0}, TIME, where=WHERE)
    assert recall("runs/0", {"a": 0}, where=WHERE) is None
    assert recall("runs/1", {"a": 0}, where=WHERE) == TIME


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", "[" * 100_000, '{"runs/x": 3}', '{"runs/x": {"trials": ["a"]}}'),
        '{"runs/x": {"trials": {"a": 0}, "where": "2 at a time", "seconds": "no"}}',
    ],
)
def test_a_damaged_file_is_no_plan_and_is_written_anew(content: str, state: Path) -> None:
    state.write_text(content)
    assert recall("runs/x", {"a": 0}, where=WHERE) is None
    remember("runs/x", {"a": 0}, TIME, where=WHERE)
    assert recall("runs/x", {"a": 0}, where=WHERE) == TIME


def test_a_folder_that_cannot_be_written_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(planned.platformdirs, "user_state_path", lambda _: tmp_path / "file")
    remember("runs/x", {"a": 0}, TIME, where=WHERE)
    assert recall("runs/x", {"a": 0}, where=WHERE) is None
