"""Many trials under Ray Tune: in parallel, longest first, with ASHA; what happens goes into the run folder."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raytrain.background import repeating
from raytrain.cluster import board, guard
from raytrain.cluster.placement import COORDINATOR_CPUS, Placement
from raytrain.cluster.scheduler import RecordedASHA
from raytrain.cluster.trainer import run_trial
from raytrain.cluster.worker import TrialJob
from raytrain.data import Splits
from raytrain.experiment import Trial
from raytrain.run_folder import RunFolder
from raytrain.trial import Report

TRIAL_RETRIES = 2
"""How often a trial is started again after its process has died."""


def run_trials(run: RunFolder, splits: Mapping[tuple[str, int, float], Splits], *, placement: Placement) -> None:
    """Train every pending trial of `run` on the Ray cluster that this process is connected to.

    Args:
        run: Says what to train, and is told what happens.
        splits: Images by `Recipe.data_key`.
        placement: What each trial gets, and how many run at a time.
    """
    rungs = run.rungs()
    scheduler = RecordedASHA(rungs) if rungs else None
    scratch = run.folder / ".ray"
    jobs = [_job(run, trial, str(scratch)) for trial in run.pending()]
    trainable = tune.with_parameters(
        run_trial, splits={key: ray.put(images) for key, images in splits.items()}, placement=placement
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, _resources(placement)),
        # one axis over whole recipes, in our order: the grid was expanded where its errors have a file and a line
        param_space={"job": tune.grid_search([vars(job) for job in jobs])},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=placement.concurrent,
            # a process that starts anew costs seconds of imports; nested workers die with their trial's process
            reuse_actors=placement.workers == 1,
            trial_dirname_creator=_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            callbacks=[_Recorder(run, scheduler)],
            failure_config=tune.FailureConfig(max_failures=TRIAL_RETRIES),
            verbose=0,
        ),
    )
    try:
        with guard.guarded(), repeating(partial(_fetch_progress, run), every=1.0):
            tuner.fit()
    finally:
        guard.release_all()
        scratch.remove()


def _job(run: RunFolder, trial: Trial, scratch: str) -> TrialJob:
    return TrialJob(
        trial_id=trial.id,
        recipe=trial.recipe.model_dump(),
        checkpoints=str(run.checkpoints(trial.id)),
        after_epoch=run.progress[trial.id].epoch,
        scratch=scratch,
    )


def _resources(placement: Placement) -> dict[str, float]:
    if placement.workers > 1:
        return {"CPU": COORDINATOR_CPUS}
    return {"CPU": placement.cpus} | ({"GPU": placement.gpus} if placement.gpus else {})


def _id(trial: TuneTrial) -> str:
    return trial.config["job"]["trial_id"]


class _Recorder(tune.Callback):
    """Tells the run folder what Tune reports, in this process."""

    def __init__(self, run: RunFolder, scheduler: RecordedASHA | None) -> None:
        self._run = run
        self._scheduler = scheduler

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._run.started(_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        trial_id = _id(trial)
        decision = self._scheduler.take_decision(trial_id) if self._scheduler else None
        if "report" in result:
            self._run.reported(trial_id, Report.from_dict(result["report"]))
            if decision:
                self._run.judged(trial_id, epoch=result["epoch"], decision=decision)
        elif "diverged" in result:
            self._run.diverged(trial_id, epoch=result["diverged"])
        elif "failed" in result:
            self._run.failed(trial_id, error=result["failed"], details=result["details"])

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._run.note("worker lost", trial=_id(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self._run.failed(_id(trial), error=lines[-1], details="\n".join(lines))


def _fetch_progress(run: RunFolder) -> None:
    """Bring how far running trials are within their epoch from the board to the run folder's progress."""
    for trial_id, progress in run.progress.items():
        if progress.status == "running" and (seen := board.get(trial_id, "progress")):
            progress.show(seen["within_epoch"])
