"""Tests of raytrain.ray_backend.backend: what its trials are given; Ray is not started."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.experiment.sections import Resources
from raytrain.ray_backend import backend, tuner
from raytrain.ray_backend.backend import RayBackend
from raytrain.ray_backend.placement import Placement


class GivenError(Exception):
    """Tune was given the images; what it does with them needs Ray."""


def test_every_stage_and_round_of_a_session_trains_on_one_copy_of_the_images(
    splits: dict[DataKey, Splits], open_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[object] = []
    given: list[dict[DataKey, object]] = []

    def put(images: object) -> str:
        stored.append(images)
        return f"copy {len(stored)}"

    def with_parameters(_train: object, *, splits: dict[DataKey, object], **_: object) -> None:
        given.append(dict(splits))
        raise GivenError

    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(tuner.tune, "with_parameters", with_parameters)
    placement = Placement(workers=1, cpus=1, gpus=0.0, concurrent=1)
    backend = RayBackend(placement, SimpleNamespace(), trial_timeout_s=60.0)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(GivenError):
            backend.run_trials(open_run(), splits)
    assert stored == list(splits.values())
    assert given == [dict.fromkeys(splits, "copy 1")] * 3


@pytest.mark.parametrize(
    ("resources", "trials", "gpu", "processes"),
    [
        ({}, 10, False, 4),
        ({}, 1, False, 1),
        ({"max_concurrent": 3}, 10, False, 3),
        ({"cpus_per_worker": 2}, 10, False, 2),
        ({}, 10, True, 0),
        ({"gpus_per_worker": 1}, 10, False, 0),
        ({"workers": 2}, 10, False, 0),
        ({"cpus_per_worker": 8}, 10, False, 0),
    ],
    ids=str,
)
def test_a_process_is_started_in_advance_for_each_slot_that_computes_on_cores(
    resources: dict[str, Any], trials: int, gpu: bool, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "may_have_gpu", lambda: gpu)
    monkeypatch.setattr(backend, "usable_cores", lambda: 4)
    counted = backend._processes_in_advance(Resources.model_validate(resources), trials=trials, left=trials)
    assert counted == processes
