"""Tests of raytrain.ray_backend.backend: what its trials are given; Ray is not started."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.ray_backend import tuner
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
