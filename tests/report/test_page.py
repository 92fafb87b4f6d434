"""Tests of raytrain.report.page: one file, complete without scripts, with nothing unescaped and nothing fetched."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from raytrain.analysis.ranking import Ranking, Standing
from raytrain.analysis.record import read_record
from raytrain.baselines.baselines import open_baseline
from raytrain.errors import RunFolderError
from raytrain.report.figures.legend import Entry
from raytrain.report.figures.timeline import timeline
from raytrain.report.page import render, write_report
from raytrain.report.sections import rows
from raytrain.report.sections.facts import facts, provenance, verdict
from raytrain.report.text.quantities import duration
from raytrain.runs.results import TrialResult
from raytrain.storage.folder import Folder

pytestmark = pytest.mark.slow  # matplotlib, and Plotly's 4.6 MB of JavaScript to compress


class _Page(HTMLParser):
    """The page's elements, the text outside of scripts, and what a browser would fetch."""

    VOID = frozenset({"meta", "link", "img", "br", "use", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"script", "style"}:
            self.text += data


def page_of(folder: Folder) -> tuple[str, _Page]:
    text = render(read_record(folder))
    return text, _Page(text)


def test_the_page_shows_every_part_of_a_run_and_fetches_nothing(make_run: Any) -> None:
    ends = {1: "stopped", 2: "diverged", 3: "failed"}
    grid = {"lr": [0.1, 0.2, 0.3], "schedule": ["cosine", "constant"]}
    text, page = page_of(make_run(grid=grid, ends=ends, asha={}))
    for section in ("ranking", "curves", "cost", "effects", "grid", "timeline", "asha", "mistakes", "reproduce"):
        assert f'<section id="{section}"' in text
    assert all(link.startswith(("data:", "#")) for link in page.fetched)
    assert "@import" not in text
    assert "url(http" not in text
    for words in ("stopped at 4", "diverged at epoch 3", "95 % interval", "lr × schedule", "may be the best"):
        assert words in page.text


def test_a_trial_that_was_killed_is_said_to_have_run_as_long_as_its_epochs_took(make_run: Any) -> None:
    _, page = page_of(make_run(ends={0: "unfinished"}))  # 2 epochs of 1.5 s each are on record, written in no time
    assert f"Trials ran for {duration(3.0)} on 1 slot" in page.text


def test_names_and_messages_are_escaped(make_run: Any) -> None:
    hostile = '</script><img src=x onerror="alert(1)">'
    folder = make_run(grid={"dataset": ["digits", hostile]}, ends={1: "failed"})
    text, page = page_of(folder)
    assert "<img src=x" not in text
    assert "<i>nine</i>" not in text
    assert "<b>no</b> memory" not in text
    for words in (hostile, "<i>nine</i>", "<b>no</b> memory & no luck"):
        assert words in page.text
    figures = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert figures
    assert hostile not in json.dumps(json.loads(figures[1])), "Plotly reads HTML in names, so they are escaped"


def test_a_page_may_run_its_own_scripts_only_and_load_nothing(make_run: Any) -> None:
    text, _ = page_of(make_run())
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (*scripts, get_plotlyjs())]
    assert rules["script-src"].split() == [f"'sha256-{one}'" for one in hashes]


def test_a_long_table_hides_its_further_rows_before_it_is_laid_out_and_only_by_a_script_of_its_own(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(grid={"lr": [0.1, 0.2, 0.3]})
    short, _ = page_of(folder)
    assert 'add("paging")' not in short
    monkeypatch.setattr("raytrain.report.page.PAGE", 2)
    text, page = page_of(folder)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert text.index('add("paging")') < text.index("<table")
    assert "hidden" not in text[text.index("<table") : text.index("</table>")], "without scripts, all rows are shown"
    assert page.tags.count("tr") >= 4
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (*scripts, get_plotlyjs())]
    policy = re.search(r"script-src ([^;]+);", text)
    assert policy
    assert policy[1].split() == [f"'sha256-{one}'" for one in hashes]


