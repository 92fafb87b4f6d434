"""Tests of raytrain.ray_backend.trial: the loop of a trial is launched by Ray Train, and by nothing else."""

from typing import Any

import pytest

pytestmark = pytest.mark.ray  # imports it


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order: "trained" where the loop would have trained."""
    from raytrain.ray_backend import trial

    happened: list[str] = []
    monkeypatch.setattr(trial, "train_trial", lambda *_, **__: happened.append("trained"))
    return happened


def fit_here() -> None:
    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement

    job = trial.TrialJob(trial_id="t", recipe={}, checkpoints="", after_epoch=0, until_epoch=1, scratch="")
    trial._fit_here(job, {}, Placement(workers=1, cpus=1, gpus=0.0, concurrent=1))


def test_a_trial_of_one_worker_is_trained_by_the_fit_of_a_local_torch_trainer(
    trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.ray_backend import trial

    class Watched(trial.TorchTrainer):  # type: ignore[misc, valid-type]
        def __init__(self, loop: Any, *, scaling_config: Any) -> None:
            trained.append(f"a trainer of {scaling_config.num_workers} workers")
            super().__init__(loop, scaling_config=scaling_config)

        def fit(self) -> Any:
            trained.append("fit")
            fitted = super().fit()
            trained.append("fitted")
            return fitted

    monkeypatch.setattr(trial, "TorchTrainer", Watched)
    fit_here()
    assert trained == ["a trainer of 0 workers", "fit", "trained", "fitted"]


def test_without_the_fit_nothing_is_trained(trained: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from raytrain.ray_backend import trial

    monkeypatch.setattr(trial.TorchTrainer, "fit", lambda _: None)
    fit_here()
    assert trained == []
