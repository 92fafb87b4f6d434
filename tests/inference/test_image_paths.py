"""Which images a model is asked about: the same as training would read of the same folder."""

import os
import sys
from pathlib import Path

import pytest

from raytrain.errors import DataError
from raytrain.inference.image_paths import image_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two images, with links to one that lies elsewhere, and to its folder."""
    for name in ("photos/b.png", "photos/below/a.jpg", "elsewhere/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "photos/link.png").symlink_to(tmp_path / "elsewhere/c.png")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "photos"


def test_links_out_of_a_folder_are_refused_and_the_other_images_are_there(folder: Path):
    found = image_paths([folder], follow_links=False)
    assert found.files == [folder / "b.png", folder / "below/a.jpg"]
    assert [*found.refused] == [folder / "link.png", folder / "more"]
    (said,) = found.refusals
    assert said.startswith(f"{folder}: 2 links lead out of the folder: link.png, more; ")
    assert "--follow-links" in said


def test_links_out_of_a_folder_are_followed_when_asked(folder: Path):
    found = image_paths([folder], follow_links=True)
    assert found.files == [folder / one for one in ("b.png", "below/a.jpg", "link.png", "more/c.png")]
    assert (found.refused, found.refusals) == ({}, [])


def test_a_link_that_is_named_itself_is_a_file(folder: Path):
    assert image_paths([folder / "link.png"], follow_links=False).files == [folder / "link.png"]


def test_links_to_folders_within_are_followed(folder: Path):
    (folder / "more").unlink()
    (folder / "link.png").unlink()
    (folder / "again").symlink_to("below")
    (folder / "up").symlink_to("..")
    found = image_paths([folder / "again"], follow_links=False)
    assert found.files == [folder / "again/a.jpg"]
    inside = image_paths([folder], follow_links=False)
    assert folder / "again/a.jpg" in inside.files
    assert [*inside.refused] == [folder / "up"]


def test_what_is_left_out_is_said(folder: Path):
    (folder / "x.heic").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(b"")
    found = image_paths([folder], follow_links=True)
    assert found.left_out == [f"{folder}: left out, because only images are read: 1 .heic"]
    assert folder / ".hidden.png" not in found.files


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_a_pipe_in_a_folder_is_not_waited_for(folder: Path):
    os.mkfifo(folder / "p.png")
    found = image_paths([folder], follow_links=True)
    assert found.refused == {folder / "p.png": "a device, pipe or socket"}


def test_a_folder_whose_name_begins_with_a_tilde_is_no_home(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    there = image_paths([folder], follow_links=True).files
    folder.rename("~of-no-user")
    found = image_paths([Path("~of-no-user")], follow_links=True).files
    assert found == [Path("~of-no-user") / file.relative_to(folder) for file in there]
    assert found


def test_a_folder_without_images_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="has no images; their names end in"):
        image_paths([tmp_path], follow_links=False)
