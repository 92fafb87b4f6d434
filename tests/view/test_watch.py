"""Tests of raytrain.view.watch: which runs are shown, and when their pages are out of date."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder
from raytrain.view.watch import Runs, changes, version_of


def test_without_names_all_runs_are_shown_also_later_ones(make_run: Any) -> None:
    out = make_run("first").parent
    runs = Runs(out)
    assert list(runs.folders()) == ["first"]
    make_run("second")
    assert list(runs.folders()) == ["first", "second"]


def test_named_runs_of_one_name_are_told_apart_and_a_missing_one_is_refused(make_run: Any, tmp_path: Path) -> None:
    folder = make_run()
    copy = shutil.copytree(str(folder), tmp_path / "elsewhere" / "made")
    runs = Runs(folder.parent, ["made", str(folder), str(copy)])
    assert {name: str(one) for name, one in runs.folders().items()} == {"made": str(folder), "made-2": str(copy)}
    with pytest.raises(RunFolderError, match="choose one of made"):
        Runs(folder.parent, ["absent"])


def test_a_run_that_is_named_by_its_path_and_by_a_link_is_shown_once(
    make_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run()
    (tmp_path / "link").symlink_to(str(folder))
    runs = Runs(folder.parent, ["made", str(tmp_path / "link")])
    assert {name: str(one) for name, one in runs.folders().items()} == {"made": str(folder)}
    assert "link is left out: it is the run made, which is named already" in caplog.text


def test_a_line_changes_the_version_and_a_checkpoint_does_not(make_run: Any) -> None:
    folder = make_run()
    before = version_of({"made": folder})
    folder.write("report.html", b"")
    (trial,) = (folder / "trials").names()
    (folder / "trials" / trial / "checkpoint").write("last.pt", b"weights")
    assert version_of({"made": folder}) == before
    (folder / "trials" / trial).append("metrics.jsonl", b'{"epoch": ')
    assert version_of({"made": folder}) != before
    assert version_of({"other": folder}) != version_of({"made": folder})


def test_a_folder_that_is_gone_has_a_version_too(tmp_path: Path) -> None:
    assert version_of({"gone": Folder.at(tmp_path / "gone")})


def test_changes_are_told_once_and_silence_and_failures_in_between() -> None:
    answers: list[str | Exception] = ["a", "a", OSError("gone while it was listed"), RunFolderError("gone"), "b", "b"]

    async def look() -> str:
        answer = answers.pop(0) if answers else "c"
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def first(count: int) -> list[str | None]:
        told: list[str | None] = []
        async for version in changes(look, seen="a", every_s=0, silence_s=0):
            told.append(version)
            if len(told) == count:
                break
        return told

    assert asyncio.run(first(7)) == [None, None, None, None, "b", None, "c"]
