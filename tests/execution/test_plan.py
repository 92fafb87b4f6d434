"""Tests of execution.plan, duration.speed and `raytrain plan`: what a run will take, with nothing run or written."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.cli.experiment.plan_text import plan_text
from raytrain.execution import local
from raytrain.execution.options import RunOptions
from raytrain.execution.plan import make_plan
from raytrain.execution.run import run
from raytrain.experiment.duration import speed
from raytrain.experiment.duration.order import Order
from raytrain.experiment.duration.simulation import Sweep, sweep
from raytrain.experiment.duration.speed import Speed, measure_speed, some_images
from raytrain.experiment.experiment import Experiment
from raytrain.experiment.sections import Asha, Confirm, Separate
from raytrain.experiment.trial import Trial
from raytrain.runs.trial_files import checkpoint_folder
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.recipe import Recipe

RECIPE = Recipe(dataset="digits", image_size=8, width=2, batch_size=64, epochs=4, val_size=97, precision="fp32")
STEPS = (1437 - 97) // 64
"""An epoch of the digits."""
STEP_S, EVALUATED_S = 1.0, 0.01
EPOCH_S = STEPS * STEP_S + 97 * EVALUATED_S
END_S = (1437 - 97 + 360) * EVALUATED_S


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recipe is trained at the same speed."""

    def measure(_backend: object, recipes: Sequence[Recipe], _splits: object) -> list[Speed]:
        return [Speed(STEP_S, EVALUATED_S, steps=3, device="cpu") for _ in recipes]

    monkeypatch.setattr(local.LocalBackend, "measure", measure)


def experiment(**fields: Any) -> Experiment:
    given: dict[str, Any] = {"name": "x", "recipe": RECIPE, "grid": {"lr": (0.1, 0.2, 0.3)}}
    return Experiment(**given | fields)


def planned(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "--local", *arguments])


@pytest.mark.usefixtures("known_speed")
def test_a_grid_takes_its_epochs_and_what_follows_them(tmp_path: Path) -> None:
    plan = make_plan(experiment(), out=str(tmp_path), local=True)
    assert plan
    assert (plan.trials, plan.done, plan.rungs, plan.sweeps) == (3, 0, [], 1)
    (kind,) = plan.kinds
    assert (kind.trials, kind.epochs) == (3, 4)
    assert kind.epoch_s == pytest.approx(EPOCH_S)
    assert kind.trial_s == pytest.approx(4 * EPOCH_S + END_S)
    whole = 3 * (4 * EPOCH_S + END_S)
    assert plan.seconds.median == plan.seconds_unstopped == pytest.approx(whole)
    # nothing is left to chance but the speed: within 12 % of the measured one in nine runs of ten
    assert plan.seconds.low == pytest.approx(whole / 1.12, rel=0.01)
    assert plan.seconds.high == pytest.approx(whole * 1.12, rel=0.01)
    assert plan.slot_hours.median == pytest.approx(whole / 3600)
    assert plan.as_dict()["cpu_hours"]["median"] == pytest.approx(whole / 3600 * plan.cpus)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("known_speed")
def test_early_stopping_saves_what_it_stops(tmp_path: Path) -> None:
    grid = {"lr": tuple(0.01 * n for n in range(1, 28))}
    plan = make_plan(experiment(grid=grid, asha=Asha(grace_period=1)), out=str(tmp_path), local=True)
    assert plan
    assert plan.rungs == [1, 3]
    assert plan.sweeps == 200
    # one by one, a third of 27 and more: the first to arrive goes on, as do those that are best so far
    assert 12 <= plan.stopped.low <= plan.stopped.median <= plan.stopped.high < 27
    saved = plan.seconds_unstopped - plan.seconds.median
    assert plan.stopped.median * EPOCH_S < saved < plan.stopped.median * (3 * EPOCH_S + END_S)


