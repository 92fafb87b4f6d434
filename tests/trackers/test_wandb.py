"""Tests of raytrain.trackers with W&B in offline mode: what is in its files is read past W&B."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from raytrain.analysis.record import read_record
from raytrain.cli.app import app
from raytrain.errors import TrackerError
from raytrain.storage.folder import Folder
from raytrain.trackers.content import common_tags
from raytrain.trackers.sending import send
from raytrain.trackers.tracker import open_tracker
from raytrain.trackers.wandb_settings import refuse_foreign_settings

wandb: Any = pytest.importorskip("wandb", reason="wandb is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),  # W&B starts a process of its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # W&B's own
]


RECIPE = ["dataset=digits", "epochs=1", "width=4", "arch=resnet9"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return tmp_path / "wandb"


def log(run: Folder, **options: Any) -> Any:
    return send(read_record(run), open_tracker("wandb", uri=None, project="made"), **options)


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file: a log of LevelDB, blocks of 32 KiB with pieces of records in them.

    A piece is a checksum (4 bytes), its length (2), its type (1: whole, 2: first, 3: middle, 4: last) and its content.
    """
    from wandb.proto import wandb_internal_pb2

    content, at, record = path.read_bytes(), 7, b""  # W&B's own header comes first
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<4xHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def test_a_trial_is_a_run_with_its_recipe_and_its_curves(made: Folder, folder: Path) -> None:
    assert log(made).new == 2
    wandb.teardown()  # its process has written everything when it has ended
    found = [one for path in sorted(folder.glob("offline-run-*/run-*.wandb")) for one in records(path)]
    runs = [one.run for one in found if one.WhichOneof("record_type") == "run"]
    assert {run.display_name for run in runs} == {one.trial for one in read_record(made).state.results()}
    assert {run.project for run in runs} == {"made"}
    config = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert config["lr"] == 0.1
    history = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
        for one in found
        if one.WhichOneof("record_type") == "history"
    ]
    assert [row["epoch/val_accuracy"] for row in history] == pytest.approx([0.6, 0.7, 0.8, 0.54, 0.63, 0.72])
    assert [row["_step"] for row in history] == [1, 2, 3, 1, 2, 3]


def test_the_chosen_trial_has_its_final_metrics_and_an_artifact_with_report_and_model(
    trained: Folder, folder: Path
) -> None:
    sent = log(trained, models=True)
    wandb.teardown()
    record = read_record(trained)
    assert record.chosen_trial
    model = f"digits-{record.chosen_trial.digest}"
    assert sent.files == ("report.html", "README.md", f"{model}.safetensors", f"{model}.safetensors.json")
    artifacts: dict[str, Any] = {}
    summaries: dict[str, dict[str, Any]] = {}
    name = ""
    for path in sorted(folder.glob("offline-run-*/run-*.wandb")):
        for one in records(path):
            kind = one.WhichOneof("record_type")
            if kind == "run":
                name = one.run.display_name
            elif kind == "artifact" or (kind == "request" and one.request.HasField("log_artifact")):
                artifacts[name] = one.artifact if kind == "artifact" else one.request.log_artifact.artifact
            for item in one.summary.update if kind == "summary" else ():
                summaries.setdefault(name, {})[item.key or item.nested_key[0]] = json.loads(item.value_json)
    assert list(artifacts) == [record.chosen_trial.trial]
    artifact = artifacts[record.chosen_trial.trial]
    assert (artifact.type, artifact.name) == ("raytrain", model)
    kept = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert sorted(kept) == sorted(sent.files)
    assert kept["report.html"].read_bytes() == trained.read("report.html")
    for result in record.state.results():
        said = summaries[result.trial]
        assert (said["test_accuracy"], said["val_loss"]) == (result.test_accuracy, result.val_loss)
        assert said["best_epoch"] == result.best_epoch


def test_a_run_that_is_sent_twice_is_there_once(made: Folder, folder: Path) -> None:
    log(made)
    before = sorted(folder.glob("offline-run-*"))
    assert len(before) == 2
    again = log(made)
    assert (again.new, again.updated, again.unchanged) == (0, 0, 2)
    assert sorted(folder.glob("offline-run-*")) == before


def test_a_trial_that_was_trained_again_is_another_run(
    made: Folder, folder: Path, trained_again: Callable[[], None]
) -> None:
    log(made)
    trained_again()
    assert log(made).new == 1
    assert log(made).unchanged == 1
    assert sorted(one["chosen"] for one in told(folder)) == [False, False, True]


def test_a_trial_that_a_retry_finished_has_no_error(failed: tuple[Folder, Callable[[], None]], folder: Path) -> None:
    run, retry = failed
    log(run)
    retry()
    assert log(run).updated == 1
    wandb.teardown()
    found = [one for path in sorted(folder.glob("offline-run-*/run-*.wandb")) for one in records(path)]
    summaries = [item for one in found if one.WhichOneof("record_type") == "summary" for item in one.summary.update]
    said = [json.loads(one.value_json) for one in summaries if (one.key or one.nested_key[0]) == "raytrain.error"]
    assert (said[0], said[-1]) == ("no memory", "")


def told(folder: Path) -> list[dict[str, Any]]:
    """Return what each run of W&B has been told."""
    return [json.loads(path.read_text()) for path in (folder / "raytrain").glob("*.json")]


