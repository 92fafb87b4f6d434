"""Tests of `raytrain report`: where it writes, and what it says when it cannot; and of what `raytrain audit` says."""

import json
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from raytrain.baselines.baselines import COLUMNS
from raytrain.cli.app import app
from raytrain.cli.runs.analysis import _show_replays
from raytrain.storage.json_lines import as_line

pytestmark = pytest.mark.slow


def report(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


def test_it_writes_into_the_run_folder_and_says_where(make_run: Any) -> None:
    folder = make_run()
    ended = report("made", "--out", str(Path(str(folder)).parent))
    assert (ended.exit_code, ended.stdout) == (0, f"{folder}/report.html\n")
    assert folder.read("report.html").startswith(b"<!doctype html>")
    assert (folder / "plots").exists("Loss_Test.png")


def test_another_file_can_be_named_and_the_run_folder_stays_as_it_is(make_run: Any, tmp_path: Path) -> None:
    folder = make_run()
    ended = report(str(folder), "--output", str(tmp_path / "page.html"))
    assert (ended.exit_code, ended.stdout) == (0, f"{tmp_path}/page.html\n")
    assert not folder.exists("report.html")
    missing = report(str(folder), "--output", str(tmp_path / "nowhere" / "page.html"))
    assert missing.exit_code == 2
    assert "choose a file in an existing folder" in missing.stderr


def test_open_shows_the_file_in_the_browser(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or len(opened) == 1)
    folder = make_run()
    assert report(str(folder), "--open").stderr == ""
    assert opened == [f"file://{folder}/report.html"]
    assert "no web browser was found" in report(str(folder), "--open").stderr


@pytest.mark.parametrize(
    ("seeds", "said"), [([0], "With one seed each, it is only an example."), ([0, 1, 2], "Each of up to 3 seeds")]
)
def test_the_audit_says_how_many_seeds_its_replay_rests_on(make_run: Any, seeds: list[int], said: str) -> None:
    folder = make_run(grid={"lr": [0.1, 0.2]}, seeds=seeds)
    ended = CliRunner().invoke(app, ["audit", str(folder)])
    assert (ended.exit_code, ended.stdout.count("Each of up to"), ended.stdout.count(said)) == (0, len(seeds) > 1, 1)
    assert ("With one seed each" in ended.stdout) == (len(seeds) == 1)


def test_the_audit_says_that_trials_which_were_stopped_are_missing_from_its_replays(make_run: Any) -> None:
    folder = make_run(grid={"lr": [0.1, 0.2, 0.3]})
    said = "not among them, so this says little about the whole search."
    assert said not in CliRunner().invoke(app, ["audit", str(folder)]).stdout
    events, results = folder.read("events.jsonl").decode(), folder.read("trials.jsonl").decode()
    trial = json.loads(results.splitlines()[-1])["trial"]
    rung = {"time": "2026-01-01T00:00:00.000+00:00", "event": "rung", "trial": trial, "epoch": 1, "rung": 1}
    rung |= {"accuracy": 0.1, "cut": 0.5, "stop": True}
    folder.write("events.jsonl", events.encode() + as_line(rung))
    ended = CliRunner().invoke(app, ["audit", str(folder)])
    assert f"The 1 that was stopped or paused is {said}" in ended.stdout


def test_the_audit_replays_the_setting_of_the_run_in_both_modes_and_says_which_it_is(make_run: Any) -> None:
    folder = make_run(grid={"lr": [0.1, 0.2]}, asha={"grace_period": 3})
    ended = CliRunner().invoke(app, ["audit", str(folder)])
    assert "The setting of this run and others, replayed on the 2 trials" in ended.stdout
    marked = [line.split()[:4] for line in ended.stdout.splitlines() if line.endswith("this run's setting")]
    assert marked == [["stop", "3", "3", "all"], ["promote", "3", "3", "all"]]
    found = json.loads(CliRunner().invoke(app, ["audit", str(folder), "--json"]).stdout)["replays"]
    own = [(one["mode"], one["grace_period"], one["reduction_factor"]) for one in found if one["this_run"]]
    assert own == [("stop", 3, 3), ("promote", 3, 3)]
    without = CliRunner().invoke(app, ["audit", str(make_run("without", grid={"lr": [0.1, 0.2]}))])
    assert "Other settings, replayed on the 2 trials" in without.stdout
    assert "this run" not in without.stdout


def test_a_run_that_is_not_there_and_a_damaged_one_are_one_message_each(make_run: Any) -> None:
    folder = make_run()
    absent = report("absent", "--out", str(Path(str(folder)).parent))
    assert (absent.exit_code, absent.stderr.count("\n")) == (2, 1)
    assert "choose one of made" in absent.stderr
    folder.write("manifest.json", b"{")
    damaged = report(str(folder))
    assert damaged.exit_code == 2
    assert "manifest.json: is damaged" in damaged.stderr


def test_below_a_table_with_a_baseline_of_other_images_that_is_said(make_run: Any) -> None:
    folder = make_run()
    ended = CliRunner().invoke(app, ["results", str(folder), "--baseline", "student"])
    said = "student is on cifar10, the run is on digits: accuracies on different images cannot be compared."
    assert (ended.exit_code, ended.stderr.count(said)) == (0, 1)
    explained = CliRunner().invoke(app, ["results", str(folder), "--baseline", "student", "--explain"])
    assert explained.stderr.count(said) == 1
    assert said not in CliRunner().invoke(app, ["results", str(folder)]).stderr


@pytest.mark.parametrize(
    ("complete", "ended", "why"),
    [
        (0, 1, "Fewer than two trials ran to the end, so no other setting can be replayed.\n"),
        (
            0,
            2,
            "Fewer than two trials have on record, for every epoch, what ASHA goes by (val_size: 0 has none), so",
        ),
        (2, 2, "The trials have one epoch and no rung before its end, so"),
    ],
)
def test_where_nothing_can_be_replayed_the_audit_says_why(
    complete: int, ended: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _show_replays([], complete=complete, labels={}, ended=ended)
    assert capsys.readouterr().out.startswith(why)


def test_a_baseline_that_was_not_tested_after_every_epoch_is_not_replayed_as_if_it_were(tmp_path: Path) -> None:
    def log(**tested: range) -> str:
        path = tmp_path / "logs.csv"
        rows = [f"{name},{at},{at},,,,0.{at:03}" for name, epochs in tested.items() for at in epochs]
        path.write_text("\n".join([",".join(COLUMNS), *rows, ""]))
        return str(path)

    every, tenth = range(1, 31), range(10, 301, 10)
    ended = CliRunner().invoke(app, ["audit", "--baseline", log(a=every, b=every, c=tenth, d=range(1, 5))])
    said = "2 curves of 30 epochs (left out: d, of another length; c, without the test accuracy of some epochs). ASHA"
    assert ended.stdout.startswith(said)
    none = CliRunner().invoke(app, ["audit", "--baseline", log(a=tenth, b=tenth)])
    assert (none.exit_code, "has the test accuracy of every epoch" in none.stderr) == (2, True)


def test_a_run_that_is_named_twice_counts_once(make_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(str(make_run("quick", grid={"lr": [0.1, 0.2]})))
    link = tmp_path / "link"
    link.symlink_to(folder)
    words = ["results", "quick", "--out", str(folder.parent), "--json"]
    once = CliRunner().invoke(app, words)
    for again in (str(folder), f"{folder.parent}/../{folder.parent.name}/quick", str(link), "quick"):
        caplog.clear()
        twice = CliRunner().invoke(app, [*words, again, "--assert", "finished >= 3"])
        assert (twice.exit_code, twice.stdout) == (9, once.stdout)
        said = [f"{again} is left out: it is the run quick, which is named already"]
        assert caplog.messages == (said if again != "quick" else [])
