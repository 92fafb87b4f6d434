"""Tests of raytrain.storage.folder on a local disk, and on a file system that is not local, stood in for by a mock."""

import datetime
import errno
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from raytrain.errors import PreflightError, StorageError
from raytrain.storage.credentials import refuse_credentials
from raytrain.storage.folder import Folder

PLACES = {
    "path": lambda tmp_path: Folder.at(tmp_path / "runs"),
    "text": lambda tmp_path: Folder.at(str(tmp_path / "runs")),
    "file URI": lambda tmp_path: Folder.at(f"file://{tmp_path}/runs"),
    "not local": lambda _: Folder(fs._MockFileSystem(datetime.datetime.now(datetime.UTC)), "bucket/runs"),
}


@pytest.fixture(params=PLACES.values(), ids=PLACES)
def folder(request, tmp_path):
    return request.param(tmp_path)


def test_what_is_written_is_read(folder):
    folder.write("a", b"\x00\xff\n")
    assert folder.read("a") == b"\x00\xff\n"


def test_writing_replaces_and_leaves_nothing_else(folder):
    folder.write("a", b"long before")
    folder.write("a", b"now")
    assert folder.read("a") == b"now"
    assert folder.names() == ["a"]


def test_appending_creates_the_file_and_adds_to_its_end(folder):
    for line in (b"one\n", b"two\n", b""):
        folder.append("lines", line)
    assert folder.read("lines") == b"one\ntwo\n"
    assert folder.names() == ["lines"]


