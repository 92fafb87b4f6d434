"""Run folders written by hand, with accuracies as a test wants them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.experiment.experiment import Experiment
from raytrain.experiment.trial import Trial
from raytrain.experiment.yaml_source import dump_yaml
from raytrain.metrics.predictions import FILE, Predictions
from raytrain.runs.results import TrialResult
from raytrain.storage.json_lines import as_line

WriteRun = Callable[..., None]


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteRun:
    """Return a function that writes a run folder, as `_write_run` says; commands look for runs where it writes."""
    monkeypatch.setenv("RAYTRAIN_OUT", str(tmp_path))
    return partial(_write_run, tmp_path)


def _write_run(
    out: Path,
    name: str,
    right: Sequence[Sequence[int]],
    *,
    images: int = 1000,
    statuses: Sequence[str] = (),
    fingerprint: str = "f",
    predicted: bool = True,
    **keys: Any,
) -> None:
    """Write the folder of a run in which each trial got some images right.

    Args:
        out: Folder of runs.
        name: Name of the run.
        right: Rows of the test images that each trial gets right, in the order of the experiment's trials.
        images: Number of test images.
        statuses: Statuses of the trials; all "finished" by default.
        fingerprint: Fingerprint of the data set.
        predicted: Whether predictions are written.
        keys: Further keys of the experiment.
    """
    experiment = Experiment.model_validate({"name": name, **keys})
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(dump_yaml(experiment.model_dump(mode="json")))
    data = {trial.recipe.data_key.label: fingerprint for trial in experiment.trials()}
    (folder / "manifest.json").write_text(json.dumps({"data": data, "inputs": [], "seeds": [], "sessions": []}))
    trials = experiment.trials()
    for trial, rows, status in zip(trials, right, statuses or ["finished"] * len(trials), strict=True):
        _write_trial(folder, trial, rows, images=images, status=status, predicted=predicted)


def _write_trial(folder: Path, trial: Trial, rows: Sequence[int], *, images: int, status: str, predicted: bool) -> None:
    correct = np.isin(np.arange(images), rows)
    measured = {"val_accuracy": float(correct.mean()), "val_loss": 1.0, "test_loss": 1.0}
    finished = {**measured, "test_accuracy": float(correct.mean()), "best_epoch": 1} if status == "finished" else {}
    recipe = trial.recipe.model_dump(mode="json")
    result = TrialResult(trial.id, status, recipe, parameters=1, epochs=1, **finished)  # type: ignore[arg-type]
    with (folder / "trials.jsonl").open("ab") as file:
        file.write(as_line(asdict(result)))
    if finished and predicted:
        path = folder / "trials" / trial.id / FILE
        path.parent.mkdir(parents=True)
        labels = np.zeros(images, dtype=np.int64)
        path.write_bytes(Predictions(labels, (~correct).astype(np.int64), np.ones(images, np.float32)).to_bytes())
