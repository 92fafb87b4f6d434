"""One trial under Ray: its loop is launched by Ray Train's TorchTrainer, in one of two forms.

One worker: TorchTrainer's local mode, in the process of the Tune trial and on the trial's own resources. A
nested trainer would start about eight more processes per trial and hold a placement group that outlives an
early stop. Several workers: a nested TorchTrainer, whose workers train with DistributedDataParallel.
"""

import traceback
import uuid
from typing import Any

import ray.train
from ray import tune
from ray.exceptions import RayActorError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from raytrain.ray_backend.placement import COORDINATOR_CPUS, Placement
from raytrain.ray_backend.worker import SplitsRefs, TrialJob, train_trial
from raytrain.training.outcome import described

WORKER_RETRIES = 2
"""How often the workers of a trial are started again after one has died."""
CONTROLLER_RETRIES = 5
"""How often Train may fail to place or start the workers; its own default is for ever."""
RESIZE_INTERVAL_S = 10.0
"""How often an elastic trial looks whether the cluster has room for more workers."""


def run_trial(config: dict[str, Any], *, splits: SplitsRefs, placement: Placement) -> None:
    """Train one trial: the function that Tune runs.

    Args:
        config: `{"job": ...}`, a TrialJob as a dict.
        splits: References to the images.
        placement: What the trial has to run on.
    """
    job = TrialJob(**config["job"])
    try:
        if placement.workers == 1:
            _fit_here(job, splits, placement)
        else:
            _fit_nested(job, splits, placement)
    except RayActorError:  # the nested trainer's own process died: that is no fault of the recipe, so Tune tries again
        raise
    except Exception as error:  # noqa: BLE001 (a trial that fails is a row in the table, and retrying would not help)
        tune.report({"failed": described(error), "details": traceback.format_exc()})


def _fit_here(job: TrialJob, splits: SplitsRefs, placement: Placement) -> None:
    def loop() -> None:
        # Train's own report keeps only the newest metrics in local mode
        train_trial(job, splits, placement, report=tune.report)

    TorchTrainer(loop, scaling_config=ray.train.ScalingConfig(num_workers=0)).fit()


def _fit_nested(job: TrialJob, splits: SplitsRefs, placement: Placement) -> None:
    TorchTrainer(
        _loop_of_a_rank,
        train_loop_config={"job": vars(job), "splits": splits, "placement": vars(placement)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers if placement.fewest is None else (placement.fewest, placement.workers),
            elastic_resize_monitor_interval_s=RESIZE_INTERVAL_S,
            use_gpu=placement.gpus > 0,
            resources_per_worker=placement.per_worker(cpus=placement.cpus - COORDINATOR_CPUS),
        ),
        # NCCL takes whole GPUs only
        torch_config=TorchConfig(backend="nccl" if placement.gpus >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            # a name used twice would silently continue Ray's own run; ours continues from our checkpoints
            name=f"{job.trial_id}-{uuid.uuid4().hex[:8]}",
            storage_path=job.scratch,
            callbacks=[TuneReportCallback()],
            failure_config=ray.train.FailureConfig(
                max_failures=WORKER_RETRIES, controller_failure_limit=CONTROLLER_RETRIES
            ),
        ),
    ).fit()


def _loop_of_a_rank(config: dict[str, Any]) -> None:
    job, placement = TrialJob(**config["job"]), Placement(**config["placement"])
    train_trial(job, config["splits"], placement, report=ray.train.report)
