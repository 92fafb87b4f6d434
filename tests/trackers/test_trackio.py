"""Tests of raytrain.trackers with Trackio: its SQLite file is read past Trackio."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from raytrain.analysis.record import read_record
from raytrain.errors import ExperimentError, TrackerError
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.trackers.sending import send
from raytrain.trackers.tracker import open_tracker

pytestmark = [
    pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # Trackio's own
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that Trackio has in this process: it reads its name when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        return Path(import_module("trackio.utils").TRACKIO_DIR)


@pytest.fixture
def project(request: pytest.FixtureRequest, folder: Path) -> str:  # noqa: ARG001 (set before Trackio is imported)
    """Return the name of a project that is the test's own."""
    return request.node.name.replace("_", "-")[:40]


def log(run: Folder, project: str) -> Any:
    return send(read_record(run), open_tracker("trackio", uri=None, project=project))


def rows(folder: Path, project: str, query: str) -> list[Any]:
    with sqlite3.connect(folder / f"{project}.db") as database:
        return database.execute(query).fetchall()


def curve(folder: Path, project: str, trial: str, metric: str) -> dict[int, float]:
    """Return the values of a metric by step."""
    found = rows(folder, project, f"SELECT step, metrics FROM metrics WHERE run_name = '{trial}'")
    return {step: json.loads(values)[metric] for step, values in found if metric in json.loads(values)}


def test_a_trial_is_a_run_with_its_recipe_its_curves_and_its_final_metrics(
    made: Folder, folder: Path, project: str
) -> None:
    sent = log(made, project)
    assert (sent.new, sent.files) == (2, ("report.html", "README.md"))
    first, second = (result.trial for result in read_record(made).state.results())
    assert curve(folder, project, first, "epoch/val_accuracy") == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert curve(folder, project, second, "epoch/val_accuracy") == pytest.approx({1: 0.54, 2: 0.63, 3: 0.72})
    assert curve(folder, project, first, "test_accuracy") == {3: 0.75}
    configs = {
        name: json.loads(config) for name, config in rows(folder, project, "SELECT run_name, config FROM configs")
    }
    assert {name: config["lr"] for name, config in configs.items()} == {first: 0.1, second: 0.2}
    assert (configs[first]["raytrain.chosen"], configs[second]["raytrain.chosen"]) == ("true", "false")
    assert {config["_Group"] for config in configs.values()} == {"made"}
    (of_run,) = {config["raytrain.run_id"] for config in configs.values()}
    assert (folder / "media" / project / "files" / f"made-{of_run[:8]}-report.html").read_bytes() == b"<h1>made</h1>"


def test_a_run_that_is_sent_twice_is_there_once(made: Folder, folder: Path, project: str) -> None:
    log(made, project)
    before = rows(folder, project, "SELECT * FROM metrics")
    again = log(made, project)
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert rows(folder, project, "SELECT * FROM metrics") == before


def test_what_a_trial_trained_since_is_added(
    folder: Path, project: str, open_run_folder: Callable[..., RunJournal], train: Callable[..., None]
) -> None:
    run = open_run_folder()
    train(run, 0, range(1, 3))
    trial = next(iter(run.state.progress))
    log(run.folder, project)
    assert list(curve(folder, project, trial, "epoch/lr")) == [1, 2]
    train(run, 0, range(3, 4))
    run.close()
    assert log(run.folder, project).updated == 1
    assert list(curve(folder, project, trial, "epoch/lr")) == [1, 2, 3]
    assert rows(folder, project, "SELECT count(DISTINCT run_id) FROM metrics") == [(1,)]


def test_a_trial_that_was_trained_again_is_another_run(
    made: Folder, folder: Path, project: str, open_run_folder: Callable[..., RunJournal], train: Callable[..., None]
) -> None:
    log(made, project)
    made.remove()
    run = open_run_folder()
    train(run, 0, range(1, 4), factor=3.0)
    run.close()
    assert log(run.folder, project).new == 1
    assert log(run.folder, project).unchanged == 1
    assert rows(folder, project, "SELECT count(DISTINCT run_id) FROM metrics") == [(3,)]
    assert sorted(one for _, one in chosen(folder, project)) == ["false", "false", "true"]


def chosen(folder: Path, project: str) -> list[tuple[str, str]]:
    """Return the trial of each run of Trackio, and whether it is said to be chosen."""
    found = rows(folder, project, "SELECT run_name, config FROM configs")
    return [(name, json.loads(config)["raytrain.chosen"]) for name, config in found]


def test_a_trial_that_the_run_does_not_list_any_more_is_not_chosen(
    made: Folder, folder: Path, project: str, without_its_chosen_trial: Callable[[], Folder]
) -> None:
    gone = log(made, project).chosen
    before = curve(folder, project, gone, "epoch/val_accuracy")
    without_its_chosen_trial()
    now = log(made, project).chosen
    assert dict(chosen(folder, project)) == {gone: "false", now: "true"}
    assert curve(folder, project, gone, "test_accuracy")
    count = rows(folder, project, "SELECT count(*) FROM metrics")
    assert log(made, project).unchanged == 1
    assert rows(folder, project, "SELECT count(*) FROM metrics") == count
    assert len(before) == 3


def test_runs_of_one_name_leave_each_others_trials_alone(
    made: Folder,
    namesake: Folder,
    folder: Path,
    project: str,
    open_run_folder: Callable[..., RunJournal],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log(made, project)
    before = rows(folder, project, "SELECT * FROM configs")
    assert log(namesake, project).new == 1
    assert [one for one in before if one not in rows(folder, project, "SELECT * FROM configs")] == []
    assert f"has trials of another run called made, from {made} on" in caplog.text
    assert (log(made, project).unchanged, log(namesake, project).unchanged) == (2, 1)
    reports = (folder / "media" / project / "files").glob("made-*-report.html")
    assert {report.read_bytes() for report in reports} == {b"<h1>made</h1>", b"<h1>namesake</h1>"}
    open_run_folder(out="others", grid={"lr": [0.2]}).close()
    log(namesake, project)
    assert sorted(one for _, one in chosen(folder, project)) == ["false", "false", "true"]
    assert log(made, project).unchanged == 2


def test_a_run_that_was_moved_is_found_again(made: Folder, folder: Path, project: str, tmp_path: Path) -> None:
    log(made, project)
    moved = shutil.move(str(made), tmp_path / "moved" / "made")
    assert log(Folder.at(moved), project).updated == 2
    assert len(chosen(folder, project)) == 2


def test_an_address_is_refused_with_what_to_do(project: str) -> None:
    with pytest.raises(ExperimentError, match=r"'http://127.0.0.1:1' is an address; .* trackio sync"):
        open_tracker("trackio", uri="http://127.0.0.1:1", project=project)


def test_another_folder_than_that_in_use_is_refused(made: Folder, project: str, tmp_path: Path) -> None:
    log(made, project)
    with pytest.raises(TrackerError, match="is in use with the folder"):
        open_tracker("trackio", uri=str(tmp_path / "other"), project=project)
