"""One trial under Ray: its loop is launched by Ray Train's TorchTrainer, in one of two forms.

One worker: TorchTrainer's local mode, in the process of the Tune trial and on the trial's own resources. A
nested trainer would start about eight more processes per trial and hold a placement group that outlives an
early stop. Several workers: a nested TorchTrainer, whose workers train with DistributedDataParallel.
"""

import os
import platform
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.util import get_current_placement_group

from raytrain.cluster import board
from raytrain.cluster.placement import COORDINATOR_CPUS, Placement
from raytrain.data import Splits

WORKER_RETRIES = 2
"""How often the workers of a trial are started again after one has died."""


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


def run_trial(config: dict[str, Any], *, splits: dict[tuple[str, int, float], Any], placement: Placement) -> None:
    """Train one trial: the function that Tune runs.

    Args:
        config: `{"job": ...}`, a TrialJob as a dict.
        splits: References to the `Splits` in the object store, by `Recipe.data_key`.
        placement: What the trial has to run on.
    """
    job = TrialJob(**config["job"])
    if placement.workers == 1:
        loop = _LocalWorker(job, splits, placement.cpus)
        TorchTrainer(loop, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()
    else:
        _fit_nested(job, splits, placement)


def _fit_nested(job: TrialJob, splits: dict[tuple[str, int, float], Any], placement: Placement) -> None:
    worker = {"CPU": placement.cpus - COORDINATOR_CPUS} | ({"GPU": placement.gpus} if placement.gpus else {})
    trainer = TorchTrainer(
        _train_as_worker,
        train_loop_config={"job": vars(job), "splits": splits, "threads": placement.cpus},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers, use_gpu=placement.gpus > 0, resources_per_worker=worker
        ),
        torch_config=TorchConfig(backend="nccl" if placement.gpus >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            # a name used twice would silently continue Ray's own run; ours continues from our checkpoints
            name=f"{job.trial_id}-{uuid.uuid4().hex[:8]}",
            storage_path=job.scratch,
            callbacks=[TuneReportCallback()],
            failure_config=ray.train.FailureConfig(max_failures=WORKER_RETRIES, controller_failure_limit=5),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        tune.report(_failure(error))


class _LocalWorker:
    """The loop of a trial with one worker. A class, because TorchTrainer wants a function without arguments."""

    def __init__(self, job: TrialJob, splits: dict[tuple[str, int, float], Any], threads: int) -> None:
        self.job, self.splits, self.threads = job, splits, threads

    def __call__(self) -> None:
        try:
            _train(self.job, self.splits, threads=self.threads, report=tune.report)
        except Exception as error:  # noqa: BLE001 (a trial that fails is a row in the table)
            tune.report(_failure(error))


def _train_as_worker(config: dict[str, Any]) -> None:
    job = TrialJob(**config["job"])
    if ray.train.get_context().get_world_rank() == 0 and (group := get_current_placement_group()):
        board.put(job.trial_id, "placement_group", group.id.hex())
    _train(job, config["splits"], threads=config["threads"], report=ray.train.report)


def _train(
    job: TrialJob,
    splits: dict[tuple[str, int, float], Any],
    *,
    threads: int,
    report: Callable[[dict[str, Any]], None],
) -> None:
    import torch

    from raytrain.devices import choose_device
    from raytrain.errors import DivergenceError
    from raytrain.evaluation import TrainingData, rank_and_world_size
    from raytrain.recipe import Recipe
    from raytrain.storage import Folder
    from raytrain.trial import TrialRun

    torch.set_num_threads(threads)
    recipe = Recipe(**job.recipe)
    device = choose_device()
    images: Splits = ray.get(splits[recipe.data_key])
    data = TrainingData.on(device, images)
    run = TrialRun(recipe, data=data, device=device, checkpoints=Folder.at(job.checkpoints))
    where = f"{platform.node()} {device}"

    def publish(within_epoch: float) -> None:
        if rank_and_world_size()[0] == 0:
            seen = {"within_epoch": within_epoch, "where": where, "pid": os.getpid()}
            board.put(job.trial_id, "progress", seen)

    with run.watched(publish):
        try:
            for item in run.reports(after=job.after_epoch):
                metrics = item.metrics
                message: dict[str, Any] = {"epoch": metrics.epoch, "report": item.as_dict()}
                if (
                    metrics.val and not item.final
                ):  # ASHA judges what has a val_accuracy; a finished trial is not judged
                    message["val_accuracy"] = metrics.val.accuracy
                report(message)
        except DivergenceError as error:
            report({"diverged": error.epoch})


def _failure(error: Exception) -> dict[str, Any]:
    message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return {"failed": message, "details": traceback.format_exc()}
