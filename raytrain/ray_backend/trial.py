"""One trial under Ray: its loop is launched by Ray Train's TorchTrainer, in one of two forms.

One worker without a GPU: TorchTrainer's local mode, in the process of the Tune trial and on the trial's own resources.
A nested trainer would start about eight more processes per trial and hold a placement group that outlives an early
stop. A GPU, or several workers: a nested TorchTrainer, whose workers train with DistributedDataParallel.
`resources.trainer` chooses otherwise.
"""

import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

import ray
import ray.train
import torch
import torch.distributed as dist
from ray import tune
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from raytrain.data import Splits
from raytrain.data.data_key import DataKey
from raytrain.errors import DivergenceError, StorageError
from raytrain.ray_backend.internals import sweeps
from raytrain.ray_backend.placement import Placement
from raytrain.ray_backend.watchdog import report_progress
from raytrain.runs.folder import checkpoints_at
from raytrain.runs.trial_files import run_of
from raytrain.training.devices import choose_device, gpu_bytes, prepare
from raytrain.training.evaluation import TrainingData, rank_and_world_size
from raytrain.training.outcome import Outcome, RankFailedError, ends_its_trial, outcome_of, outcome_of_ranks
from raytrain.training.recipe import Recipe
from raytrain.training.trial import TrialRun
from raytrain.user_code.source import Files, keep_all

LOST = (RayActorError, NodeDiedError, ObjectLostError, OutOfMemoryError)
"""Ray's errors about a process that is gone, which is no fault of the recipe: Tune tries the trial again.
`OwnerDiedError` is an `ObjectLostError`."""
WORKER_RETRIES = 2
"""Number of times that the workers of a trial are started again after one has died."""
PREEMPTIONS = 20
"""Number of times that the workers of a trial are started again after the owner of their node took it away; Train's
default has no limit."""
CONTROLLER_RETRIES = 5
"""Number of times that Train may fail to start the workers; Train's default has no limit."""
START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
START_TIMEOUT_S = 3600.0
"""Seconds that the workers of a trial wait for room, which other trials or commands may hold, before it counts as a
failure to start them; Train's default is 60 s."""
RESIZE_INTERVAL_S = 10.0
"""Seconds between two checks of an elastic trial whether more workers fit the cluster."""
SplitsRefs = dict[DataKey, Any]
"""References to the `Splits` in Ray's object store, by `Recipe.data_key`."""


@dataclass(frozen=True)
class TrialJob:
    """The task of a trial's processes, in plain values because Ray copies it.

    Attributes:
        trial_id: Id of the trial.
        recipe: Every field of the recipe, by name.
        checkpoints: Path or URI of the checkpoint folder.
        after_epoch: Last epoch that is on record; later ones are reported.
        until_epoch: Epoch after which the trial ends or pauses.
        scratch: Path or URI of a folder for Ray Train's own files.
        code: Text of the user's code that the recipe names, by digest and file.
    """

    trial_id: str
    recipe: dict[str, Any]
    checkpoints: str
    after_epoch: int
    until_epoch: int
    scratch: str
    code: dict[str, Files] = field(default_factory=dict)


class EpochMessage(TypedDict):
    """What a trial's process reports after an epoch."""

    kind: Literal["epoch"]
    report: dict[str, Any]
    """The `Report` of the epoch, as a dict."""
    hosts: list[str]
    """Names of the hosts that train the trial."""
    workers: int
    """Number of processes that train the trial."""


class EndMessage(TypedDict):
    """What a trial's process reports when the trial diverges or fails."""

    kind: Literal["end"]
    outcome: Outcome


class StorageMessage(TypedDict):
    """What a trial's process reports when it cannot write its checkpoints: nobody can then, so the run ends."""

    kind: Literal["storage"]
    error: str


Message = EpochMessage | EndMessage | StorageMessage


def run_trial(config: dict[str, Any], *, splits: SplitsRefs, placement: Placement) -> None:
    """Train one trial: the function that Tune runs.

    Args:
        config: Dict with the key "job", whose value is a TrialJob as a dict.
        splits: References to the images.
        placement: Resources of the trial.
    """
    job = TrialJob(**config["job"])
    try:
        if placement.has_worker_group:
            _fit_nested(job, splits, placement)
        else:
            _fit_here(job, splits, placement)
    except LOST:  # such as the nested trainer's own process
        raise
    except BaseException as error:  # a trial that fails is a row in the table, and retrying would not help
        if not ends_its_trial(error):
            raise
        failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
        tune.report(_metrics({"kind": "end", "outcome": outcome_of_ranks(error, failures)}))