def test_the_pages_style_hides_the_rows_that_its_script_hides() -> None:
    css, script = (
        (Path(rows.__file__).parents[1] / "templates" / name).read_text() for name in ("page.css", "page.js")
    )
    assert f"tr:nth-child(n + {rows.PAGE + 1}) {{ display: none; }}" in css
    assert f"const PAGE = {rows.PAGE};" in script


def test_there_is_no_white_space_between_cells_and_between_the_parts_of_a_drawing(make_run: Any) -> None:
    text, _ = page_of(make_run(grid={"lr": [0.1, 0.2]}))
    for first, last in (("<tbody>", "</tbody>"), ('<div class="static">', "</div>")):
        part = text[text.index(first) : text.index(last)]
        assert re.search(r"</(td|path|g)>\s+<(td|path|g)", part) is None


def test_what_cannot_be_seen_is_shown_in_a_page(make_run: Any) -> None:
    hidden = "cats\u202egnp.\x1b]0;owned\x07"
    text, page = page_of(make_run(grid={"dataset": ["digits", hidden]}))
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert r"cats\u202egnp.\x1b]0;owned\x07" in page.text


def test_a_run_that_other_code_continued_names_the_commits_versions_and_machines_of_all_its_sessions(
    make_run: Any,
) -> None:
    folder = make_run()
    manifest = json.loads(folder.read("manifest.json"))
    (first,) = manifest["sessions"]
    first["code"] |= {"git_commit": "1" * 40, "git_diff": "", "git_diff_left_out": []}
    second = {**first, "code": {**first["code"], "git_commit": "2" * 40, "git_diff": "+ 1", "python": "3.99.0"}}
    second["machine"] = {**first["machine"], "gpus": ["H200"], "processor": "another one"}
    folder.write("manifest.json", json.dumps({**manifest, "sessions": [first, second, first]}).encode())
    record = read_record(folder)
    said = dict(provenance(record, going_on=False))
    assert said["Commit"] == f"{'1' * 40}; then {'2' * 40}, with uncommitted changes (in manifest.json)"
    before, after = said["Versions"].split("; then ")
    assert after == before.replace(first["code"]["python"], "3.99.0")
    assert said["Machine"].count("; then another one, ") == 1
    at_the_top = dict(facts(record, timeline(record.events, record.epochs), {}))
    assert at_the_top["Machine"].endswith(", no GPU; then H200")


def test_a_command_in_a_page_can_be_pasted(make_run: Any) -> None:
    folder = make_run(recipe={"dataset": "/nowhere"})
    assert folder.local_path
    renamed = folder.local_path.rename(folder.local_path.with_name("a;touch b"))
    _, page = page_of(Folder.at(renamed))
    assert "raytrain report 'a;touch b'" in page.text


def test_a_baseline_stands_in_the_table_and_in_the_curves(make_run: Any) -> None:
    page = render(read_record(make_run(grid={"lr": [0.1, 0.2]})), baseline=open_baseline("student"))
    read = _Page(page)
    assert "student/train3" in read.text
    assert "baseline at 8" in read.text
    assert "student: train3 (test)" in page


@pytest.mark.parametrize("trials", [1, 200])
def test_one_trial_and_two_hundred_make_a_page(make_run: Any, trials: int) -> None:
    rates = [round(0.001 * step, 4) for step in range(1, trials + 1)]
    text, page = page_of(make_run(grid={"lr": rates}, recipe={"epochs": 8}))
    assert page.text.count("finished") >= trials
    assert len(text) < 5_000_000


def test_a_table_of_many_rows_ends_with_what_is_left_out_and_keeps_what_is_chosen(
    make_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 0)
    record = read_record(make_run("many", grid={"lr": [0.1, 0.2, 0.3, 0.4]}))
    text = " ".join(render(record).split())
    table = text[text.index('<table class="ranking">') : text.index("</table>")]
    assert record.chosen
    assert table.count("data-label=") == 1
    assert "chosen" in table
    assert "The table has 1 row, the first ones and what is chosen, and 3 are left out" in text
    assert "raytrain results many" in text
    monkeypatch.undo()
    assert "left out" not in render(record)


