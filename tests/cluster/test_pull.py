"""Tests of raytrain.cluster.transfer: what is new comes, what is here stays."""

import datetime
from pathlib import Path

import pytest
from pyarrow import fs

from raytrain.cluster import transfer
from raytrain.cluster.transfer import pull
from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder, StoredFile


@pytest.fixture(params=["local", "object storage"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "local":
        folder = Folder.at(tmp_path / "there" / "lr")
    else:
        folder = Folder(fs._MockFileSystem(datetime.datetime.now(datetime.UTC)), "bucket/lr")
    folder.write("experiment.yaml", b"name: lr\n")
    (folder / "trials" / "a").write("metrics.jsonl", b"1\n")
    (folder / ".ray" / "tune").write("state", b"scratch")
    return folder


def test_a_pull_brings_every_file_but_rays_own(source: Folder, tmp_path: Path) -> None:
    pulled = pull(source, tmp_path / "here")
    found = {str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert found == {"experiment.yaml", "trials/a/metrics.jsonl"}
    assert (tmp_path / "here/trials/a/metrics.jsonl").read_bytes() == b"1\n"
    assert (pulled.files, pulled.size, pulled.unchanged) == (2, 11, 0)


def test_a_second_pull_brings_only_what_has_changed(source: Folder, tmp_path: Path) -> None:
    pull(source, tmp_path / "here")
    (source / "trials" / "a").write("metrics.jsonl", b"1\n2\n")
    (source / "trials" / "b").write("metrics.jsonl", b"1\n")
    pulled = pull(source, tmp_path / "here")
    assert (pulled.files, pulled.unchanged) == (2, 1)
    assert (tmp_path / "here/trials/a/metrics.jsonl").read_bytes() == b"1\n2\n"
    assert pull(source, tmp_path / "here").files == 0


def test_a_file_of_the_same_size_that_was_written_later_is_brought(tmp_path: Path) -> None:
    source = Folder.at(tmp_path / "there")
    source.write("experiment.yaml", b"a")
    pull(source, tmp_path / "here")
    source.write("experiment.yaml", b"b")
    assert pull(source, tmp_path / "here").files == 1
    assert (tmp_path / "here/experiment.yaml").read_bytes() == b"b"


def test_a_name_in_storage_that_leaves_the_folder_is_refused(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "files", lambda _: [StoredFile("experiment.yaml", 9, 0), StoredFile("../stolen", 1, 0)])
    with pytest.raises(RunFolderError, match=r"'\.\./stolen', which would be written outside"):
        pull(source, tmp_path / "out" / "lr")
    assert not (tmp_path / "out").exists()


def test_a_pull_writes_nothing_behind_a_link_that_leads_out(source: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "trials").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match=r"is a link to .*elsewhere, out of the run folder"):
        pull(source, tmp_path / "here")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["trials"]


def test_a_file_that_is_too_large_is_named_before_anything_is_copied(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 8)
    with pytest.raises(RunFolderError, match=r"experiment\.yaml is larger than 8 bytes; nothing was copied"):
        pull(source, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_what_only_this_side_has_stays(source: Folder, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/notes.txt").write_text("mine")
    pull(source, tmp_path / "here")
    assert (tmp_path / "here/notes.txt").read_text() == "mine"


def test_a_folder_without_a_run_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(RunFolderError, match="is not a run folder"):
        pull(Folder.at(tmp_path / "there"), tmp_path / "here")
    assert not (tmp_path / "here").exists()