def _fit_here(job: TrialJob, splits: SplitsRefs, placement: Placement) -> None:
    def loop() -> None:
        # Train's own report keeps only the newest metrics in local mode
        train_trial(job, splits, placement, report=tune.report)

    TorchTrainer(loop, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()


def _fit_nested(job: TrialJob, splits: SplitsRefs, placement: Placement) -> None:
    if placement.fewest is None:  # an elastic trial is to look again soon how many workers there is room for
        os.environ.setdefault(START_TIMEOUT, str(START_TIMEOUT_S))
    trainer = TorchTrainer(
        _loop_of_a_rank,
        train_loop_config={"job": vars(job), "splits": splits, "placement": vars(placement)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers if placement.fewest is None else (placement.fewest, placement.workers),
            elastic_resize_monitor_interval_s=RESIZE_INTERVAL_S,
            use_gpu=placement.gpus > 0,
            resources_per_worker=placement.per_worker(cpus=placement.cpus_in_group),
        ),
        # NCCL takes whole GPUs only
        torch_config=TorchConfig(backend="nccl" if placement.gpus >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            # a name used twice would silently continue Ray's own run; ours continues from our checkpoints
            name=f"{job.trial_id}-{uuid.uuid4().hex[:8]}",
            storage_path=job.scratch,
            callbacks=[TuneReportCallback()],
            failure_config=_failures(),
        ),
    )
    sweeps.without_helpers(trainer).fit()


def _failures() -> ray.train.FailureConfig:
    """Return how often Train may start the workers of a trial again."""
    limits: dict[str, Any] = {"max_failures": WORKER_RETRIES, "controller_failure_limit": CONTROLLER_RETRIES}
    known = {each.name for each in fields(ray.train.FailureConfig)}
    if "max_preemption_failures" in known:  # older versions count them among the others
        limits["max_preemption_failures"] = PREEMPTIONS
    return ray.train.FailureConfig(**limits)


def _loop_of_a_rank(config: dict[str, Any]) -> None:
    job, placement = TrialJob(**config["job"]), Placement(**config["placement"])
    train_trial(job, config["splits"], placement, report=ray.train.report)


def train_trial(
    job: TrialJob, splits: SplitsRefs, placement: Placement, *, report: Callable[[dict[str, Any]], None]
) -> None:
    """Train a trial in this process, alone or as one rank of several.

    Args:
        job: The trial to train.
        splits: References to the images, which are read from the node's shared memory without a copy.
        placement: Resources, which give the number of threads and whether to use a GPU.
        report: Ray's report function: `tune.report` in a trial, `ray.train.report` in a worker of a trial.
    """

    def publish(within_epoch: float, evaluated: int = 0) -> None:
        if rank_and_world_size()[0] == 0:
            held = gpu_bytes(device) if within_epoch else 0  # asked before the first step, CUDA would start
            report_progress(job.trial_id, within_epoch=within_epoch, evaluated=evaluated, gpu_bytes=held)

    publish(0.0)  # the watchdog watches from here on
    keep_all(job.code)
    recipe = Recipe(**job.recipe)
    device = _device(placement)
    prepare(device, threads=placement.cpus)
    images: Splits = ray.get(splits[recipe.data_key])
    data = TrainingData.on(device, images)
    try:
        checkpoints = checkpoints_at(job.checkpoints, job.trial_id).retrying()
        folder = run_of(checkpoints).retrying()
        run = TrialRun(recipe, data=data, device=device, checkpoints=checkpoints, run=folder)
        hosts, workers = _hosts(), rank_and_world_size()[1]
        with run.watched(lambda share: publish(share, data.evaluated.batches)):
            ends_soon = node_ends_soon if placement.has_worker_group else bool
            for item in run.reports(after=job.after_epoch, until=job.until_epoch, ends_soon=ends_soon):
                message: EpochMessage = {"kind": "epoch", "report": item.as_dict(), "hosts": hosts, "workers": workers}
                # ASHA judges what has a quality; a trial at its end is not judged
                judges = item.metrics.val and not item.final
                judged = {"quality": item.metrics.quality(recipe.select)} if judges else {}
                report({"message": message, "epoch": item.metrics.epoch, **judged})
    except StorageError as error:
        report(_metrics({"kind": "storage", "error": str(error)}))
    except DivergenceError as error:
        report(_metrics({"kind": "end", "outcome": outcome_of(error)}))
    except LOST:
        raise
    except BaseException as error:
        if not ends_its_trial(error):
            raise
        if rank_and_world_size()[1] > 1:
            raise RankFailedError.of(error) from error  # the other ranks wait for this one
        report(_metrics({"kind": "end", "outcome": outcome_of(error)}))  # Train would start it again, in vain


def node_ends_soon() -> bool:
    """Return whether a node of this worker group is being taken away, such as a spot instance.

    It is a barrier: every worker calls it equally often. Ray says it to worker groups only, and Ray 2.57 not even to
    them: a trial in local mode cannot know.
    """
    preemption = getattr(ray.train, "get_preemption_info", None)
    return preemption is not None and preemption() is not None


def _device(placement: Placement) -> torch.device:
    """Return the device that this process trains on: in a worker group, the one that Ray Train has given it."""
    if not placement.gpus:
        return torch.device("cpu")  # Ray hides no GPU from who asks for none
    return get_device() if placement.has_worker_group else choose_device()


def _metrics(message: Message) -> dict[str, Any]:
    """Return a message as Tune's metrics."""
    return {"message": message}


def _hosts() -> list[str]:
    """Return the names of the hosts that train this trial together, each once."""
    if not dist.is_initialized():
        return [platform.node()]
    names = [""] * dist.get_world_size()
    dist.all_gather_object(names, platform.node())
    return sorted(set(names))
