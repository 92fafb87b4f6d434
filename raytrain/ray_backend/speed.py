"""How fast recipes train on the nodes that trials will run on, side by side as trials will be."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import ray
import torch

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import PreflightError, counted
from raytrain.experiment.duration.speed import Speed, measure_speed, some_images, unmeasurable
from raytrain.ray_backend.placement import Placement
from raytrain.training.devices import choose_device
from raytrain.training.recipe import Recipe
from raytrain.user_code.source import Files, keep_all, texts_of

TIMEOUT_S = 600.0
"""Seconds within which a measurement must end, including the start of nodes that an autoscaler adds."""


def measure(recipes: Sequence[Recipe], splits: Mapping[DataKey, Splits], *, placement: Placement) -> list[Speed]:
    """Return the speed of each of some recipes, with what `placement` gives a worker.

    As many recipes are measured side by side as workers will train, because neighbours slow each other down. If there
    are fewer recipes, some are measured again, and the median is taken. An autoscaling cluster adds the nodes for it.

    Raises:
        PreflightError: One cannot be trained, or no worker has come.
    """
    some = {key: ray.put(some_images(splits[key])) for key in dict.fromkeys(recipe.data_key for recipe in recipes)}
    resources: dict[str, Any] = {"num_cpus": placement.cpus, "num_gpus": placement.gpus, "resources": placement.custom}
    remote: Any = ray.remote(max_retries=0, **resources)
    task = remote(_measured)
    at_once = placement.concurrent * placement.likely_workers
    shared = {"on_gpu": placement.gpus > 0, "threads": placement.cpus, "workers": placement.likely_workers}
    speeds: list[list[Speed]] = [[] for _ in recipes]
    numbers = [number % len(recipes) for number in range(math.ceil(len(recipes) / at_once) * at_once)]
    for first in range(0, len(numbers), at_once):
        jobs: dict[Any, int] = {}
        for number in numbers[first : first + at_once]:
            recipe = recipes[number]
            images = len(splits[recipe.data_key].train)
            code = texts_of(recipe.user_code)
            job = task.remote(recipe.model_dump(), some[recipe.data_key], code=code, images=images, **shared)
            jobs[job] = number
        _, late = ray.wait(list(jobs), num_returns=len(jobs), timeout=TIMEOUT_S)
        if late:
            raise PreflightError(
                f"{len(late)} of {counted(len(jobs), 'measurement')} did not end within {TIMEOUT_S:.0f} s.\n"
                "Check with `ray status` whether the nodes are busy or still starting."
            )
        for job, number in jobs.items():
            speeds[number].append(_result(job, recipes[number]))
    return [_median(of_one) for of_one in speeds]


def _measured(
    recipe: dict[str, Any],
    some: Splits,
    *,
    code: dict[str, Files],
    on_gpu: bool,
    images: int,
    threads: int,
    workers: int,
) -> Speed:
    keep_all(code)
    device = choose_device() if on_gpu else torch.device("cpu")  # Ray hides no GPU from who asks for none
    return measure_speed(Recipe(**recipe), some, device=device, images=images, threads=threads, workers=workers)


def _result(job: Any, recipe: Recipe) -> Speed:
    try:
        return ray.get(job)
    except Exception as error:  # whatever a recipe may fail with
        raise unmeasurable(recipe, getattr(error, "cause", None) or error) from error  # Ray wraps it


def _median(speeds: list[Speed]) -> Speed:
    step_s, evaluated_s = (median(getattr(speed, name) for speed in speeds) for name in ("step_s", "evaluated_s"))
    return Speed(step_s, evaluated_s, sum(speed.steps for speed in speeds), speeds[0].device)
