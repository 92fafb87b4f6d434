"""Tests of raytrain.trackers.content: what trackers are told of a trial, without one."""

from collections.abc import Callable

import pytest

from raytrain.analysis.record import read_record
from raytrain.runs.writing.journal import RunJournal
from raytrain.trackers.content import contents_of


def test_a_trial_has_the_commit_of_the_code_that_last_trained_it(
    open_run_folder: Callable[..., RunJournal], train: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def continued(commit: str) -> RunJournal:
        monkeypatch.setattr("raytrain.provenance.manifest.describe_code", lambda: {"git_commit": commit})
        return open_run_folder(grid={"lr": [0.1, 0.2, 0.3]})

    run = continued("first")
    train(run, 0, range(1, 4))
    train(run, 1, range(1, 2))
    run.close()
    run = continued("second")
    train(run, 1, range(2, 4))
    train(run, 2, range(1, 4))
    run.close()
    run = continued("third")  # it trains nothing
    run.close()
    told = contents_of(read_record(run.folder))
    assert [one.tags["raytrain.commit"] for one in told] == ["first", "second", "second"]


def test_a_trial_from_before_the_first_session_on_record_has_no_commit(
    open_run_folder: Callable[..., RunJournal], train: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a repair, which sets a damaged manifest aside."""
    run = open_run_folder()
    train(run, 0, range(1, 4))
    run.close()
    run.folder.delete("manifest.json")
    monkeypatch.setattr("raytrain.provenance.manifest.describe_code", lambda: {"git_commit": "later"})
    run = open_run_folder()
    train(run, 1, range(1, 4))
    run.close()
    told = contents_of(read_record(run.folder))
    assert [one.tags.get("raytrain.commit") for one in told] == [None, "later"]