def test_a_trial_that_the_run_does_not_list_any_more_is_not_chosen(
    made: Folder, folder: Path, without_its_chosen_trial: Callable[[], Folder]
) -> None:
    gone = log(made).chosen
    assert sorted(one["tags"] for one in told(folder)) == [["raytrain", "finished"], ["raytrain", "finished", "chosen"]]
    without_its_chosen_trial()
    now = log(made).chosen
    assert now != gone
    assert sorted(one["tags"] for one in told(folder)) == [["raytrain", "finished"], ["raytrain", "finished", "chosen"]]
    parts = len(list(folder.glob("offline-run-*")))
    assert log(made).unchanged == 1
    assert len(list(folder.glob("offline-run-*"))) == parts
    wandb.teardown()
    written = [one for path in sorted(folder.glob("offline-run-*/run-*.wandb")) for one in records(path)]
    said: dict[str, str] = {}
    name = ""
    for one in written:
        if one.WhichOneof("record_type") == "run":
            name = one.run.display_name
        for item in one.summary.update if one.WhichOneof("record_type") == "summary" else ():
            if (item.key or item.nested_key[0]) == "raytrain.chosen":
                said[name] = json.loads(item.value_json)
    assert said == {gone: "false", now: "true"}


def test_runs_of_one_name_leave_each_others_trials_alone(
    made: Folder, namesake: Folder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log(made)
    before = told(folder)
    assert log(namesake).new == 1
    assert [one for one in before if one not in told(folder)] == []
    assert f"has trials of another run called made, from {made} on" in caplog.text
    assert (log(made).unchanged, log(namesake).unchanged) == (2, 1)
    assert sorted(one["chosen"] for one in told(folder)) == [False, True, True]
    tracker = open_tracker("wandb", uri=None, project="made")
    tracker.disown(common_tags(namesake), read_record(namesake).state.results()[0].trial)
    assert sorted(one["chosen"] for one in told(folder)) == [False, False, True]
    assert log(made).unchanged == 2


def test_a_run_that_was_moved_is_found_again(made: Folder, folder: Path, tmp_path: Path) -> None:
    log(made)
    moved = shutil.move(str(made), tmp_path / "moved" / "made")
    assert log(Folder.at(moved)).updated == 2
    assert len(told(folder)) == 2


def test_what_w_and_b_would_drop_is_refused(made: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    result = CliRunner().invoke(app, ["log", str(made), "--to", "wandb"])
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr == "raytrain: WANDB_MODE=disabled: nothing would be sent; unset it or set offline\n"


def test_the_other_name_of_the_offline_mode_is_known(
    made: Folder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert (log(made).new, log(made).unchanged) == (2, 2)
    assert len(list(folder.glob("offline-run-*"))) == 2


def test_without_a_key_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TrackerError, match=r"there is no API key; log in with: wandb login"):
        open_tracker("wandb", uri=None, project="made")


@pytest.mark.parametrize(
    ("place", "line", "refused"),
    [
        ("wandb", "base_url = http://evil.invalid", True),
        (".wandb", "base_url = http://evil.invalid", True),
        ("wandb", "https_proxy = http://evil.invalid", True),
        ("wandb", "no setting", True),
        ("wandb", "base_url = http://ours.invalid", False),
        ("wandb", "base_url = https://api.wandb.ai", False),
        ("wandb", "entity = us", False),
    ],
)
def test_settings_of_the_working_folder_do_not_have_the_key_sent_elsewhere(
    place: str, line: str, refused: bool, tmp_path: Path
) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "settings").write_text(f"[default]\n{line}\n")
    if refused:
        with pytest.raises(TrackerError, match=rf"{place}/settings: .*delete"):
            refuse_foreign_settings(tmp_path, server="http://ours.invalid")
    else:
        refuse_foreign_settings(tmp_path, server="http://ours.invalid")


def test_the_tracker_looks_at_these_settings(folder: Path) -> None:
    folder.mkdir()
    (folder / "settings").write_text("[default]\nbase_url = http://evil.invalid\n")
    with pytest.raises(TrackerError, match=r"sets base_url, and W&B would obey it"):
        open_tracker("wandb", uri=None, project="made")


@pytest.mark.parametrize("line", ["api_key = hunter2", "https_proxy = http://u:hunter2@h", "hunter2", "[hunter2"])
def test_the_value_of_a_setting_is_not_printed(line: str, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    for head in ("[default]\n", ""):
        (tmp_path / "wandb" / "settings").write_text(f"{head}{line}\n")
        with pytest.raises(TrackerError, match="delete") as refused:
            refuse_foreign_settings(tmp_path, server=None)
        assert "hunter2" not in str(refused.value)


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment for a server that begins runs of W&B and then never answers."""
    script = Path(__file__).parent / "silent_wandb.py"
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = server.stdout.readline().strip()
        here = {"WANDB_DIR": str(tmp_path), "HOME": str(tmp_path), "WANDB_MODE": "online"}
        yield {**os.environ, **here, "WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0" * 40}
        server.kill()


def children_of_nobody() -> set[int]:
    """Return the processes of W&B."""
    return {one.pid for one in psutil.process_iter() if one.name() == "wandb-core" and one.status() != "zombie"}


@pytest.mark.heavy
@pytest.mark.parametrize("command", ["log", "train"])
def test_a_server_that_stops_to_answer_does_not_hold_the_command(
    command: str, made: Folder, silent: dict[str, str], tmp_path: Path
) -> None:
    log_it = ["log", str(made), "--to", "wandb"]
    train_it = ["train", "--local", *(f"--set={one}" for one in RECIPE), "--log=wandb", f"--out={tmp_path}"]
    before = children_of_nobody()
    ended = subprocess.run(
        [sys.executable, "-m", "raytrain", *(log_it if command == "log" else train_it)],
        env=silent,
        capture_output=True,  # its end is that of all processes that have these pipes
        text=True,
        timeout=200,
        check=False,
    )
    if command == "log":
        assert ended.returncode == 6
        assert "did not answer within 30 s" in ended.stderr
    else:
        assert ended.returncode == 0
        assert "wandb has 0 of 1 trial in full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert children_of_nobody() <= before
