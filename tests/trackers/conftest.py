"""Run folders as a run writes them, made up of curves that no network had to be trained for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.manifest import Manifest
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder

EPOCHS = 3
LABELS = np.arange(40) % 4


def val_accuracy(place: int, epoch: int) -> float:
    """Return the validation accuracy of the trial at a place after an epoch; the first trial is the best."""
    return (0.5 + epoch / 10) * (1 - place / 10)


def report(place: int, epoch: int, *, last: bool) -> Report:
    val, test = Evaluation(1.5, val_accuracy(place, epoch)), Evaluation(1.25, 0.75)
    metrics = EpochMetrics(epoch, 2 / epoch, 0.25 * epoch, val, None, lr=0.1 / epoch, seconds=2.0)
    if not last:
        return Report(metrics)
    predicted = np.where(np.arange(40) < 30, LABELS, (LABELS + 1) % 4)
    kept = Predictions(LABELS, predicted, np.full(40, 0.5, np.float32)).to_bytes()
    return Report(metrics, FinalMetrics(epoch, Evaluation(0.25, 0.9), val, test, "fp32", "cpu", kept))


def _train(run: RunJournal, place: int, epochs: range, *, factor: float = 1.0) -> None:
    """Write epochs of the trial at a place; after the last of the recipe it has finished."""
    trial = list(run.state.progress)[place]
    run.started(trial, where="here cpu")
    planned = run.state.progress[trial].trial.recipe.epochs
    for epoch in epochs:
        one = report(place, epoch, last=epoch == planned)
        metrics = replace(one.metrics, train_loss=factor * one.metrics.train_loss)
        run.reported(trial, replace(one, metrics=metrics))


@pytest.fixture
def train() -> Callable[..., None]:
    """Return a function that writes epochs of a trial."""
    return _train


@pytest.fixture
def open_run_folder(tmp_path: Path) -> Callable[..., RunJournal]:
    """Return a function that begins a run of two trials, or goes on with it."""

    def begin(name: str = "made", *, out: str = "runs", **keys: Any) -> RunJournal:
        keys = {"recipe": {"epochs": EPOCHS, "width": 4}, "grid": {"lr": [0.1, 0.2]}, **keys}
        experiment = Experiment.model_validate({"name": name, **keys})
        folder = Folder.at(tmp_path / out) / name
        run = RunJournal.open(folder, experiment, experiment.trials())
        manifest = Manifest.open(folder, data={"digits": "abc"}, inputs=[], seeds=[0], fresh=False)
        run.begin({trial.id: 1000 for trial in run.state.pending()})
        manifest.begin_session()
        return run

    return begin


@pytest.fixture
def failed(open_run_folder: Callable[..., RunJournal]) -> tuple[Folder, Callable[[], None]]:
    """Return the folder of a run whose only trial has failed, and a function that trains it again, to its end."""
    run = open_run_folder(grid={"lr": [0.1]})
    _train(run, 0, range(1, 2))
    run.ended(next(iter(run.state.progress)), {"status": "failed", "error": "no memory", "details": ""})
    run.close()

    def again() -> None:
        run = open_run_folder(grid={"lr": [0.1]})
        _train(run, 0, range(2, EPOCHS + 1))
        run.close()

    return run.folder, again


@pytest.fixture
def made(open_run_folder: Callable[..., RunJournal]) -> Folder:
    """Return the folder of a run of two trials that have finished."""
    run = open_run_folder()
    for place in range(2):
        _train(run, place, range(1, EPOCHS + 1))
    run.close()
    run.folder.write("report.html", b"<h1>made</h1>")
    run.folder.write("README.md", b"| rank |")
    return run.folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Return the folder of a run of two trials on the digits, with checkpoints and a report; not to be changed."""
    from raytrain.execution.options import RunOptions
    from raytrain.execution.run import run

    recipe = {"arch": "resnet9", "width": 4, "image_size": 8, "epochs": 1, "batch_size": 64}
    keys = {"name": "digits", "recipe": {"dataset": "digits", **recipe}, "grid": {"lr": [0.1, 0.2]}}
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.report.page.render", lambda *_, **__: "<h1>digits</h1>")
        patch.setattr("raytrain.report.page.pictures", lambda *_, **__: {})
        return run(Experiment.model_validate(keys), RunOptions(out=str(out), local=True)).folder


@pytest.fixture
def without_its_chosen_trial(made: Folder, open_run_folder: Callable[..., RunJournal]) -> Callable[[], Folder]:
    """Return a function that goes on with the run without the value of the grid that validation chooses."""

    def fewer() -> Folder:
        open_run_folder(grid={"lr": [0.2]}).close()
        return made

    return fewer


@pytest.fixture
def namesake(open_run_folder: Callable[..., RunJournal]) -> Folder:
    """Return the folder of another run of the name, whose first trial has finished with other results."""
    run = open_run_folder(out="others")
    _train(run, 0, range(1, EPOCHS + 1), factor=3.0)
    run.close()
    run.folder.write("report.html", b"<h1>namesake</h1>")
    return run.folder


@pytest.fixture
def trained_again(made: Folder, open_run_folder: Callable[..., RunJournal]) -> Callable[[], None]:
    """Return a function that deletes the run and begins it again, until its first trial has finished otherwise."""

    def again() -> None:
        made.remove()
        run = open_run_folder()
        _train(run, 0, range(1, EPOCHS + 1), factor=3.0)
        run.close()

    return again
