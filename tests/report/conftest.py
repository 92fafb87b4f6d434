"""Run folders as a run writes them, made up of curves that no network had to be trained for."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.errors import DivergenceError
from raytrain.experiment.asha import Decision
from raytrain.experiment.experiment import Experiment
from raytrain.metrics.epoch import EpochMetrics, Evaluation, FinalMetrics, Report
from raytrain.metrics.predictions import Predictions
from raytrain.provenance.manifest import Inputs, Manifest
from raytrain.runs.writing.journal import RunJournal
from raytrain.storage.folder import Folder
from raytrain.training.outcome import outcome_of

IMAGES = 360
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "<i>nine</i>")

MakeRun = Callable[..., Folder]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run: `ends` says how trials end, in their order; the others finish."""
    return partial(_make, tmp_path / "runs")


@pytest.fixture(scope="module")
def make_run_once(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Return the same for a run that the tests of a module share, and do not change."""
    return partial(_make, tmp_path_factory.mktemp("made"))


def _make(
    out: Path,
    name: str = "made",
    *,
    ends: Mapping[int, str] | None = None,
    track_test: bool = False,
    **keys: Any,
) -> Folder:
    recipe = {"epochs": 8, "width": 4, "track_test": track_test, **keys.pop("recipe", {})}
    experiment = Experiment.model_validate({"name": name, "recipe": recipe, **keys})
    trials = experiment.trials()
    folder = Folder.at(out) / name
    inputs = [
        Inputs(*key[:3], CLASSES, (0.3,) * 3, (0.2,) * 3, train=1200, val=150, test=IMAGES)
        for key in dict.fromkeys(trial.recipe.data_key for trial in trials)
    ]
    run = RunJournal.open(folder, experiment, trials)
    manifest = Manifest.open(folder, data={"digits": "abc"}, inputs=inputs, seeds=[0], fresh=False)
    run.begin({trial.id: 1000 * (1 + place) for place, trial in enumerate(trials)})
    manifest.begin_session()
    for place, trial in enumerate(trials):
        if (end := (ends or {}).get(place, "finished")) != "waiting":
            _train(run, trial.id, place, end=end, track_test=track_test)
    run.close()
    manifest.end_session()
    return folder


def _train(run: RunJournal, trial: str, place: int, *, end: str, track_test: bool) -> None:
    draw = np.random.default_rng(place)
    epochs = run.state.progress[trial].trial.recipe.epochs
    run.started(trial, where="here cpu")
    for epoch in range(1, epochs + 1):
        if end == "unfinished" and epoch == 3:
            return
        if end in {"diverged", "failed"} and epoch == 3:
            if end == "diverged":
                run.ended(trial, outcome_of(DivergenceError(epoch)))
            else:
                error = "RuntimeError: <b>no</b> memory & no luck"
                run.ended(trial, {"status": "failed", "error": error, "details": ""})
            return
        accuracy = 0.98 - 0.8 / epoch - 0.01 * (place % 18)
        val = Evaluation(1 - accuracy, accuracy)
        test = Evaluation(1.1 - accuracy, accuracy - 0.01) if track_test else None
        metrics = EpochMetrics(epoch, 1.2 - accuracy, accuracy, val, test, lr=0.1 / epoch, seconds=1.5 + place)
        final = _final(epoch, accuracy, draw) if epoch == epochs else None
        run.reported(trial, Report(metrics, final))
        if end == "stopped" and epoch == 4:
            run.judged(trial, epoch=4, decision=Decision(4.0, accuracy, accuracy + 0.05, stop=True))
            return
        if end == "paused" and epoch == 4:
            run.judged(trial, epoch=4, decision=Decision(4.0, accuracy, None, stop=False, pause=True))
            return
        if epoch == 4 and run.state.experiment.asha:
            run.judged(trial, epoch=4, decision=Decision(4.0, accuracy, None, stop=False))


def _final(epoch: int, accuracy: float, draw: np.random.Generator) -> FinalMetrics:
    labels = np.arange(IMAGES, dtype=np.int64) % len(CLASSES)
    wrong = draw.random(IMAGES) > accuracy
    wrong[0] = True  # the first image nobody gets right
    predicted = np.where(wrong, (labels + 1) % len(CLASSES), labels)
    predictions = Predictions(labels, predicted, draw.uniform(0.4, 1, IMAGES).astype(np.float32))
    test = Evaluation(0.2, predictions.accuracy)
    kept = predictions.to_bytes()
    return FinalMetrics(epoch, Evaluation(0.1, 0.99), Evaluation(0.15, accuracy), test, "bf16", "cpu", kept)
