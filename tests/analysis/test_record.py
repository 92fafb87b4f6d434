"""Tests of raytrain.analysis.record: whatever shows a run shows the same trials, ranks and numbers."""

import io
import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pyarrow import parquet
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.analysis.wording import footer
from raytrain.cli.app import app
from raytrain.execution.options import RunOptions
from raytrain.execution.run import run
from raytrain.experiment.experiment import Experiment
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

WriteRun = Callable[..., None]

pytestmark = pytest.mark.slow

Rows = list[tuple[str, str]]
"""Rank and digest of the trial, row by row."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def recipe(tiny_images: str) -> dict[str, Any]:
    shape = {"dataset": tiny_images, "image_size": 8, "width": 2, "batch_size": 16, "val_size": 8}
    return {**shape, "schedule": "constant", "precision": "fp32", "epochs": 2}


def tune(place: Path, *options: str, **keys: Any) -> Result:
    (place / "g.yaml").write_text(json.dumps(keys))  # JSON is YAML
    return CliRunner().invoke(app, ["tune", "--grid", "g.yaml", "--local", *options])


class _Ranking(HTMLParser):
    """The rows of the first table in the section "ranking" of a report."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text[text.index('<section id="ranking"') :].partition("</table>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()


def of_columns(rows: list[list[str]]) -> Rows:
    head, *body = rows
    trial = head.index("trial")
    return [(row[0], row[trial]) for row in body]


def in_readme(folder: Path) -> Rows:
    table = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("|")]
    return of_columns([[cell.strip() for cell in line.strip("|").split("|")] for line in table if "--" not in line])


def in_parquet(folder: Path) -> Rows:
    rows = parquet.read_table(io.BytesIO((folder / "trials.parquet").read_bytes())).to_pylist()
    return [(row["rank"], row["trial"].rpartition("-")[2]) for row in rows]


def in_report(folder: Path) -> Rows:
    return of_columns(_Ranking((folder / "report.html").read_text()).rows)


def printed_as_json(name: str) -> Rows:
    rows = json.loads(CliRunner().invoke(app, ["results", name, "--json"]).stdout)["trials"]
    return [(row["rank"], row["trial"].rpartition("-")[2]) for row in rows]


def test_after_more_epochs_every_table_has_the_same_trials_ranks_and_count(place: Path, recipe: dict[str, Any]) -> None:
    keys = {"recipe": recipe, "grid": {"lr": [0.01, 0.02, 0.05]}}
    assert tune(place, **keys).exit_code == 0
    before = in_readme(place / "runs" / "g")
    assert tune(place, "--set", "epochs=3", **keys).exit_code == 0
    folder = place / "runs" / "g"
    rows = in_readme(folder)
    assert len(rows) == 3
    assert not set(rows) & set(before), "a trial of 2 epochs is no trial of this run any more"
    assert in_parquet(folder) == rows
    assert printed_as_json("g") == rows
    assert in_report(folder) == rows
    planned = {result.recipe["epochs"] for result in read_record(Folder.at(folder)).results}
    assert planned == {3}


