"""Tests of raytrain.cluster.transfer: a run folder goes through text and comes out the same."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.cluster import transfer
from raytrain.cluster.transfer import BEGIN, END, pack, received, unpack
from raytrain.errors import JobError, RunFolderError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "there" / "lr"
    for name, content in {
        "experiment.yaml": b"name: lr\n",
        "trials/a/metrics.jsonl": b"1\n",
        "trials/a/checkpoint/1.pt": bytes(range(256)) * 64,
        ".ray/tune/state": b"scratch",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_unpacked_is_what_was_packed_but_for_rays_scratch(run: Path, tmp_path: Path) -> None:
    unpack(pack(run)[0], tmp_path / "lr")
    assert files(tmp_path / "lr") == {name: data for name, data in files(run).items() if not name.startswith(".ray/")}
    assert {path.name for path in tmp_path.iterdir()} == {"there", "lr"}


def test_large_checkpoints_stay_where_they_are(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", 1000)
    unpack(pack(run)[0], tmp_path / "lr")
    assert set(files(tmp_path / "lr")) == {"experiment.yaml", "trials/a/metrics.jsonl"}


def printed(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the cluster prints of a run folder."""
    monkeypatch.setattr(sys, "argv", ["transfer", str(run)])
    transfer.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(("limit", "mib"), [(2**20, "3"), (2**30, None)])
