"""Tests of raytrain.ray_backend.trial: the loop of a trial is launched by Ray Train, and by nothing else."""

import os
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from raytrain.ray_backend.placement import Placement

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


def run_one(placement: Any) -> None:
    from raytrain.ray_backend import trial

    job = {"trial_id": "t", "recipe": {}, "checkpoints": "", "after_epoch": 0, "until_epoch": 1, "scratch": ""}
    trial.run_trial({"job": job}, splits={}, placement=placement)


@pytest.mark.parametrize(("trainer", "form"), [("local", "_fit_here"), ("workers", "_fit_nested")])
def test_one_worker_trains_in_the_form_that_the_placement_says(
    trainer: Any, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement

    called: list[str] = []
    for name in ("_fit_here", "_fit_nested"):
        monkeypatch.setattr(trial, name, lambda *_, name=name: called.append(name))
    run_one(Placement(workers=1, cpus=1, gpus=0.0, concurrent=1, trainer=trainer))
    assert called == [form]


def lost_processes() -> dict[str, Exception]:
    """Return what Ray raises about a nested trainer that it has lost."""
    from ray import exceptions

    return {
        "the actor died": exceptions.ActorDiedError(),
        "low memory": exceptions.OutOfMemoryError("low"),
        "the node died": exceptions.NodeDiedError("gone"),
        "the owner died": exceptions.OwnerDiedError("00", None, "here"),
        "an object is lost": exceptions.ObjectLostError("00", None, "here"),
    }


def reported_after(error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what a trial reports whose nested trainer raises an error."""
    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement

    def fit(*_: object) -> None:
        raise error

    reported: list[Any] = []
    monkeypatch.setattr(trial, "_fit_nested", fit)
    monkeypatch.setattr(trial.tune, "report", reported.append)
    run_one(Placement(workers=2, cpus=1, gpus=0.0, concurrent=1))
    return reported


@pytest.mark.parametrize(
    "kind", ["the actor died", "low memory", "the node died", "the owner died", "an object is lost"]
)
def test_a_trainer_that_ray_has_lost_is_left_to_tune_which_tries_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = lost_processes()[kind]
    with pytest.raises(type(error)):
        reported_after(error, monkeypatch)


def test_any_other_error_of_a_trainer_is_the_end_of_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    (reported,) = reported_after(ValueError("no such layer"), monkeypatch)
    assert reported["message"]["outcome"]["error"] == "ValueError: no such layer"


def test_of_several_workers_the_error_of_the_one_that_failed_is_that_of_the_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray.train import WorkerGroupError

    from raytrain.training.outcome import RankFailedError

    failed = RankFailedError(
        {"status": "failed", "error": "my_net.py:7: ValueError: too dark", "details": "as it was"}, True
    )
    (reported,) = reported_after(WorkerGroupError("[Rank 0 Error Snippet]:\nTraceback", {0: failed}), monkeypatch)
    assert reported["message"]["outcome"] == failed.outcome


def test_ray_train_has_a_limit_for_every_kind_of_failure() -> None:
    from raytrain.ray_backend import trial

    limits = trial._failures()
    assert limits.max_failures == trial.WORKER_RETRIES
    assert limits.controller_failure_limit == trial.CONTROLLER_RETRIES
    assert getattr(limits, "max_preemption_failures", trial.PREEMPTIONS) == trial.PREEMPTIONS  # not in Ray 2.57


@pytest.mark.parametrize(("fewest", "waits"), [(None, 3600.0), (1, None)])
def test_workers_wait_for_room_for_an_hour_and_elastic_ones_look_again_sooner(
    fewest: int | None, waits: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.ray_backend import trial

    given: list[Any] = []
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(trial, "TorchTrainer", lambda _loop, **options: given.append(options) or Mock())
    monkeypatch.setattr(trial, "TuneReportCallback", Mock)
    monkeypatch.setattr(trial.ray.train, "RunConfig", Mock)
    monkeypatch.setattr(trial.sweeps, "without_helpers", lambda trainer: trainer)
    job = trial.TrialJob("t", {}, "/tmp", 0, 1, "/tmp")
    trial._fit_nested(job, {}, Placement(workers=2, cpus=4, gpus=1.0, concurrent=2, fewest=fewest))
    said = os.environ.get("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S")
    assert (None if said is None else float(said)) == waits
    (options,) = given
    assert options["scaling_config"].resources_per_worker == {"CPU": 3.9, "GPU": 1.0}


def test_ray_train_reads_how_long_workers_wait_in_the_process_of_the_trial() -> None:
    from ray.train.v2._internal import constants

    from raytrain.ray_backend import trial

    assert trial.START_TIMEOUT == constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
    assert trial.START_TIMEOUT in constants.ENV_VARS_TO_PROPAGATE


@pytest.mark.parametrize(
    ("gpus", "trainer", "device"), [(1.0, "auto", "cuda:3"), (1.0, "local", "cuda:0"), (0.0, "auto", "cpu")]
)
def test_a_worker_trains_on_the_device_that_ray_train_has_given_it(
    gpus: float, trainer: Any, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement

    monkeypatch.setattr(trial, "get_device", lambda: torch.device("cuda:3"))
    monkeypatch.setattr(trial, "choose_device", lambda: torch.device("cuda:0"))
    placement = Placement(workers=1, cpus=1, gpus=gpus, concurrent=1, trainer=trainer)
    assert trial._device(placement) == torch.device(device)


@pytest.mark.parametrize(("answer", "soon"), [(None, False), ("node 7 until 12:00", True)])
def test_a_worker_group_is_asked_whether_one_of_its_nodes_is_taken_away(
    answer: str | None, soon: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.ray_backend import trial

    monkeypatch.setattr(trial.ray.train, "get_preemption_info", lambda: answer, raising=False)
    assert trial.node_ends_soon() is soon


def test_a_ray_that_does_not_know_of_such_nodes_takes_none_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from raytrain.ray_backend import trial

    monkeypatch.delattr(trial.ray.train, "get_preemption_info", raising=False)
    assert trial.node_ends_soon() is False


@pytest.mark.parametrize(("trainer", "saved"), [("workers", [1, 2, 3]), ("local", [1, 3])])
def test_a_trial_saves_before_its_node_goes_where_it_has_a_worker_group(
    trainer: Any, saved: list[int], make_data: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement
    from raytrain.training import checkpoint
    from raytrain.training import trial as training_trial
    from raytrain.training.evaluation import TrainingData
    from raytrain.training.recipe import Recipe

    written: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda _, content: written.append(content.epoch))
    monkeypatch.setattr(training_trial, "CHECKPOINT_SHARE", 0.0)
    monkeypatch.setattr(trial.ray.train, "get_preemption_info", lambda: "node 7 until 12:00", raising=False)
    monkeypatch.setattr(trial.ray, "get", lambda reference: reference)
    monkeypatch.setattr(trial, "report_progress", lambda *_, **__: None)
    data = make_data()
    monkeypatch.setattr(TrainingData, "on", lambda *_: data)
    recipe = Recipe(width=2, image_size=8, batch_size=16, lr=0.05, precision="fp32", epochs=3)
    job = trial.TrialJob("t", vars(recipe), f"{tmp_path}/trials/t/checkpoint", 0, 3, scratch="")
    placement = Placement(workers=1, cpus=torch.get_num_threads(), gpus=0.0, concurrent=1, trainer=trainer)
    trial.train_trial(job, {recipe.data_key: None}, placement, report=lambda _: None)
    assert written == saved


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_the_end_of_a_trial_of_one_worker_and_is_told_by_one_of_several(
    workers: int, make_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from raytrain.ray_backend import trial
    from raytrain.ray_backend.placement import Placement
    from raytrain.training.evaluation import TrainingData
    from raytrain.training.outcome import RankFailedError
    from raytrain.training.recipe import Recipe

    def failing(*_: object, **__: object) -> None:
        raise ValueError("too dark")

    monkeypatch.setattr("raytrain.ray_backend.trial.rank_and_world_size", lambda: (0, workers))
    monkeypatch.setattr("raytrain.ray_backend.trial.TrialRun", failing)
    monkeypatch.setattr(trial.ray, "get", lambda reference: reference)
    monkeypatch.setattr(trial, "report_progress", lambda *_, **__: None)
    data = make_data()
    monkeypatch.setattr(TrainingData, "on", lambda *_: data)
    recipe, reported = Recipe(), list[Any]()
    job = trial.TrialJob("t", vars(recipe), "/nowhere/trials/t/checkpoint", 0, 1, scratch="")
    placement = Placement(workers=workers, cpus=torch.get_num_threads(), gpus=0.0, concurrent=1)
    raised = pytest.raises(RankFailedError, match=r"^ValueError: too dark$") if workers > 1 else nullcontext()
    with raised:
        trial.train_trial(job, {recipe.data_key: None}, placement, report=reported.append)
    assert [one["message"]["outcome"]["error"] for one in reported] == ["ValueError: too dark"] * (workers == 1)