def test_a_run_in_which_nothing_finished_still_has_its_page(make_run: Any) -> None:
    _, page = page_of(make_run(grid={"lr": [0.1, 0.2]}, ends={0: "diverged", 1: "failed"}))
    assert "No trial has finished." in page.text
    assert "Mistakes of the chosen trial" not in page.text


def test_the_files_of_a_report_lie_in_the_run_folder(make_run: Any) -> None:
    folder = make_run()
    write_report(read_record(folder))
    assert folder.exists("report.html")
    names = ["Accuracy_Test.png", "Accuracy_Train.png", "Loss_Test.png", "Loss_Train.png"]
    assert (folder / "plots").names() == names
    first = folder.read("report.html")
    write_report(read_record(folder))
    assert folder.read("report.html") == first, "the same run makes the same page"


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        ([0, 9], "Every finished trial gets 2 of them wrong. A vote"),
        ([], "None of them is wrong in every finished trial. A vote"),
    ],
)
def test_the_images_that_every_trial_gets_wrong_are_counted_in_a_sentence(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, missed: list[int], said: str
) -> None:
    monkeypatch.setattr("raytrain.report.figures.mistakes.missed_by_all", lambda _: np.array(missed, np.int64))
    text = " ".join(_Page(render(read_record(make_run(grid={"lr": [0.1, 0.2]})))).text.split())
    assert f"of 360 test images wrong. {said} of all finished trials" in text


def test_a_report_is_not_written_where_a_link_leads_out_of_the_run_folder(make_run: Any, tmp_path: Path) -> None:
    folder = make_run()
    (tmp_path / "home").mkdir()
    (tmp_path / "runs" / "made" / "plots").symlink_to(tmp_path / "home")
    with pytest.raises(RunFolderError, match=r"plots is a link to .*/home, out of the run folder"):
        write_report(read_record(folder))
    assert list((tmp_path / "home").iterdir()) == []
    assert not folder.exists("report.html")


def test_the_verdict_is_about_what_is_chosen_and_says_whether_its_lead_is_certain() -> None:
    entries = [Entry(name, "", "solid", coloured=True) for name in ("resnet34", "resnet18", "resnet50")]

    def said(*ranks: str, chosen: int | None = None, seeds: int = 1) -> str:
        results = [TrialResult("a", "finished", {}, parameters=1, epochs=1)] * seeds
        standings = [
            Standing(rank, results, test_accuracy=0.9 - 0.1 * place, of_network=seeds == 1)
            for place, rank in enumerate(ranks)
        ]
        return verdict(Ranking(standings, chosen=None if chosen is None else standings[chosen]), entries[: len(ranks)])

    assert said("1") == "resnet34 reaches 90.00 % on the test set."
    assert said("1", "2–3", "2–3") == (
        "resnet34 reaches 90.00 % on the test set and is ahead of all others; another seed may not be."
    )
    assert said("1", "2", seeds=2) == "resnet34 reaches 90.00 % on the test set and is ahead of all others."
    assert said("1–2", "1–2", "3") == (
        "resnet34 reaches 90.00 % on the test set. Another one may be as good: the test does not separate them."
    )
    assert "2 others may be as good: the test does not separate them." in said("1–3", "1–3", "1–3")
    assert said("1", "–", chosen=0) == "resnet34, chosen by validation, reaches 90.00 % on the test set."
    assert said("1–2", "1–2", "–").endswith(" Another one may be as good: the test does not separate them.")
    assert verdict(Ranking([]), []) == "No trial has finished."
    assert said("1", "2", chosen=0).startswith(
        "resnet34, chosen by validation, reaches 90.00 % on the test set and is ahead"
    )
    assert said("1–2", "2", "2–3") == (
        "resnet34 reaches 90.00 % on the test set. No other is better by the test, which does not separate all of them "
        "from it."
    )
    assert said("1–2", "1–2", chosen=1).startswith("resnet18, chosen by validation, reaches 80.00 %")
    assert said("1", "2", "3", chosen=1) == (
        "resnet18, chosen by validation, reaches 80.00 % on the test set. resnet34 is first with 90.00 %."
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.25, "4.2 s"), (61, "1 min 1 s"), (3600 * 5 + 125, "5 h 2 min"), (59.99, "1 min 0 s")]
)
def test_a_duration_has_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
