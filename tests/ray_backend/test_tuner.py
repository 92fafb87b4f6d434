"""Trials through Ray Tune and TorchTrainer, end as they do without Ray, or as they must when something goes wrong."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import raytrain
from raytrain.data import LabelledImages, Splits
from raytrain.data.data_key import DataKey
from raytrain.data.mapped import MappedImages
from raytrain.execution.local import LocalBackend
from raytrain.execution.stages import stages
from raytrain.ray_backend import tuner
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.session import ray_session
from raytrain.ray_backend.watchdog import reported_progress
from raytrain.runs.results import TrialResult
from raytrain.runs.trial_files import trial_folder
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.json_lines import read_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SplitsByKey = dict[DataKey, Splits]
ONE_WORKER = Placement(workers=1, cpus=1, gpus=0.0, concurrent=2)


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_session(None):
        yield


def numbers(result: TrialResult) -> dict[str, object]:
    """Return all of a result but how long it took and how often it was started."""
    return {name: value for name, value in vars(result).items() if name not in {"seconds", "attempts"}}


def by_lr(run: RunJournal) -> dict[float, TrialResult]:
    return {result.recipe["lr"]: result for result in run.state.results()}


@pytest.mark.timeout(900)
def test_a_worker_group_of_one_gives_bit_for_bit_the_numbers_of_a_run_without_ray(
    open_run: Callable[..., RunJournal], splits: SplitsByKey, tmp_path: Path
) -> None:
    in_a_group = open_run()
    tuner.run_trials(
        in_a_group, splits, placement=Placement(workers=1, cpus=1, gpus=0.0, concurrent=1, trainer="workers")
    )
    (tmp_path / "tiny").rename(tmp_path / "in-a-group")
    here = open_run()
    LocalBackend().run_trials(here, splits)
    assert [numbers(result) for result in in_a_group.state.results()] == [
        numbers(result) for result in here.state.results()
    ]
    assert {result.status for result in here.state.results()} == {"finished"}


@pytest.fixture
def mapped(splits: SplitsByKey, tmp_path: Path) -> SplitsByKey:
    """Return the same images in files, as those are that do not fit into memory."""

    def in_file(part: LabelledImages, name: str) -> LabelledImages:
        file = tmp_path / f"{name}.npy"
        np.save(file, part.images[:])
        return LabelledImages(MappedImages.of(file), part.labels)

    return {
        key: dataclasses.replace(one, **{name: in_file(getattr(one, name), name) for name in ("train", "val", "test")})
        for key, one in splits.items()
    }


def test_trials_and_seeds_that_separate_give_bit_for_bit_the_numbers_of_a_run_without_ray(
    open_run: Callable[..., RunJournal], splits: SplitsByKey, mapped: SplitsByKey, tmp_path: Path
) -> None:
    """Through Ray the images come from files; that changes nothing either."""
    recipe = {"epochs": 3, "augment": ["crop", "flip", "jitter"]}
    values = {"recipe": recipe, "grid": {"lr": [0.05, 1e-9]}, "separate": {"points": 0.1, "max_seeds": 2}}

    def added(run: Callable[[RunJournal], None]) -> list[dict[str, object]]:
        journal = open_run(**values)
        run(journal)
        while stages.advance(journal):
            run(journal)
        return [numbers(result) for result in journal.state.results()]

    through_ray = added(lambda journal: tuner.run_trials(journal, mapped, placement=ONE_WORKER))
    (tmp_path / "tiny").rename(tmp_path / "through-ray")
    assert through_ray == added(lambda journal: LocalBackend().run_trials(journal, splits))
    assert [result["status"] for result in through_ray] == ["finished"] * 4


def test_two_workers_of_a_trial_read_the_same_files_and_the_users_code(
    open_run: Callable[..., RunJournal], mapped: SplitsByKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loss = (
        "import torch.nn.functional as F\n\ndef loss(logits, targets):\n    return F.cross_entropy(logits, targets)\n"
    )
    Path("mine.py").write_text(loss)
    run = open_run(recipe={"lr": 0.05, "loss": raytrain.code("mine.py:loss")})
    Path("mine.py").unlink()
    tuner.run_trials(run, mapped, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
    (result,) = run.state.results()
    assert (result.status, result.error) == ("finished", None)
    assert result.test_accuracy == 1.0


@pytest.mark.long
def test_an_error_in_code_of_the_users_names_file_and_line_where_several_workers_train(
    open_run: Callable[..., RunJournal], splits: SplitsByKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`long`: Train starts the workers three times."""
    monkeypatch.chdir(tmp_path)
    lines = ["class TooDark(Exception):", "    pass", "", "def loss(logits, targets):", "    raise TooDark('here')"]
    Path("mine.py").write_text("\n".join(lines))
    run = open_run(recipe={"loss": raytrain.code("mine.py:loss")})
    tuner.run_trials(run, splits, placement=Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
    (result,) = run.state.results()
    assert (result.status, result.error) == ("failed", "mine.py:5: TooDark: here")
    assert "raise TooDark('here')" in trial_folder(run.folder, result.trial).read("error.txt").decode()


def test_the_longest_trial_is_the_next_and_a_bad_one_is_a_row_beside_the_others(
    open_run: Callable[..., RunJournal], splits: SplitsByKey
) -> None:
    # twenty epochs of the smallest network are more than two of any other
    bad = [{"lr": 1e9}, {"lr": 0.03, "dataset": "cifar10"}]
    run = open_run(
        recipe={"lr": 0.05}, grid={"arch": ["resnet18", "resnet50", "resnet34"]}, include=[{"epochs": 20}, *bad]
    )
    (good,) = splits.values()
    labels_of_no_class = LabelledImages(good.train.images, good.train.labels + len(good.classes))
    broken = {**splits, DataKey("cifar10", 16, 0.1): dataclasses.replace(good, train=labels_of_no_class)}
    tuner.run_trials(run, broken, placement=Placement(workers=1, cpus=1, gpus=0.0, concurrent=1))
    started = [event["trial"] for event in run.state.events if event["event"] == "started"]
    recipes = [run.state.progress[trial].trial.recipe for trial in started]
    assert (recipes[0].arch, recipes[0].epochs) == ("resnet18", 20)
    assert [recipe.arch for recipe in recipes[1:]] == ["resnet50", "resnet34", *["resnet18"] * 3]
    results = run.state.results()
    diverged, failed = (next(one for one in results if one.recipe["lr"] == lr) for lr in (1e9, 0.03))
    assert (diverged.status, diverged.error) == ("diverged", "the training loss was not finite in epoch 1")
    assert failed.status == "failed"
    assert "Traceback" in trial_folder(run.folder, failed.trial).read("error.txt").decode()
    assert failed.error
    assert "Traceback" not in failed.error
    assert {one.status for one in results if one.recipe["lr"] == 0.05} == {"finished"}


def test_asha_stops_what_does_not_learn_and_its_process_takes_the_next_trial(
    open_run: Callable[..., RunJournal], splits: SplitsByKey
) -> None:
    run = open_run(
        recipe={"epochs": 8}, grid={"lr": [0.05, 1e-9, 2e-9, 3e-9]}, asha={"grace_period": 2, "reduction_factor": 3}
    )
    tuner.run_trials(run, splits, placement=Placement(workers=1, cpus=1, gpus=0.0, concurrent=1))
    results = by_lr(run)
    assert results[0.05].status == "finished"
    assert {results[lr].status for lr in (1e-9, 2e-9, 3e-9)} == {"stopped"}
    assert {results[lr].epochs for lr in (1e-9, 2e-9, 3e-9)} == {2}
    assert all(results[lr].test_accuracy is None for lr in (1e-9, 2e-9, 3e-9))
    rung = [event for event in run.state.events if event["event"] == "rung" and event["stop"]]
    assert all(event["accuracy"] < event["cut"] for event in rung)


def test_under_promotion_trials_pause_and_the_best_go_on_from_their_checkpoints(
    open_run: Callable[..., RunJournal], splits: SplitsByKey
) -> None:
    asha = {"mode": "promote", "grace_period": 2, "reduction_factor": 2}
    run = open_run(recipe={"epochs": 8}, grid={"lr": [1e-9, 2e-9, 0.05, 3e-9]}, asha=asha)
    tuner.run_trials(run, splits, placement=ONE_WORKER)
    results = by_lr(run)
    best = results[0.05]
    assert (best.status, best.epochs, best.attempts) == ("finished", 8, 1)
    assert {result.status for result in results.values()} == {"finished", "paused"}
    assert {result.epochs for result in results.values()} <= {2, 4, 8}
    started = [event for event in run.state.events if event["event"] == "started"]
    starts = [event["after_epoch"] for event in started if event["trial"] == best.trial]
    assert starts == [0, 2, 4]
    rows = list(read_lines(trial_folder(run.folder, best.trial), "metrics.jsonl"))
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert run.state.pending() == []


def test_a_trial_whose_process_is_killed_goes_on_from_its_checkpoint_to_the_same_numbers(
    open_run: Callable[..., RunJournal], splits: SplitsByKey, tmp_path: Path
) -> None:
    values = {"recipe": {"epochs": 40}, "grid": {"lr": [0.05]}}
    run = open_run(**values)
    killer = threading.Thread(target=kill_worker_after, args=(run, 3))
    killer.start()
    tuner.run_trials(run, splits, placement=ONE_WORKER)
    killer.join()
    (result,) = run.state.results()
    assert (result.status, result.epochs, result.attempts) == ("finished", 40, 2)
    rows = list(read_lines(trial_folder(run.folder, result.trial), "metrics.jsonl"))
    assert [row["epoch"] for row in rows] == list(range(1, 41))
    assert "worker lost" in [event["event"] for event in run.state.events]
    (tmp_path / "tiny").rename(tmp_path / "killed")
    undisturbed = open_run(**values)
    LocalBackend().run_trials(undisturbed, splits)
    assert numbers(result) == numbers(undisturbed.state.results()[0])


def kill_worker_after(run: RunJournal, epochs: int) -> None:
    """Kill -9 the process that trains, once it has reported so many epochs."""
    (progress,) = run.state.progress.values()
    deadline = time.monotonic() + 180
    while progress.epoch < epochs and time.monotonic() < deadline:
        time.sleep(0.02)
    while not (seen := reported_progress(progress.trial.id)) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(seen["pid"], signal.SIGKILL)