class FailingDisk(fs.LocalFileSystem):
    """A disk on which the first append writes half of its content and then fails."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.failed = False

    def open_append_stream(self, path):
        stream = super().open_append_stream(path)
        return stream if self.failed else HalfWritten(stream, self)


class HalfWritten:
    def __init__(self, stream, disk):
        self.stream, self.disk = stream, disk

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def write(self, content):
        self.stream.write(content[: len(content) // 2])
        self.stream.flush()
        self.disk.failed = True
        raise OSError(self.disk.number, os.strerror(self.disk.number))


@pytest.mark.parametrize("before", [b"", b"one\n", b"one\ntwo\n"])
def test_a_failed_append_leaves_what_was_there_before(tmp_path, before):
    folder = Folder(FailingDisk(errno.ENOSPC), str(tmp_path))
    folder.write("lines", before)
    with pytest.raises(StorageError, match="no space is left"):
        folder.append("lines", b"three\n")
    assert folder.read("lines") == before


class DiskWithoutInodes(fs.LocalFileSystem):
    """A disk on which no folder can be made."""

    def create_dir(self, path, **_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_is_said_where_the_folder_could_not_be_made(tmp_path):
    folder = Folder(DiskWithoutInodes(), str(tmp_path / "trials" / "x"))
    with pytest.raises(StorageError, match=r"no space is left: 3 bytes were to be written, [0-9,]+ are free"):
        folder.write("a", b"abc")


def test_the_parent_of_a_folder_at_the_root_is_the_root():
    assert Folder.at("/quick").parent == "/"
    assert (Folder.at(Folder.at("/quick").parent) / "quick").local_path == Path("/quick")
    assert Folder.at("/runs/quick").parent == "/runs"


def test_an_append_that_is_tried_again_is_there_once(tmp_path, monkeypatch):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)
    folder = Folder(FailingDisk(errno.EIO), str(tmp_path)).retrying(60)
    folder.write("lines", b"one\n")
    folder.append("lines", b"two\n")
    assert folder.read("lines") == b"one\ntwo\n"


def test_a_folder_that_was_never_written_to_is_empty(folder):
    assert folder.names() == []
    assert not folder.exists("a")
    folder.remove()


def test_reading_what_is_not_there_is_a_file_not_found_error(folder):
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_names_are_sorted_and_hold_files_and_folders(folder):
    folder.write("b", b"")
    folder.write("a", b"")
    (folder / "c" / "d").write("e", b"")
    assert folder.names() == ["a", "b", "c"]
    assert (folder / "c").names() == ["d"]


def test_files_and_folders_exist_once_written(folder):
    (folder / "inner").write("a", b"")
    assert folder.exists("inner")
    assert (folder / "inner").exists("a")
    assert not (folder / "inner").exists("b")


def test_deleting_removes_one_file(folder):
    folder.write("a", b"")
    folder.write("b", b"")
    folder.delete("a")
    assert folder.names() == ["b"]


def test_removing_takes_all_that_is_inside(folder):
    (folder / "inner").write("a", b"")
    (folder / "other").write("a", b"")
    (folder / "inner").remove()
    assert folder.names() == ["other"]


def test_only_a_folder_on_this_disk_has_a_local_path(tmp_path):
    for name in ("path", "text", "file URI"):
        assert PLACES[name](tmp_path).local_path == tmp_path / "runs"
    assert PLACES["not local"](tmp_path).local_path is None


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Folder.at("runs")
    monkeypatch.chdir("/")
    folder.write("a", b"")
    assert (tmp_path / "runs" / "a").exists()


def test_its_text_opens_the_same_folder_again(tmp_path):
    folder = Folder.at(f"file://{tmp_path}/with%20space") / "x"
    assert folder.local_path == tmp_path / "with space" / "x"
    folder.write("a", b"1")
    assert Folder.at(str(folder)).read("a") == b"1"


def test_its_text_keeps_the_endpoint_of_an_object_store():
    options = "region=eu-1&scheme=http&endpoint_override=localhost:9000"
    folder = Folder.at(f"s3://bucket/runs?{options}") / "x"
    assert str(folder) == f"s3://bucket/runs/x?{options}"
    assert str(Folder.at(str(folder)) / "y") == f"s3://bucket/runs/x/y?{options}"


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/my%20runs?region=eu-1",
        "s3://bucket/a%3Fb%23c%25d%C3%A9?region=eu-1",
        "s3://bucket/a+b=c;d,e!$&'()*:@~?region=eu-1",
        "gcs://anonymous@bucket/runs",
    ],
)
def test_the_text_of_a_folder_in_object_storage_opens_it_again(uri: str) -> None:
    folder = Folder.at(uri)
    assert str(folder) == uri
    inner = folder / "50% done"
    assert Folder.at(inner.parent)._path == folder._path
    assert Folder.at(str(inner))._path == f"{folder._path}/50% done"
    assert str(Folder.at(str(inner))) == str(inner)


def test_a_trailing_slash_changes_nothing(tmp_path):
    assert str(Folder.at(f"file://{tmp_path}/runs/") / "x") == str(Folder.at(tmp_path / "runs") / "x")


def test_an_interrupted_write_leaves_the_old_content(tmp_path):
    folder = Folder.at(tmp_path)
    folder.write("a", b"old")
    with pytest.raises(TypeError):
        folder.write("a", "text is no content")
    assert folder.read("a") == b"old"


class Interrupted:
    """Object storage at whose every upload the process gets a signal, just before the content is handed over."""

    def __init__(self):
        self.inner = fs._MockFileSystem(datetime.datetime.now(datetime.UTC))

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def open_output_stream(self, path):
        return InterruptedStream(self.inner.open_output_stream(path))


class InterruptedStream:
    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def write(self, content):
        os.kill(os.getpid(), signal.SIGINT)
        self.stream.write(content)


def test_an_upload_that_a_signal_comes_into_is_stored_whole():
    bucket = Interrupted()
    quiet = Folder(bucket.inner, "bucket/runs")
    quiet.write("a", b"one\n")
    with pytest.raises(KeyboardInterrupt):
        Folder(bucket, "bucket/runs").append("a", b"two\n")
    assert quiet.read("a") == b"one\ntwo\n"


@pytest.mark.parametrize("uri", ["nope://bucket/runs", "http://host/runs", "s3//:x://"])
def test_a_uri_that_cannot_be_opened_is_refused_with_what_is_allowed(uri):
    with pytest.raises(PreflightError, match="give a folder, or a URI") as caught:
        Folder.at(uri)
    assert uri in str(caught.value)
    assert caught.value.exit_code == 3


@given(contents=st.lists(st.binary(max_size=64), min_size=1, max_size=4))
def test_appends_concatenate_anywhere(contents, tmp_path_factory):
    for place in ("path", "not local"):
        folder = PLACES[place](tmp_path_factory.mktemp("append"))
        for content in contents:
            folder.append("a", content)
        assert folder.read("a") == b"".join(contents)


CANARY = "canary-7c1f"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIA:{CANARY}@bucket/runs",
        f"s3://AKIA:a/{CANARY}+b@bucket/runs",
        f"s3://{CANARY}@bucket/runs",
        f"s3://AKIA:a?{CANARY}@bucket/runs",
        f"s3://AKIA:a#{CANARY}@bucket/runs",
        f"runs?secret_key={CANARY}",
        f"gs://bucket/runs?access_token={CANARY}",
        f"s3://bucket/runs?region=x&secret_key={CANARY}",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(PreflightError, match="has credentials in it") as refused:
        Folder.at(uri)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("uri", ["s3://bucket/a@b", "s3://bucket/x?endpoint_override=127.0.0.1:80&region=y", "/a:b@c"])
def test_what_only_looks_like_credentials_is_none(uri: str) -> None:
    refuse_credentials(uri)