def test_a_run_that_its_time_limit_ended_is_printed_as_it_is_read_back(
    place: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    include = [{"epochs": 1}, {"epochs": 100_000, "lr": 0.02}, {"epochs": 100_000, "lr": 0.03}]
    note = RunJournal.note

    def out_of_time_after_the_first(journal: RunJournal, event: Any) -> None:
        note(journal, event)
        if event["event"] == "finished":
            signal.setitimer(signal.ITIMER_REAL, 0.5)  # the timer of the limit, in the midst of the second trial

    monkeypatch.setattr(RunJournal, "note", out_of_time_after_the_first)
    ended = tune(place, "--time-limit", "1h", recipe=recipe, include=include)
    assert ended.exit_code == 8, ended.output
    read = CliRunner().invoke(app, ["results", "g"])
    assert read.exit_code == 0
    assert ended.stdout == read.stdout
    assert ended.stdout.count("unfinished") == 2
    explained = CliRunner().invoke(app, ["results", "g", "--explain"])
    readme = (place / "runs" / "g" / "README.md").read_text()
    for said in (ended.output, read.output, explained.output, readme):
        assert "There is no validation split" not in said


def test_the_end_of_a_run_reads_each_file_of_its_trials_once(
    place: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    read, close = Folder.read, RunJournal.close

    def counted(folder: Folder, name: str, **limit: int) -> bytes:
        reads[f"{folder}/{name}"] += 1
        return read(folder, name, **limit)

    def closed(journal: RunJournal) -> None:
        reads.clear()  # the last trial has ended
        close(journal)

    monkeypatch.setattr(Folder, "read", counted)
    monkeypatch.setattr(RunJournal, "close", closed)
    experiment = Experiment.model_validate({"name": "x", "recipe": recipe, "grid": {"lr": [0.01, 0.02]}})
    outcome = run(experiment, RunOptions(out=str(place / "runs"), local=True))
    assert outcome.folder.exists("report.html")
    of_trials = {path: count for path, count in reads.items() if re.search(r"predictions\.npz|metrics\.jsonl", path)}
    folders = [f"{outcome.folder}/trials/{result.trial}" for result in outcome.results]
    assert of_trials == {f"{one}/{name}": 1 for one in folders for name in ("predictions.npz", "metrics.jsonl")}


def interrupted_at(monkeypatch: pytest.MonkeyPatch, trials_started: int) -> None:
    """Have the run interrupted when so many trials have started."""
    started, count = RunJournal.started, 0

    def interrupting(journal: RunJournal, trial_id: str, **where: Any) -> None:
        nonlocal count
        started(journal, trial_id, **where)
        count += 1
        if count == trials_started:
            raise KeyboardInterrupt(signal.SIGINT)

    monkeypatch.setattr(RunJournal, "started", interrupting)


@pytest.mark.usefixtures("empty_report")
@pytest.mark.parametrize("when", ["at once", "by a later command"])
def test_a_run_that_is_interrupted_while_stopped_trials_run_on_is_shown_as_it_is_read_back(
    place: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    recipe = recipe | {"epochs": 4}
    asha = {"grace_period": 1, "reduction_factor": 4}
    keys = {"name": "x", "recipe": recipe, "grid": {"lr": [0.02, 1e-9, 2e-9]}}
    options = RunOptions(out=str(place / "runs"), local=True)
    if when == "by a later command":
        run(Experiment.model_validate({**keys, "asha": asha}), options)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 4 if when == "at once" else 1)
        outcome = run(Experiment.model_validate({**keys, "asha": {**asha, "rescue": 2}}), options)
    assert outcome.interrupted == 130
    assert outcome.record.results == read_record(outcome.folder).results


@pytest.mark.usefixtures("empty_report")
def test_a_failed_trial_that_is_interrupted_when_it_is_tried_again_is_shown_as_it_is_read_back(
    place: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = Experiment.model_validate({"name": "x", "recipe": recipe})
    options = RunOptions(out=str(place / "runs"), local=True)
    reported = RunJournal.reported

    def failing(journal: RunJournal, trial_id: str, report: Any) -> None:
        reported(journal, trial_id, report)
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(RunJournal, "reported", failing)
        (failed,) = run(experiment, options).results
    assert (failed.status, failed.epochs, failed.val_accuracy is None) == ("failed", 1, False)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 1)
        outcome = run(experiment, options)
    assert outcome.interrupted == 130
    assert outcome.record.results == read_record(outcome.folder).results


def results_of(*words: str) -> Any:
    return CliRunner().invoke(app, ["results", *words])


def test_each_data_set_has_a_table_of_its_own(write_run: WriteRun) -> None:
    photos, numbers = {"dataset": "photos", "val_size": 20}, {"dataset": "numbers", "val_size": 20}
    write_run("one", [range(900)], recipe=photos, fingerprint="a")
    write_run("wide", [range(910)], recipe={**photos, "width": 3}, fingerprint="a")
    write_run("other", [range(800)], recipe=numbers, fingerprint="b")
    together = results_of("one", "other", "wide", "--sort", "-test_accuracy", "--columns", "run,test_accuracy")
    lines = [line.split() for line in together.stdout.splitlines() if line.strip(" ─")]
    assert [line[0] for line in lines] == ["photos", "run", "wide", "one", "numbers", "run", "other"]
    assert " ".join(lines[0]) == "photos at 32 px, fingerprint a: one, wide"
    assert together.stderr.count("Validation chooses") == 2
    trials = json.loads(results_of("one", "other", "wide", "--json").stdout)["trials"]
    assert [(row["data"].split()[-1], row["run"]) for row in trials] == [("a", "wide"), ("a", "one"), ("b", "other")]
    claim = results_of("one", "other", "--assert", "test_accuracy > 0.85")
    assert claim.exit_code == 9
    assert "numbers at 32 px, fingerprint b: other: test_accuracy > 0.85" in claim.stderr
    markdown = results_of("one", "other", "-f", "md").stdout
    assert markdown.count("\n| rank") == markdown.count("\n## ") + 1 == 2


def test_of_two_runs_of_one_recipe_the_line_below_the_table_says_which_is_chosen(write_run: WriteRun) -> None:
    for name, right in (("one", 900), ("two", 910)):
        write_run(name, [range(right)], recipe={"dataset": "photos", "val_size": 20})
    (chosen,) = [row for row in json.loads(results_of("one", "two", "--json").stdout)["trials"] if row["chosen"]]
    name = f"two/{chosen['trial'].rpartition('-')[2]}"
    assert f"Validation chooses {name}: 91.00 % on the test set." in results_of("one", "two").stderr
    assert f"Validation chooses {name.removeprefix('two/')}: 91.00 %" in results_of("two").stderr


def test_runs_between_which_the_images_have_changed_are_in_different_tables(write_run: WriteRun) -> None:
    recipe = {"dataset": "photos", "val_size": 20}
    write_run("old", [range(900)], recipe=recipe, fingerprint="a")
    write_run("same", [range(910)], recipe={**recipe, "lr": 0.2}, fingerprint="a")
    write_run("new", [range(800)], recipe={**recipe, "lr": 0.3}, fingerprint="b")
    shown = results_of("old", "same", "new", "-f", "md")
    assert shown.exit_code == 0
    headings = [line for line in shown.stdout.splitlines() if line.startswith("## ")]
    assert headings == ["## photos at 32 px, fingerprint a: old, same", "## photos at 32 px, fingerprint b: new"]
    assert "fingerprint" not in results_of("old", "same", "-f", "md").stdout


def rows_of(*runs: str) -> list[tuple[str, str]]:
    """Return the rank and the run of each row of runs that are ranked together."""
    rows = json.loads(results_of(*runs, "--json").stdout)["trials"]
    return sorted({(row["rank"], row["run"]) for row in rows})


def test_the_same_images_under_another_path_are_compared(write_run: WriteRun) -> None:
    recipe = {"dataset": "photos", "val_size": 20}
    write_run("here", [range(900)], recipe=recipe, fingerprint="a")
    write_run("there", [range(700)], recipe={**recipe, "dataset": "/home/me/photos"}, fingerprint="a")
    assert rows_of("here", "there") == [("1", "here"), ("2", "there")]
    assert "different sets of images" not in results_of("here", "there", "--explain").output


def test_other_images_under_the_same_path_are_not_compared(write_run: WriteRun) -> None:
    recipe, seeds = {"dataset": "photos", "val_size": 20}, [0, 1]
    write_run("before", [range(900), range(901)], recipe=recipe, seeds=seeds, fingerprint="a")
    replaced = {**recipe, "image_size": 64}
    write_run("after", [range(300), range(301)], recipe=replaced, seeds=seeds, fingerprint="b", images=600)
    assert rows_of("before", "after") == [("1", "after"), ("1", "before")]
    headings = [line for line in results_of("before", "after", "-f", "md").stdout.splitlines() if line[:3] == "## "]
    assert headings == ["## photos at 32 px, fingerprint a: before", "## photos at 64 px, fingerprint b: after"]


def test_images_that_the_trials_split_otherwise_have_a_table_of_their_own(write_run: WriteRun) -> None:
    recipe = {"dataset": "photos", "val_size": 20}
    write_run("usual", [range(900)], recipe=recipe, fingerprint="a")
    write_run("larger", [range(700)], recipe={**recipe, "test_size": 0.3}, fingerprint="b", images=1500)
    write_run("wide", [range(910)], recipe={**recipe, "width": 3}, fingerprint="a")
    headings = [
        line for line in results_of("usual", "larger", "wide", "-f", "md").stdout.splitlines() if line[:3] == "## "
    ]
    assert headings == [
        "## photos at 32 px, fingerprint a: usual, wide",
        "## photos at 32 px, test_size 0.3, fingerprint b: larger",
    ]


@pytest.mark.parametrize("field", [{"dataset": ["photos", "numbers"]}, {"test_size": [0.2, 0.3]}])
def test_a_run_of_an_earlier_version_on_several_test_sets_has_a_table_for_each(
    write_run: WriteRun, place: Path, field: dict[str, Any]
) -> None:
    grid = {"lr": [0.1, 0.2], **field}
    write_run("old", [range(900), range(700), range(800), range(600)], recipe={"dataset": "photos"}, grid=grid)
    manifest = json.loads((place / "old/manifest.json").read_text())
    data = {label: f"fingerprint of {label}" for label in manifest["data"]}
    (place / "old/manifest.json").write_text(json.dumps({**manifest, "data": data}))
    shown = results_of("old", "--json", "--columns", "data,test_accuracy,rank,trial")
    rows = json.loads(shown.stdout)["trials"]
    assert [(row["rank"], row["test_accuracy"]) for row in rows] == [("1", 0.9), ("2", 0.8), ("1", 0.7), ("2", 0.6)]
    assert len({row["data"] for row in rows}) == 2
    assert all("/" not in row["trial"] for row in rows)
    assert "2 sets of test images" in " ".join(footer(read_record(Folder.at(place / "old")).ranking))


@pytest.mark.usefixtures("empty_report")
def test_runs_that_select_by_different_metrics_are_not_ranked_together(place: Path, recipe: dict[str, Any]) -> None:
    for name, select in (("plain", "accuracy"), ("by-loss", "nll")):
        assert tune(place, name=name, recipe={**recipe, "epochs": 1, "select": select}).exit_code == 0
    refused = CliRunner().invoke(app, ["results", "plain", "by-loss"])
    assert refused.exit_code == 2
    assert "(plain by accuracy, by-loss by nll)" in refused.stderr
