"""What a worker process does: one trial's loop, its reports passed to Ray and its progress to the board.

torch and the loop are imported in the function: Ray imports this module in processes that only coordinate.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from raytrain.data import Splits
from raytrain.ray_backend import board
from raytrain.ray_backend.placement import Placement

SplitsRefs = dict[tuple[str, int, float], Any]
"""References to `Splits` in the object store, by `Recipe.data_key`."""


@dataclass(frozen=True)
class TrialJob:
    """What a trial's processes are told; plain values, because Ray copies it.

    Attributes:
        trial_id: Which trial.
        recipe: Every field of its recipe.
        checkpoints: Path or URI of its checkpoint folder.
        after_epoch: Epochs that are already on record.
        scratch: Path or URI that Ray Train may write to.
    """

    trial_id: str
    recipe: dict[str, Any]
    checkpoints: str
    after_epoch: int
    scratch: str


def train_trial(
    job: TrialJob, splits: SplitsRefs, placement: Placement, *, report: Callable[[dict[str, Any]], None]
) -> None:
    """Train a trial in this process, alone or as one rank of several.

    Args:
        job: What to train.
        splits: Its images are read from the node's shared memory, without a copy.
        placement: Gives the number of threads, and whether to use a GPU.
        report: Ray's report function: `tune.report` in a trial, `ray.train.report` in a worker of one.
    """
    import torch

    from raytrain.errors import DivergenceError, StorageError
    from raytrain.storage.folder import Folder
    from raytrain.training.devices import choose_device, prepare
    from raytrain.training.evaluation import TrainingData, rank_and_world_size
    from raytrain.training.recipe import Recipe
    from raytrain.training.trial import TrialRun

    def publish(within_epoch: float) -> None:
        if rank_and_world_size()[0] == 0:
            board.put(job.trial_id, "progress", {"within_epoch": within_epoch, "pid": os.getpid(), "node": node})

    node = ray.get_runtime_context().get_node_id()
    publish(0.0)  # from here on silence is noticed
    recipe = Recipe(**job.recipe)
    device = choose_device() if placement.gpus else torch.device("cpu")
    prepare(device, threads=placement.cpus)
    images: Splits = ray.get(splits[recipe.data_key])
    data = TrainingData.on(device, images)
    try:
        run = TrialRun(recipe, data=data, device=device, checkpoints=Folder.at(job.checkpoints).patient())
    except StorageError as error:
        report({"storage": str(error)})
        return
    hosts = _hosts()
    workers = rank_and_world_size()[1]
    with run.watched(publish):
        try:
            for item in run.reports(after=job.after_epoch):
                message: dict[str, Any] = {"epoch": item.metrics.epoch, "report": item.as_dict()}
                message |= {"hosts": hosts, "workers": workers}
                # ASHA judges what has a val_accuracy; a trial at its end is not judged
                if item.metrics.val and not item.final:
                    message["val_accuracy"] = item.metrics.val.accuracy
                report(message)
        except DivergenceError as error:
            report({"diverged": error.epoch})
        except StorageError as error:
            report({"storage": str(error)})


def _hosts() -> list[str]:
    """Return the names of the hosts that train this trial together, each once."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return [platform.node()]
    names = [""] * dist.get_world_size()
    dist.all_gather_object(names, platform.node())
    return sorted(set(names))