@pytest.mark.usefixtures("known_speed")
def test_promotion_lets_fewer_trials_reach_their_end_than_stopping(tmp_path: Path) -> None:
    grid = {"lr": tuple(0.01 * n for n in range(1, 28))}
    promoting = experiment(grid=grid, asha=Asha(mode="promote", grace_period=1))
    plan = make_plan(promoting, out=str(tmp_path), local=True)
    assert plan
    assert plan.mode == "promote"
    # of 27, a third goes on from epoch 1 and a ninth from epoch 3, and some more that were early
    assert 27 - 9 <= plan.stopped.low <= plan.stopped.high <= 27 - 3
    assert "of 27 stay paused" in plan_text(plan)


@pytest.mark.usefixtures("known_speed")
def test_what_follows_the_search_is_in_the_time(tmp_path: Path) -> None:
    alone = make_plan(experiment(), out=str(tmp_path), local=True)
    confirmed = make_plan(experiment(confirm=Confirm(top=2, seeds=(7, 8))), out=str(tmp_path), local=True)
    assert alone
    assert confirmed
    assert confirmed.seconds.median - alone.seconds.median == pytest.approx(4 * (4 * EPOCH_S + END_S))
    assert "confirm" not in plan_text(alone)
    said = "confirm trains at most 4 trials more; they count in time and work, not in trials and checkpoints"
    assert f"Later           {said}\n" in plan_text(confirmed)
    separated = make_plan(experiment(separate=Separate(points=0.5, max_seeds=9)), out=str(tmp_path), local=True)
    assert separated
    assert separated.seconds.median == alone.seconds.median
    assert "separate adds seeds, to at most 9 of each configuration; they do not count here" in plan_text(separated)
    stopping = {"grid": {"lr": tuple(0.01 * n for n in range(1, 10))}}
    without = make_plan(experiment(**stopping, asha=Asha(grace_period=1)), out=str(tmp_path), local=True)
    rescued = make_plan(experiment(**stopping, asha=Asha(grace_period=1, rescue=9)), out=str(tmp_path), local=True)
    assert without
    assert rescued
    assert without.seconds.median < rescued.seconds.median == pytest.approx(rescued.seconds_unstopped)


