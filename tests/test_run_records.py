"""Tests of benchmarks/record.py: what the record of a run says about the code that it was made with."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the module that makes records, which it writes into `tmp_path`; of runs without trials."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import record

    monkeypatch.setattr(record, "RECORDS", tmp_path)
    empty = SimpleNamespace(state=SimpleNamespace(results=list), predictions={}, epochs={})
    monkeypatch.setattr(record, "read_record", lambda _: empty)
    return record


@pytest.mark.parametrize(
    ("diff", "left_out", "marked"),
    [("+ epochs: 16", [], True), ("", ["notes.txt"], True), ("", [], False), (None, [], False)],
)
def test_a_record_says_whether_its_commit_was_changed_and_not_how(
    record: ModuleType, tmp_path: Path, diff: str | None, left_out: list[str], marked: bool
) -> None:
    run = tmp_path / "some"
    run.mkdir()
    code = {"git_commit": "1" * 40, "git_diff": diff, "git_diff_left_out": left_out}
    session = {"code": code, "machine": {"host": "mine", "cores": 2}}
    (run / "manifest.json").write_text(json.dumps({"sessions": [session]}))
    (kept,) = json.loads(record.keep(str(run)).read_text())["sessions"]
    said = {"uncommitted": True} if marked else {}
    assert kept == {"code": {"git_commit": "1" * 40, **said}, "machine": {"cores": 2}}