def test_checkpoints_that_stay_on_the_cluster_are_warned_of(
    limit: int,
    mib: str | None,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", limit)
    (run / "trials/a/checkpoint/2.pt").write_bytes(bytes(3 * 2**20))
    content = received(printed(run, monkeypatch, capsys), job="lr-1")
    assert isinstance(content, bytes)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * (mib is not None)
    if mib:
        assert f"the run folder has more than 1 MiB ({mib} of checkpoints)" in caplog.text


@pytest.mark.parametrize("text", ["", BEGIN, f"{BEGIN}abc", f"{BEGIN}a{END}"])
def test_what_has_not_arrived_whole_is_noticed(text: str) -> None:
    assert received(text, job="lr-1") is None


def test_a_later_state_of_the_same_run_goes_over_the_earlier(run: Path, tmp_path: Path) -> None:
    unpack(pack(run)[0], tmp_path / "lr")
    (tmp_path / "lr" / "notes.txt").write_text("mine")
    (run / "trials/a/metrics.jsonl").write_bytes(b"1\n2\n")
    unpack(pack(run)[0], tmp_path / "lr")
    assert (tmp_path / "lr/trials/a/metrics.jsonl").read_bytes() == b"1\n2\n"
    assert (tmp_path / "lr/notes.txt").read_text() == "mine"


def test_the_report_of_an_earlier_state_goes_when_a_later_one_has_none(run: Path, tmp_path: Path) -> None:
    (run / "report.html").write_text("<h1>first</h1>")
    unpack(pack(run)[0], tmp_path / "lr")
    assert (tmp_path / "lr/report.html").read_text() == "<h1>first</h1>"
    (run / "report.html").unlink()  # the run goes on, and has one again at its end
    (run / "events.jsonl").write_text("{}\n")
    unpack(pack(run)[0], tmp_path / "lr")
    assert "report.html" not in files(tmp_path / "lr")


def test_a_report_that_was_made_here_stays_when_the_same_state_arrives_again(run: Path, tmp_path: Path) -> None:
    (run / "events.jsonl").write_text("{}\n")
    unpack(pack(run)[0], tmp_path / "lr")
    (tmp_path / "lr/report.html").write_text("<h1>mine</h1>")
    unpack(pack(run)[0], tmp_path / "lr")
    assert (tmp_path / "lr/report.html").read_text() == "<h1>mine</h1>"


def test_another_run_is_not_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr/experiment.yaml").write_text("name: lr\nseeds: [1]\n")
    with pytest.raises(JobError, match="holds another run"):
        unpack(pack(run)[0], tmp_path / "lr")
    assert set(files(tmp_path / "lr")) == {"experiment.yaml"}


def manifest(*starts: str) -> str:
    return json.dumps({"data": {}, "sessions": [{"started": start} for start in starts]})


def test_a_run_that_has_grown_goes_over_its_earlier_state(run: Path, tmp_path: Path) -> None:
    (run / "manifest.json").write_text(manifest("2026-01-01"))
    unpack(pack(run)[0], tmp_path / "lr")
    (run / "experiment.yaml").write_text("name: lr\nseeds: [0, 1]\n")
    (run / "manifest.json").write_text(manifest("2026-01-01", "2026-01-02"))
    unpack(pack(run)[0], tmp_path / "lr")
    assert (tmp_path / "lr/experiment.yaml").read_text() == "name: lr\nseeds: [0, 1]\n"


@pytest.mark.parametrize(
    ("here", "message"),
    [(("2025-12-31",), "holds another run"), (("2026-01-01", "2026-01-02"), "it was continued there")],
)
def test_another_run_of_the_same_experiment_is_not_written_over(
    here: tuple[str, ...], message: str, run: Path, tmp_path: Path
) -> None:
    (run / "manifest.json").write_text(manifest("2026-01-01"))
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr/experiment.yaml").write_bytes((run / "experiment.yaml").read_bytes())
    (tmp_path / "lr/manifest.json").write_text(manifest(*here))
    before = files(tmp_path / "lr")
    with pytest.raises(JobError, match=rf"{message}; nothing was copied"):
        unpack(pack(run)[0], tmp_path / "lr")
    assert files(tmp_path / "lr") == before


class Listing(Iterator[os.DirEntry[str]]):
    """What `os.scandir` returns, once the folder is read."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self._entries = iter(entries)

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...


def test_a_file_that_is_removed_after_its_folder_was_listed_is_left_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the checkpoints of a run that goes on."""
    goes = run / "trials/a/checkpoint/1.pt"
    scandir, listdir = os.scandir, os.listdir

    def scanned(path: Any = ".") -> Listing:
        with scandir(path) as found:
            entries = list(found)
        if Path(path) == goes.parent:
            goes.unlink(missing_ok=True)
        return Listing(entries)

    def listed(path: Any = ".") -> list[str]:
        names = listdir(path)
        if Path(path) == goes.parent:
            goes.unlink(missing_ok=True)
        return names

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scanned)
        patch.setattr(os, "listdir", listed)
        content, left = pack(run)
    assert not goes.exists()
    unpack(content, tmp_path / "lr")
    assert set(files(tmp_path / "lr")) == {"experiment.yaml", "trials/a/metrics.jsonl"}
    assert left == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("trials/../../outside", tarfile.REGTYPE),
        ("/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("link", tarfile.LNKTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_of_a_cluster_holds_files_inside_its_folder_only(name: str, kind: bytes, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("./experiment.yaml"), io.BytesIO())
        odd = tarfile.TarInfo(name)
        odd.type, odd.linkname = kind, "experiment.yaml"
        archive.addfile(odd, io.BytesIO())
    with pytest.raises(JobError, match="which no run folder has"):
        unpack(buffer.getvalue(), tmp_path / "runs" / "lr")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("link", ["trials", "trials/a/metrics.jsonl"])
def test_nothing_is_unpacked_through_a_link_that_leads_out(link: str, run: Path, tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "lr" / link, tmp_path / "elsewhere"
    here.parent.mkdir(parents=True)
    here.symlink_to(elsewhere)
    elsewhere.write_text("mine") if link.endswith("jsonl") else elsewhere.mkdir()
    before = files(tmp_path)
    with pytest.raises(RunFolderError, match=r"is a link to .*elsewhere, out of the run folder"):
        unpack(pack(run)[0], tmp_path / "lr")
    assert files(tmp_path) == before


def test_what_arrives_is_not_put_behind_a_link_that_is_there_already(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".lr.arriving").symlink_to(tmp_path / "elsewhere")
    unpack(pack(run)[0], tmp_path / "lr")
    assert files(tmp_path / "elsewhere") == {}
    assert (tmp_path / "lr/experiment.yaml").exists()


def test_an_archive_that_unpacks_to_more_than_it_may_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "zeros").write_bytes(bytes(2**20))
    monkeypatch.setattr(transfer, "LARGEST", 2**19)
    with pytest.raises(JobError, match="unpacks to more than 524,288 bytes; nothing was copied"):
        unpack(pack(run)[0], tmp_path / "lr")
    assert not (tmp_path / "lr").exists()


@pytest.mark.parametrize("content", [b"", b"no archive"], ids=["empty", "text"])
def test_an_archive_that_cannot_be_read_is_no_bug(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot be unpacked"):
        unpack(content, tmp_path / "lr")


def test_the_command_prints_the_archive_between_two_lines(run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raytrain.cluster.transfer", str(run)], capture_output=True, text=True, check=True
    )
    unpack(base64.b64decode(done.stdout.partition(BEGIN)[2].partition(END)[0]), tmp_path / "lr")
    assert (tmp_path / "lr/experiment.yaml").read_bytes() == b"name: lr\n"


def test_the_command_fails_where_there_is_no_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raytrain.cluster.transfer", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "there is no run folder" in done.stderr
