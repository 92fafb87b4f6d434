"""Tests of raytrain.storage.json_lines: lines of JSON, of which a kill or a power failure may tear the last one."""

import json
from pathlib import Path

import pytest

from raytrain.errors import RunFolderError
from raytrain.storage.folder import Folder
from raytrain.storage.json_lines import as_line, mend_last_line, read_lines

TORN = [b"", b'{"a": 2', b"{", b"\0\0\0\0", b'{"a"\0\0']


@pytest.mark.parametrize("tail", TORN)
def test_a_last_line_that_was_not_written_to_its_end_is_left_out_and_removed(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n' + tail)
    folder = Folder.at(tmp_path)
    assert list(read_lines(folder, "x.jsonl")) == [{"a": 1}]
    mend_last_line(folder, "x.jsonl")
    assert (tmp_path / "x.jsonl").read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("tail", [b'{"a": 2}', b'{"a": {"b": 2}}', b'{"a": 2} '])
def test_a_last_line_that_lacks_only_its_newline_is_read_and_completed(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n' + tail)
    folder = Folder.at(tmp_path)
    assert list(read_lines(folder, "x.jsonl")) == [{"a": 1}, json.loads(tail)]
    for _ in range(2):
        mend_last_line(folder, "x.jsonl")
        assert (tmp_path / "x.jsonl").read_bytes() == b'{"a": 1}\n' + tail + b"\n"


def test_no_beginning_of_an_object_is_taken_for_the_whole(tmp_path: Path) -> None:
    line = as_line({"a": 12.5, "b": {"c": "}"}, "d": [{}]})
    for kept in range(len(line) - 1):
        (tmp_path / "x.jsonl").write_bytes(line[:kept])
        assert list(read_lines(Folder.at(tmp_path), "x.jsonl")) == []
        mend_last_line(Folder.at(tmp_path), "x.jsonl")
        assert (tmp_path / "x.jsonl").read_bytes() == b""


def test_a_whole_last_line_that_does_not_belong_there_is_damage(tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise ValueError("is no event")

    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}')
    with pytest.raises(RunFolderError, match=r"x\.jsonl:1: is damaged: is no event"):
        list(read_lines(Folder.at(tmp_path), "x.jsonl", check=refuse))


@pytest.mark.parametrize("tail", [b"noise", b"\0noise", b"\xff\xfe"])
def test_a_last_line_that_no_kill_leaves_is_damage(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n' + tail)
    with pytest.raises(RunFolderError, match=r"x\.jsonl:2: is damaged"):
        list(read_lines(Folder.at(tmp_path), "x.jsonl"))


@pytest.mark.parametrize("line", [b'{"a": 1} {"a": 2}', b'{"a": 1}{"a": 2}', b'{"a": 1}]', b"[1]", b"1", b'{"a": 1'])
def test_a_line_with_anything_but_one_object_is_damage(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 0}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(RunFolderError, match=r"x\.jsonl:2: is damaged"):
        list(read_lines(Folder.at(tmp_path), "x.jsonl"))


@pytest.mark.parametrize("line", [b' {"a": 1}', b'{"a": 1}\t ', b'{"a": 1}\r'])
def test_blanks_around_an_object_do_not_matter(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 0}\n' + line + b"\n")
    assert list(read_lines(Folder.at(tmp_path), "x.jsonl")) == [{"a": 0}, {"a": 1}]
