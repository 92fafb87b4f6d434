"""Tests of raytrain.runs.writing.disk_space: the estimate against a checkpoint that was written, and the refusal."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import PreflightError
from raytrain.experiment.trial import Trial
from raytrain.runs.writing import disk_space
from raytrain.runs.writing.disk_space import bytes_to_write, checkpoint_bytes, refuse_full_disk
from raytrain.storage.disk import free_bytes
from raytrain.storage.folder import Folder
from raytrain.training import checkpoint
from raytrain.training.recipe import Recipe


def test_as_many_are_counted_as_are_kept() -> None:
    assert disk_space.KEPT == checkpoint.KEPT


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"optimizer": "sgd"}, {"optimizer": "adamw", "ema_decay": 0.9}, {"lookahead": "cubic"}, {"val_size": 0}]
)
def test_the_estimate_is_near_the_checkpoint_that_a_trial_writes(
    make_data: Any, tmp_path: Path, fields: dict[str, Any]
) -> None:
    import torch

    from raytrain.models.architectures import parameter_count
    from raytrain.training.trial import TrialRun

    recipe = Recipe(width=16, image_size=8, batch_size=16, precision="fp32", epochs=1, lr=0.01).replace(**fields)
    data = make_data(val=0) if recipe.val_size == 0 else make_data()
    run = TrialRun(recipe, data=data, device=torch.device("cpu"), checkpoints=Folder.at(tmp_path))
    list(run.reports())
    written = sum(file.size for file in Folder.at(tmp_path).files())
    estimate = checkpoint_bytes(recipe, parameters=parameter_count(run.state.model))
    assert estimate == pytest.approx(written, rel=0.15)


def test_a_run_that_would_fill_the_disk_is_refused_with_need_and_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 2**30, 2**30))
    folder = Folder.at(tmp_path / "not" / "there")
    fits = [(Recipe(val_size=0), 10**6)] * 10
    refuse_full_disk(folder, fits)
    with pytest.raises(PreflightError, match=r"need 4\.8 GiB, 1\.0 GiB are free"):
        # 200 trials of (weights + momentum) x 4 bytes x 3
        refuse_full_disk(folder, [(Recipe(val_size=0), 1_073_742)] * 200)
    half_there = [Recipe(val_size=0, seed=seed) for seed in range(200)]
    for recipe in half_there[:100]:  # a run that was interrupted: only the other half has still to be written
        file = tmp_path / "not" / "there" / "trials" / Trial.of(recipe).id / "checkpoint" / "state-0001.pt"
        file.parent.mkdir(parents=True)
        with file.open("wb") as stream:
            stream.truncate(24 * 10**6)
    refuse_full_disk(folder, [(recipe, 10**6 // 3) for recipe in half_there])
    with pytest.raises(PreflightError, match=r"need 2\.2 GiB"):
        refuse_full_disk(folder, [(recipe, 10**6) for recipe in half_there])
    # what a plan shows is what a run is refused by
    assert bytes_to_write(folder, [(recipe, 10**6 // 3) for recipe in half_there]) < 2**30
    assert bytes_to_write(folder, [(recipe, 10**6) for recipe in half_there]) == pytest.approx(2.2 * 2**30, rel=0.05)
    refuse_full_disk(Folder.at("s3://bucket/runs?region=us-east-1"), [(Recipe(), 10**12)])
    assert free_bytes(tmp_path / "a" / "b") == 2**30