@pytest.mark.slow
def test_what_is_done_is_not_planned_again(tmp_path: Path) -> None:
    short = experiment(recipe=RECIPE.replace(epochs=1), grid={"lr": (0.1, 0.2)})
    assert run(short, RunOptions(out=str(tmp_path), local=True)).exit_code == 0
    assert make_plan(short, out=str(tmp_path), local=True) is None
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    more = make_plan(short.replace(seeds=(0, 1)), out=str(tmp_path), local=True)
    assert more
    assert (more.trials, more.done) == (2, 2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("known_speed")
def test_epochs_that_a_longer_run_takes_over_are_not_planned_again(tmp_path: Path) -> None:
    short = experiment(recipe=RECIPE.replace(epochs=10, schedule="constant"))
    RunJournal.open(Folder.at(tmp_path / "x"), short, short.trials()).begin({})
    for trial in short.trials():
        checkpoint_folder(Folder.at(tmp_path / "x"), trial.id).write("epoch-0010.json", b"")
    longer = make_plan(short.replace(recipe=short.recipe.replace(epochs=20)), out=str(tmp_path), local=True)
    assert longer
    assert [(kind.epochs, kind.trials) for kind in longer.kinds] == [(10, 3)]
    assert longer.seconds.median == pytest.approx(3 * (10 * EPOCH_S + END_S))


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 1e9},  # would diverge
        {"batch_size": 5000},
        {"batch_size": 2, "mix": "cutmix"},
        {"mix": "mixup", "mix_off_epochs": 4, "augment": ("crop", "flip", "jitter")},
        {"schedule": "onecycle", "optimizer": "adamw", "ema_decay": 0.9},
        {"val_size": 0, "track_test": True, "channels_last": False},
    ],
)
def test_any_recipe_is_measured(make_splits: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    monkeypatch.setattr(speed, "BUDGET_S", 0.01)
    splits = make_splits(size=16)
    cpu = torch.device("cpu")
    found = measure_speed(RECIPE.replace(**changes), some_images(splits), device=cpu, images=48, workers=2)
    assert found.step_s > 0
    assert found.evaluated_s > 0
    assert found.steps >= 1
    assert found.device == "cpu"


def test_a_batch_has_no_more_images_than_there_are(make_splits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[int] = set()
    train = speed.train

    def seen(recipe: Recipe, state: Any, data: Any) -> Any:
        sizes.add(recipe.batch_size)
        return train(recipe, state, data)

    monkeypatch.setattr(speed, "train", seen)
    monkeypatch.setattr(speed, "BUDGET_S", 0.01)
    measure_speed(
        RECIPE.replace(batch_size=5000),
        some_images(make_splits(size=16)),
        device=torch.device("cpu"),
        images=48,
        workers=2,
    )
    assert sizes == {24}


@pytest.mark.usefixtures("known_speed")
def test_one_after_another_means_as_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def swept(*given: Any, order: Order, **more: Any) -> Sweep:
        seen.append(order)
        return sweep(*given, order=order, **more)

    monkeypatch.setattr("raytrain.execution.forecast.sweeps.sweep", swept)
    assert make_plan(experiment(), out=str(tmp_path), local=True)
    assert set(seen) == {"listed"}


@pytest.mark.parametrize("mode", ["stop", "promote"])
def test_under_asha_a_plan_takes_the_trials_in_the_order_of_a_run_without_ray(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train_as_said: Callable[[Callable[[Recipe, int], float]], None],
    mode: Literal["stop", "promote"],
) -> None:
    train_as_said(lambda *_: 0.5)  # the plan finds all as fast, whatever their operations
    archs = experiment(grid={"arch": ("resnet34", "resnet9", "resnet18")}, asha=Asha(mode=mode, grace_period=1))
    seen: list[list[str]] = []

    def swept(trials: dict[Trial, int], *given: Any, **more: Any) -> Sweep:
        if more.get("rungs") and not seen:
            assert more["order"] == "listed"
            seen.append([trial.id for trial in trials])
        return sweep(trials, *given, **more)

    monkeypatch.setattr("raytrain.execution.forecast.sweeps.sweep", swept)
    plan = make_plan(archs, out=str(tmp_path), local=True)
    outcome = run(archs, RunOptions(out=str(tmp_path), local=True))
    started = [event["trial"] for event in outcome.record.events if event["event"] == "started"]
    assert seen == [list(dict.fromkeys(started))]
    assert plan
    assert plan.order == {"stop": "shortest"}.get(mode, plan.order)
    assert f"; the {plan.order} first\n" in plan_text(plan)


def test_on_ray_a_plan_takes_the_order_of_the_run_which_knows_operations_and_no_measured_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_backend: object, recipes: Sequence[Recipe], _splits: object) -> list[Speed]:
        epoch_s = {16: 4.0, 512: 1.0}
        steps = {size: (1437 - 97) // size for size in epoch_s}
        sizes = [recipe.batch_size for recipe in recipes]
        return [Speed(epoch_s[size] / steps[size], 1e-9, steps=3, device="cpu") for size in sizes]

    monkeypatch.setattr(local.LocalBackend, "measure", measure)
    monkeypatch.setattr(local.LocalBackend, "fixed_order", lambda *_: None)
    monkeypatch.setattr(local.LocalBackend, "slots", 4)
    grid = {"batch_size": (16, 512), "lr": (0.1, 0.2, 0.3, 0.4)}
    plan = make_plan(experiment(grid=grid, asha=Asha(grace_period=1)), out=str(tmp_path), local=True)
    assert plan
    assert len(plan.kinds) == 2
    assert plan.order == "shortest", "their operations are equal; by their times it would be the longest"


@pytest.mark.usefixtures("known_speed")
def test_what_is_trained_again_on_all_images_has_no_validation(tmp_path: Path) -> None:
    plan = make_plan(
        experiment(confirm=Confirm(top=2, seeds=(7, 8), train_on="all"), asha=Asha(grace_period=1)),
        out=str(tmp_path),
        local=True,
    )
    alone = make_plan(experiment(asha=Asha(grace_period=1)), out=str(tmp_path), local=True)
    assert plan
    assert alone
    epoch_s = 1437 // 64 * STEP_S
    again_s = 4 * (4 * epoch_s + (1437 + 360) * EVALUATED_S)
    assert plan.seconds_unstopped - alone.seconds_unstopped == pytest.approx(again_s)
    # early stopping saves something or nothing, and the speed is within 12 % of the measured one in nine runs of ten
    assert plan.seconds.median <= plan.seconds_unstopped + 1e-6
    assert plan.seconds.high <= 1.13 * plan.seconds_unstopped


def test_the_command_says_it_in_words_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "BUDGET_S", 0.01)
    words = ["quick", "--set", "width=2", "--out", str(tmp_path), "--set", "image_size=8"]
    ended = planned(*words, "--price", "0.5")
    assert ended.exit_code == 0, ended.output
    _, head, *lines = ended.stdout.splitlines()
    assert head.split()[:2] == ["arch", "parameters"]
    assert sum(line.startswith(" resnet") for line in lines) == 5
    names = ["Trials", "Early stopping", "Time", "Work", "Price", "Checkpoints", "Method"]
    assert [line[:16].strip() for line in lines[-7:]] == names
    found = json.loads(planned(*words, "--json").stdout)
    assert found["trials"] == 5
    assert found["rungs"] == [3, 9]
    assert found["seconds"]["low"] <= found["seconds"]["median"] <= found["seconds_unstopped"]
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Speed:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(local, "measure_speed", broken)
    ended = planned("quick", "--out", str(tmp_path))
    assert ended.exit_code == 3
    assert "a trial cannot be trained here (resnet18, width 8, batch_size 64): out of memory: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_bad_experiment_is_refused_as_by_a_run(tmp_path: Path) -> None:
    ended = planned("quick", "--set", "epochs=-1", "--out", str(tmp_path))
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "epochs" in ended.stderr


@pytest.mark.usefixtures("known_speed")
def test_the_end_of_a_run_says_what_was_planned_for_its_trials_and_what_they_took(tmp_path: Path) -> None:
    words = ["--set", "dataset=digits", "--set", "image_size=8", "--set", "width=2", "--set", "epochs=1"]
    words += ["--set", "val_size=97", "--local", "--out", str(tmp_path)]
    assert planned("--no-asha", *words).exit_code == 0
    other = CliRunner().invoke(app, ["train", *words, "--set", "seed=1", "--name", "other"])
    assert other.exit_code == 0
    assert "had said" not in other.stderr
    same = CliRunner().invoke(app, ["train", *words])
    assert same.exit_code == 0
    said = (
        r"^What this command trained took [\d.]+ s; raytrain plan had said about [\d.]+ s \([\d.]+ s to [\d.]+ s\)\.$"
    )
    assert re.search(said, same.stderr, flags=re.MULTILINE)


@pytest.mark.usefixtures("known_speed")
def test_a_run_that_goes_on_within_a_trial_is_compared_with_a_plan_of_the_rest_alone(tmp_path: Path) -> None:
    words = ["--set", "dataset=digits", "--set", "image_size=8", "--set", "width=2", "--set", "epochs=3"]
    words += ["--set", "val_size=97", "--local", "--out", str(tmp_path)]

    def continued(*before: str) -> str:
        """Plan a run, interrupt it within its only trial, and return what the same command says at its end."""
        name = ["--name", "-".join(["run", *before])]
        assert planned("--no-asha", *words, *name).exit_code == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunJournal, "reported", interrupted_after(RunJournal.reported))
            assert CliRunner().invoke(app, ["train", *words, *name]).exit_code == 130
        for _ in before:
            assert planned("--no-asha", *words, *name).exit_code == 0
        ended = CliRunner().invoke(app, ["train", *words, *name])
        assert ended.exit_code == 0
        return ended.stderr

    assert "had said" not in continued()
    assert "had said" in continued("planned-again")


def interrupted_after(reported: Callable[..., None]) -> Callable[..., None]:
    def report_and_interrupt(*arguments: Any) -> None:
        reported(*arguments)
        raise KeyboardInterrupt

    return report_and_interrupt
