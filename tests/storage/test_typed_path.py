"""Tests of raytrain.storage.typed_path: what can be no path is none, and no error."""

from pathlib import Path

import pytest

from raytrain.errors import PreflightError
from raytrain.storage.typed_path import expanded, is_a_file, is_a_folder, is_there

NO_PATHS = ["x" * 300, "a\0b", ""]


@pytest.mark.parametrize("text", NO_PATHS)
def test_text_that_can_be_no_path_is_the_path_of_nothing(text: str):
    assert not is_there(text)
    assert not is_a_file(text)
    assert not is_a_folder(text)


def test_a_path_that_is_too_long_is_an_error_for_pathlib():
    with pytest.raises(OSError, match="too long"):
        Path(NO_PATHS[0]).exists()


def test_files_and_folders_are_told_apart(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    assert [is_there(file), is_a_file(file), is_a_folder(file)] == [True, True, False]
    assert [is_there(tmp_path), is_a_file(tmp_path), is_a_folder(tmp_path)] == [True, False, True]


def test_the_home_folder_of_a_user_who_is_not_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/runs") == Path("/home/me/runs")
    assert expanded("runs/~x") == Path("runs/~x")
    with pytest.raises(PreflightError, match=r"^~of-no-user/x: has no home folder here; set HOME, or give a path"):
        expanded("~of-no-user/x")
