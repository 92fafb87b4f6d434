"""Tests of raytrain.runs.writing.tensorboard: the event files are read back record by record."""

import gc
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from raytrain.experiment.trial import Trial
from raytrain.runs.progress import TrialProgress
from raytrain.runs.results import TrialResult
from raytrain.runs.writing import hparams as hparams_module
from raytrain.runs.writing.tensorboard import TAGS, RunScalars, Scalars
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

ROW = {
    "epoch": 1,
    "train_loss": 2.25,
    "train_accuracy": 0.25,
    "val_loss": 2.5,
    "val_accuracy": 0.5,
    "test_loss": 2.75,
    "test_accuracy": 0.75,
    "lr": 0.125,
    "seconds": 1.0,
}


def events(folder):
    """Yield the events of a folder's files: each record is a length, its checksum, the event and its checksum."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder):
    return {(value.tag, event.step): value.simple_value for event in events(folder) for value in event.summary.value}


def purged_from(folder):
    return [event.step for event in events(folder) if event.WhichOneof("what") == "session_log"]


def write(folder, *rows, first_epoch=1):
    writer = Scalars(folder, first_epoch=first_epoch)
    for row in rows:
        writer.add(row)
    writer.close()


def test_every_tag_has_its_field_at_the_step_of_the_epoch(tmp_path):
    write(tmp_path, ROW, {**ROW, "epoch": 2, "lr": 0.5})
    found = scalars(tmp_path)
    assert found == {(tag, epoch): ROW[field] for tag, field in TAGS.items() for epoch in (1, 2)} | {("LR", 2): 0.5}


@pytest.mark.parametrize("missing", ["absent", None])
def test_what_a_row_does_not_have_is_left_out(tmp_path, missing):
    row = {**ROW, "test_loss": None, "test_accuracy": None}
    row = row if missing is None else {key: value for key, value in row.items() if value is not None}
    write(tmp_path, row)
    assert {tag for tag, _ in scalars(tmp_path)} == {
        "Loss/Training", "Accuracy/Train", "Loss/Val", "Accuracy/Val", "LR"
    }  # fmt: skip


def test_zero_is_a_value(tmp_path):
    write(tmp_path, {"epoch": 1, "train_accuracy": 0.0})
    assert scalars(tmp_path) == {("Accuracy/Train", 1): 0.0}


def test_files_opened_within_a_second_are_all_kept(tmp_path):
    for epoch in (1, 2, 3):
        write(tmp_path, {"epoch": epoch, "lr": 0.5}, first_epoch=epoch)
    assert scalars(tmp_path) == {("LR", epoch): 0.5 for epoch in (1, 2, 3)}


def test_a_resumed_trial_hides_what_was_logged_of_the_epochs_trained_again(tmp_path):
    write(tmp_path / "first", ROW)
    write(tmp_path / "resumed", {**ROW, "epoch": 3}, first_epoch=3)
    assert purged_from(tmp_path / "first") == [1]  # a trial that starts from nothing hides all
    assert purged_from(tmp_path / "resumed") == [3]


@pytest.fixture
def tried(tmp_path):
    """Return the folder of two trials with other learning rates, one finished and one failed."""
    recipes = [Recipe(lr=0.1, epochs=2), Recipe(lr=0.2, epochs=2)]
    trials = {f"trial{number}": TrialProgress(Trial.of(recipe)) for number, recipe in enumerate(recipes)}
    logs, run = RunScalars(), Folder.at(tmp_path)
    for number, recipe in enumerate(recipes):
        for epoch in (1, 2):
            logs.add(f"trial{number}", {**ROW, "epoch": epoch}, run=run, first_epoch=epoch)
        status = ("finished", "failed")[number]
        measured = {"val_accuracy": 0.5, "test_accuracy": 0.75} if status == "finished" else {}
        result = TrialResult(f"trial{number}", status, recipe.model_dump(mode="json"), 1000, 2, **measured)
        logs.end(result, trials, run=run)
    logs.close_all()
    return tmp_path / "trials"


def hparams(folder):
    """Return what the HParams plugin is told of a trial, by tag."""
    found = {value.tag: value.metadata for event in events(folder) for value in event.summary.value}
    return {
        tag.removeprefix("_hparams_/"): HParamsPluginData.FromString(metadata.plugin_data.content)
        for tag, metadata in found.items()
        if metadata.plugin_data.plugin_name == "hparams"
    }


def test_hparams_has_the_fields_that_vary_and_the_final_metrics_of_each_trial(tried):
    for number, lr in enumerate((0.1, 0.2)):
        told = hparams(tried / f"trial{number}" / "tb")
        started = told["session_start_info"].session_start_info.hparams
        assert {name: getattr(value, value.WhichOneof("kind")) for name, value in started.items()} == {
            "arch": "resnet18",
            "lr": pytest.approx(lr),
            "seed": 0,
        }
        described = told["experiment"].experiment
        assert [info.name for info in described.hparam_infos] == ["arch", "lr", "seed"]
        assert "Result/test_accuracy" in {info.name.tag for info in described.metric_infos}


def test_the_final_metrics_of_hparams_are_scalars_of_the_last_epoch(tried):
    found = scalars(tried / "trial0" / "tb")
    assert found["Result/test_accuracy", 2] == 0.75
    assert found["Result/val_accuracy", 2] == 0.5
    assert ("Result/test_accuracy", 2) not in scalars(tried / "trial1" / "tb")


def test_a_trial_that_failed_is_not_shown_as_a_success(tried):
    assert "session_end_info" in hparams(tried / "trial0" / "tb")
    assert "session_end_info" not in hparams(tried / "trial1" / "tb")


def test_tensorboard_itself_reads_what_was_written(tried):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    read = accumulator.EventAccumulator(str(tried / "trial0" / "tb")).Reload()
    assert {*TAGS} <= {*read.Tags()["scalars"]}
    assert [event.step for event in read.Scalars("Accuracy/Val")] == [1, 2]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= {*read.summary_metadata}


def test_of_thousands_of_trials_the_fields_that_vary_are_looked_for_once(tmp_path, monkeypatch):
    calls = []
    fields = hparams_module.shown_fields
    monkeypatch.setattr(hparams_module, "shown_fields", lambda recipes: calls.append(1) or fields(recipes))
    trials = {f"trial{number}": TrialProgress(Trial.of(Recipe(lr=0.1 + number))) for number in range(3)}
    logs = RunScalars()

    def end(name):
        recipe = trials[name].trial.recipe.model_dump(mode="json")
        logs.end(TrialResult(name, "finished", recipe, 1000, 2), trials, run=Folder.at(tmp_path))

    end("trial0")
    end("trial1")
    assert len(calls) == 1
    trials["trial3"] = TrialProgress(Trial.of(Recipe(momentum=0.5)))  # the next round of a search
    end("trial3")
    assert len(calls) == 2


def interrupt_at(line: int) -> Any:
    """Return a trace function that raises what Ctrl-C raises before the n-th line of Python from there on."""
    left = line

    def trace(_frame: object, event: str, _argument: object) -> Any:
        nonlocal left
        left -= event == "line"
        if left == 0:
            raise KeyboardInterrupt
        return trace

    return trace


def test_a_file_can_be_closed_after_an_interrupt_at_any_line_of_what_is_logged(tmp_path: Path) -> None:
    interrupted = 0
    for line in range(1, 2000):
        scalars = Scalars(tmp_path / str(line), first_epoch=1)
        before = sys.gettrace()
        sys.settrace(interrupt_at(line))
        try:
            scalars.add(ROW)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(before)
        closing = threading.Thread(target=scalars.close, daemon=True)
        closing.start()
        closing.join(5)
        assert not closing.is_alive(), f"interrupted at its line {line}, it is not closed in 5 s"
        if interrupted < line:
            break
    assert 50 < interrupted < 1999


def test_a_file_that_is_closed_leaves_no_thread_and_no_memory_behind(tmp_path: Path) -> None:
    write(tmp_path / "first", ROW)
    threads, objects = threading.active_count(), len(gc.get_objects())
    for number in range(20):
        write(tmp_path / str(number), ROW)
    assert threading.active_count() == threads
    gc.collect()
    assert len(gc.get_objects()) < objects + 20


def test_the_first_row_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    scalars_open = Scalars(tmp_path, first_epoch=1)
    scalars_open.add(ROW)
    assert scalars(tmp_path)["LR", 1] == 0.125
    scalars_open.close()
