"""Tests of raytrain.cluster.transfer: what is new comes, what is here stays."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from raytrain.cluster import transfer
from raytrain.cluster.transfer import pull
from raytrain.errors import RunFolderError
from raytrain.runs.writing.lock import run_locked
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
    source.write("experiment.yaml", b"name: lr\n")
    source.write("events.jsonl", b"a")
    pull(source, tmp_path / "here")
    source.write("events.jsonl", b"b")
    assert pull(source, tmp_path / "here").files == 1
    assert (tmp_path / "here/events.jsonl").read_bytes() == b"b"


def test_the_report_of_an_earlier_state_goes_when_later_results_come(source: Folder, tmp_path: Path) -> None:
    report = tmp_path / "here/report.html"
    source.write("report.html", b"<h1>first</h1>")
    pull(source, tmp_path / "here")
    source.delete("report.html")  # the run goes on, and has one again at its end
    assert pull(source, tmp_path / "here").files == 0
    assert report.exists()
    source.write("events.jsonl", b"more\n")
    pull(source, tmp_path / "here")
    assert not report.exists()
    source.write("report.html", b"<h1>second</h1>")
    pull(source, tmp_path / "here")
    source.write("events.jsonl", b"and more\n")
    assert pull(source, tmp_path / "here").files == 1
    assert report.read_bytes() == b"<h1>second</h1>"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("events.jsonl", True),
        ("trials.jsonl", True),
        ("trials/a/metrics.jsonl", True),
        ("trials/a/predictions.npz", True),
        ("trials/a/checkpoint/epoch-0001.json", False),
        ("trials/a/tb/events.out.tfevents", False),
        ("README.md", False),
    ],
)
def test_a_report_that_was_made_here_stays_unless_a_file_that_it_shows_is_newer(
    name: str, shown: bool, source: Folder, tmp_path: Path
) -> None:
    pull(source, tmp_path / "here")
    report = tmp_path / "here/report.html"
    report.write_bytes(b"<h1>made here</h1>")
    where, _, file = name.rpartition("/")
    (source / where if where else source).write(file, b"newer\n")
    assert pull(source, tmp_path / "here").files == 1
    assert report.exists() is not shown


def test_a_report_that_was_made_here_stays_beside_an_older_one_there_until_its_results_are_newer(
    source: Folder, tmp_path: Path
) -> None:
    source.write("report.html", b"<h1>there</h1>")
    pull(source, tmp_path / "here")
    report = tmp_path / "here/report.html"
    report.write_bytes(b"<h1>made here, with a baseline</h1>")
    assert pull(source, tmp_path / "here").files == 0
    assert report.read_bytes() == b"<h1>made here, with a baseline</h1>"
    source.write("trials.jsonl", b"newer\n")
    assert pull(source, tmp_path / "here").files == 2
    assert report.read_bytes() == b"<h1>there</h1>"


def manifest(*starts: str) -> bytes:
    return json.dumps({"data": {}, "sessions": [{"started": start} for start in starts]}).encode()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_has_grown_is_brought(source: Folder, tmp_path: Path) -> None:
    source.write("manifest.json", manifest("2026-01-01"))
    pull(source, tmp_path / "here")
    source.write("experiment.yaml", b"name: lr\nseeds: [0, 1]\n")
    source.write("manifest.json", manifest("2026-01-01", "2026-01-02"))
    assert pull(source, tmp_path / "here").files == 2
    assert (tmp_path / "here/experiment.yaml").read_bytes() == b"name: lr\nseeds: [0, 1]\n"


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (manifest("2026-01-01"), manifest("2026-01-02"), "holds another run"),  # of the same experiment
        (manifest("2026-01-01"), None, "holds another run"),
        (manifest("2026-01-01", "2026-01-03"), manifest("2026-01-01", "2026-01-02"), "it was continued there"),
        (manifest("2026-01-01", "2026-01-03"), manifest("2026-01-01"), "it was continued there"),
    ],
)
def test_another_run_or_one_that_was_continued_here_is_not_written_over(
    here: bytes, there: bytes | None, message: str, source: Folder, tmp_path: Path
) -> None:
    local = Folder.at(tmp_path / "out" / "lr")
    for name, content in {"experiment.yaml": b"name: lr\n", "manifest.json": here, "trials.jsonl": b"mine\n"}.items():
        local.write(name, content)
    source.write("trials.jsonl", b"theirs\n")
    if there:
        source.write("manifest.json", there)
    before = contents(tmp_path / "out")
    with pytest.raises(RunFolderError, match=rf"{message}; nothing was copied\. Move it away") as refused:
        pull(source, tmp_path / "out" / "lr")
    assert refused.value.exit_code == 2
    assert contents(tmp_path / "out") == before


def test_results_without_a_manifest_stay_unless_the_experiment_is_the_same(source: Folder, tmp_path: Path) -> None:
    local = Folder.at(tmp_path / "here")
    local.write("trials.jsonl", b"mine\n")
    with pytest.raises(RunFolderError, match="holds another run"):
        pull(source, tmp_path / "here")
    local.write("experiment.yaml", b"name: lr\n")
    source.write("manifest.json", manifest("2026-01-01"))
    assert pull(source, tmp_path / "here").files == 2


def test_an_interrupted_copy_says_which_run_it_is(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write("manifest.json", manifest("2026-01-01"))
    copy = transfer._copy

    def one_file(file: StoredFile, *places: Any) -> bool:
        if (tmp_path / "here").exists():
            raise KeyboardInterrupt
        return copy(file, *places)

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_copy", one_file)
        with pytest.raises(KeyboardInterrupt):
            pull(source, tmp_path / "here")
    assert set(contents(tmp_path / "here")) == {"manifest.json"}
    assert pull(source, tmp_path / "here").files == 2


def test_a_folder_in_use_is_left_alone(source: Folder, tmp_path: Path) -> None:
    pull(source, tmp_path / "here")
    (source / "trials" / "a").write("metrics.jsonl", b"1\n2\n")
    with run_locked(Folder.at(tmp_path / "here")), pytest.raises(RunFolderError, match="is in use by"):
        pull(source, tmp_path / "here")
    assert (tmp_path / "here/trials/a/metrics.jsonl").read_bytes() == b"1\n"


def test_a_file_that_vanishes_while_the_run_goes_on_is_left_out(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [*source.files(), StoredFile("trials/a/checkpoint/1.pt", 3, 0)]
    monkeypatch.setattr(Folder, "files", lambda _: listed)
    pulled = pull(source, tmp_path / "here")
    assert (pulled.files, pulled.size) == (2, 11)
    assert not (tmp_path / "here/trials/a/checkpoint").exists()


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
