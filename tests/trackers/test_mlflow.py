"""Tests of raytrain.trackers with MLflow: what is in its SQLite database is read with sqlite3, past MLflow."""

import json
import shutil
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.errors import TrackerError
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.trackers.sending import send
from raytrain.trackers.tracker import answer_within, open_tracker

pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # MLflow makes a database in 2 s of an idle core
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a SQLite file for all tests: MLflow takes seconds to make one. Each test has an experiment of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # MLflow's artifacts go into ./mlruns
        yield folder / "mlflow.db"


@pytest.fixture
def log(database: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that sends a run folder into the experiment of this test."""

    def logged(folder: Folder, **options: Any) -> Any:
        tracker = open_tracker("mlflow", uri=f"sqlite:///{database}", project=request.node.name)
        return send(read_record(folder), tracker, **options)

    return logged


@pytest.fixture
def rows(database: Path, request: pytest.FixtureRequest) -> Callable[[str], list[tuple[Any, ...]]]:
    """Return a function that reads columns of the runs of this test's experiment, joined with another table."""

    def read(query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(database)) as connection:
            select, _, table = query.partition(" from ")
            joined = f"join {table} on {table}.run_uuid = runs.run_uuid" if table else ""
            return connection.execute(
                f"select runs.name, {select} from runs join experiments using (experiment_id) {joined} "
                "where experiments.name = ? order by 1, 2, 3",
                [request.node.name],
            ).fetchall()

    return read


def tags_of(rows: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, key, value in rows("tags.key, tags.value from tags"):
        found.setdefault(name, {})[key] = value
    return found


def tags_by_value(rows: Callable[[str], list[tuple[Any, ...]]], name: str) -> Counter[str]:
    return Counter(value for _, key, value in rows("tags.key, tags.value from tags") if key == name)


def test_a_trial_is_a_run_with_its_recipe_its_curves_its_final_metrics_and_its_tags(
    made: Folder, log: Callable[..., Any], rows: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    sent = log(made)
    assert (sent.new, sent.updated, sent.unchanged) == (2, 0, 0)
    record = read_record(made)
    first, second = (one.trial for one in record.state.results())
    assert {name: status for name, status, _ in rows("runs.status, 1")} == {first: "FINISHED", second: "FINISHED"}
    parameters = {(name, key): value for name, key, value in rows("params.key, params.value from params")}
    assert (parameters[first, "lr"], parameters[second, "lr"]) == ("0.1", "0.2")
    assert {key for name, key in parameters if name == first} == set(record.state.results()[0].recipe)
    metrics = {(name, key, step): value for name, key, step, value in rows("key, step, value from metrics")}
    assert [metrics[first, "epoch/val_accuracy", epoch] for epoch in (1, 2, 3)] == pytest.approx([0.6, 0.7, 0.8])
    assert [metrics[second, "epoch/train_loss", epoch] for epoch in (1, 2, 3)] == pytest.approx([2, 1, 2 / 3])
    assert metrics[first, "test_accuracy", 3] == 0.75
    tags = tags_of(rows)
    assert tags[first]["raytrain.chosen"] == "true"
    assert tags[second]["raytrain.chosen"] == "false"
    assert tags[first]["raytrain.digest"] == first.rpartition("-")[2]
    assert tags[second]["raytrain.configuration"] == "arch=resnet18 lr=0.2"
    assert tags[first]["raytrain.run"] == "made"


def test_a_run_that_is_sent_twice_is_there_once(
    made: Folder, log: Callable[..., Any], rows: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    log(made)
    queries = ("runs.status, 1", "key, step, value from metrics", "params.key, 1 from params", "tags.key, 1 from tags")
    before = [rows(query) for query in queries]
    again = log(made)
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert [rows(query) for query in queries] == before


def test_the_chosen_trial_has_the_report_and_the_table(
    made: Folder, log: Callable[..., Any], rows: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    chosen = log(made).chosen
    places = {name: Path(uri.removeprefix("file://")) for name, uri, _ in rows("runs.artifact_uri, 1")}
    assert (places[chosen] / "report.html").read_bytes() == b"<h1>made</h1>"
    assert (places[chosen] / "README.md").read_bytes() == b"| rank |"
    assert not any((place / "report.html").exists() for name, place in places.items() if name != chosen)


def test_the_chosen_trial_has_its_final_metrics_the_report_and_a_model_that_predicts(
    trained: Folder, log: Callable[..., Any], rows: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    from raytrain.inference.model import load_model

    sent = log(trained, models=True)
    record = read_record(trained)
    assert record.chosen_trial
    assert sent.chosen == record.chosen_trial.trial
    model = f"digits-{record.chosen_trial.digest}"
    assert sent.files == ("report.html", "README.md", f"{model}.safetensors", f"{model}.safetensors.json")
    places = {name: Path(uri.removeprefix("file://")) for name, uri, _ in rows("runs.artifact_uri, 1")}
    place = places.pop(sent.chosen)
    assert sorted(one.name for one in place.iterdir()) == sorted(sent.files)
    assert (place / "report.html").read_bytes() == trained.read("report.html")
    assert not any(other.exists() and list(other.iterdir()) for other in places.values())
    assert load_model(place / f"{model}.safetensors").description.trial == sent.chosen
    metrics = {(name, key): value for name, key, value in rows("key, value from metrics")}
    for result in record.state.results():
        assert metrics[result.trial, "test_accuracy"] == result.test_accuracy
        assert metrics[result.trial, "val_loss"] == result.val_loss
        assert metrics[result.trial, "best_epoch"] == result.best_epoch
    assert log(trained, models=True).unchanged == 2


def test_a_trial_that_went_on_gets_the_further_epochs_in_the_same_run(
    open_run_folder: Callable[..., RunJournal],
    train: Callable[..., None],
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    run = open_run_folder()
    train(run, 0, range(1, 3))
    run.close()
    log(run.folder)
    assert [row[1] for row in rows("runs.status, 1")] == ["SCHEDULED"]
    run = open_run_folder()
    train(run, 0, range(3, 4))
    run.close()
    sent = log(run.folder)
    assert (sent.new, sent.updated) == (0, 1)
    steps = [step for _, key, step in rows("key, step from metrics") if key == "epoch/val_loss"]
    assert steps == [1, 2, 3]
    assert [row[1] for row in rows("runs.status, 1")] == ["FINISHED"]


def test_a_trial_that_a_retry_finished_has_no_error_and_the_commit_of_the_retry(
    failed: tuple[Folder, Callable[[], None]],
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, retry = failed
    log(folder)
    assert tags_by_value(rows, "raytrain.error") == {"no memory": 1}
    monkeypatch.setattr("raytrain.provenance.manifest.describe_code", lambda: {"git_commit": "retried"})
    retry()
    assert log(folder).updated == 1
    assert tags_by_value(rows, "raytrain.status") == {"finished": 1}
    assert tags_by_value(rows, "raytrain.error") == {}
    assert tags_by_value(rows, "mlflow.source.git.commit") == {"retried": 1}


def test_a_trial_that_was_trained_again_gets_another_run_and_the_old_one_says_so(
    made: Folder,
    trained_again: Callable[[], None],
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    log(made)
    trained_again()
    assert log(made).new == 1
    assert log(made).unchanged == 1
    assert tags_by_value(rows, "raytrain.superseded") == {"true": 1}
    assert tags_by_value(rows, "raytrain.chosen") == {"true": 1, "false": 2}
    assert len(rows("runs.status, 1")) == 3


def test_a_trial_that_the_run_does_not_list_any_more_is_not_chosen(
    made: Folder,
    without_its_chosen_trial: Callable[[], Folder],
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    gone = log(made).chosen
    without_its_chosen_trial()
    chosen = log(made).chosen
    tags = tags_of(rows)
    assert (tags[gone]["raytrain.chosen"], tags[gone]["raytrain.superseded"]) == ("false", "true")
    assert (tags[chosen]["raytrain.chosen"], "raytrain.superseded" in tags[chosen]) == ("true", False)
    assert log(made).unchanged == 1


def test_runs_of_one_name_leave_each_others_trials_alone(
    made: Folder,
    namesake: Folder,
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    log(made)
    before = rows("tags.key, tags.value from tags")
    assert log(namesake).new == 1
    assert [one for one in before if one not in rows("tags.key, tags.value from tags")] == []
    assert caplog.text.count(f"has trials of another run called made, from {made} on") == 1
    assert "raytrain log --experiment NAME" in caplog.text
    assert (log(made).unchanged, log(namesake).unchanged) == (2, 1)
    assert tags_by_value(rows, "raytrain.superseded") == {}
    assert tags_by_value(rows, "raytrain.chosen") == {"true": 2, "false": 1}


def test_a_run_does_not_disown_trials_of_another_one_of_its_name(
    made: Folder,
    namesake: Folder,
    open_run_folder: Callable[..., RunJournal],
    log: Callable[..., Any],
    rows: Callable[[str], list[tuple[Any, ...]]],
) -> None:
    log(made)
    log(namesake)
    open_run_folder(out="others", grid={"lr": [0.2]}).close()
    log(namesake)
    assert tags_by_value(rows, "raytrain.superseded") == {"true": 1}
    assert log(made).unchanged == 2


def test_a_run_that_was_moved_is_found_again(
    made: Folder, log: Callable[..., Any], rows: Callable[[str], list[tuple[Any, ...]]], tmp_path: Path
) -> None:
    log(made)
    moved = shutil.move(str(made), tmp_path / "moved" / "made")
    assert log(Folder.at(moved)).updated == 2
    assert tags_by_value(rows, "raytrain.folder") == {str(moved): 2}


def test_the_command_says_what_it_did(made: Folder, database: Path) -> None:
    command = ["log", str(made), "--to", "mlflow", "--tracking-uri", f"sqlite:///{database}", "--experiment", "named"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "trials: 2 new, 0 updated, 0 there already" in first.stdout
    said = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert {key: said[key] for key in ("schema_version", "new", "updated", "unchanged")} == {
        "schema_version": 1,
        "new": 0,
        "updated": 0,
        "unchanged": 2,
    }
    assert "experiment named" in said["where"]


def test_a_server_that_is_not_there_is_one_message_and_exit_code_6(made: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(app, ["log", str(made), "--to", "mlflow", "--tracking-uri", uri])
    assert result.exit_code == 6
    assert result.stderr.startswith(f"raytrain: MLflow at {uri}")
    assert "cannot be reached" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_an_address_with_a_password_is_refused_and_not_repeated(made: Folder) -> None:
    uri = "http://u:hunter2@127.0.0.1:9"
    result = CliRunner().invoke(app, ["log", str(made), "--to", "mlflow", "--tracking-uri", uri])
    assert result.exit_code != 0
    assert "MLFLOW_TRACKING_PASSWORD" in result.stderr
    assert "hunter2" not in result.output


@pytest.mark.parametrize("scheme", ["http", "gopher"])  # of which MLflow's own message repeats the second
def test_a_password_in_the_environment_is_masked_in_messages(
    made: Folder, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://u:hunter2@127.0.0.1:9")
    result = CliRunner().invoke(app, ["log", str(made), "--to", "mlflow"])
    assert result.exit_code == 6
    assert result.stderr.startswith(f"raytrain: MLflow at {scheme}://***@127.0.0.1:9, experiment made: ")
    assert "hunter2" not in result.output


@pytest.mark.parametrize("password", ["hunter2?x", "1/hunter2", "1#hunter2", "a hunter2"])
def test_a_password_in_the_environment_that_is_not_encoded_is_refused_and_not_repeated(
    made: Folder, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://u:{password}@127.0.0.1:9")
    result = CliRunner().invoke(app, ["log", str(made), "--to", "mlflow"])
    assert (result.exit_code, "write %2F, %3F, %23 or %20" in result.stderr) == (6, True)
    assert "hunter2" not in result.output


@pytest.mark.parametrize("uri", ["gopher://nowhere", "sqlite:////no/such/folder/mlflow.db"])
def test_a_wrong_address_is_one_message_and_exit_code_6(made: Folder, uri: str) -> None:
    result = CliRunner().invoke(app, ["log", str(made), "--to", "mlflow", "--tracking-uri", uri])
    assert result.exit_code == 6
    assert uri in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_accepts_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.trackers.mlflow_tracker.ANSWER_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrackerError, match=r"MLflow at .* did not answer within 0\.5 s"):
            open_tracker("mlflow", uri=f"http://127.0.0.1:{silent.getsockname()[1]}", project="made")


def test_an_answer_in_time_is_returned_and_an_error_is_the_one_that_was_raised() -> None:
    assert answer_within(100, lambda: 7, of="it") == 7
    with pytest.raises(ZeroDivisionError):
        answer_within(100, lambda: 1 // 0, of="it")
