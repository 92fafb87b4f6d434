"""Many trials under Ray Tune: in parallel, longest first, with ASHA; what happens goes into the run folder."""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from raytrain.background import repeating
from raytrain.cluster import board, guard
from raytrain.cluster.placement import COORDINATOR_CPUS, Placement
from raytrain.cluster.scheduler import RecordedASHA
from raytrain.cluster.trainer import run_trial
from raytrain.cluster.worker import TrialJob
from raytrain.costs import Costs, Kind, LongestFirst, kind_of, model_size
from raytrain.data import Splits
from raytrain.experiment import Trial
from raytrain.metrics import Report
from raytrain.run_folder import RunFolder

TRIAL_RETRIES = 2
"""How often a trial is started again after its process has died."""


def run_trials(
    run: RunFolder,
    splits: Mapping[tuple[str, int, float], Splits],
    *,
    placement: Placement,
    train: Callable[..., None] = run_trial,
) -> None:
    """Train every pending trial of `run` on the Ray cluster that this process is connected to.

    Args:
        run: Says what to train, and is told what happens.
        splits: Images by `Recipe.data_key`.
        placement: What each trial gets, and how many run at a time.
        train: Trains one trial; a stand-in measures what the scheduling alone costs.
    """
    rungs = run.rungs()
    scheduler = RecordedASHA(rungs) if rungs else None
    scratch = run.folder / ".ray"
    pending = run.pending()
    costs = run_costs(run, splits)
    queue = LongestFirst(((trial, run.epochs_left(trial.id)) for trial in pending), costs)
    trainable = tune.with_parameters(
        train, splits={key: ray.put(images) for key, images in splits.items()}, placement=placement
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, _resources(placement)),
        # whole recipes, in our order: the grid was expanded where its errors have a file and a line
        tune_config=tune.TuneConfig(
            search_alg=_Queue(queue, partial(_job, run, scratch=str(scratch))),
            num_samples=len(pending),
            scheduler=scheduler,
            max_concurrent_trials=placement.concurrent,
            # a process that starts anew costs seconds of imports; nested workers die with their trial's process
            reuse_actors=placement.workers == 1,
            trial_dirname_creator=_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            callbacks=[_Recorder(run, scheduler, costs, workers=placement.workers)],
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


class _Queue(Searcher):
    """What Tune asks for the next trial when a slot is free."""

    def __init__(self, queue: LongestFirst, job: Callable[[Trial], TrialJob]) -> None:
        super().__init__()
        self._queue = queue
        self._job = job

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        trial = self._queue.next()
        return {"job": vars(self._job(trial))} if trial else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # Tune moves it about; a run goes on from its run folder

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


def _job(run: RunFolder, trial: Trial, *, scratch: str) -> TrialJob:
    return TrialJob(
        trial_id=trial.id,
        recipe=trial.recipe.model_dump(),
        checkpoints=str(run.checkpoints(trial.id)),
        after_epoch=run.progress[trial.id].epoch,
        scratch=scratch,
    )


def run_costs(run: RunFolder, splits: Mapping[tuple[str, int, float], Splits]) -> Costs:
    """Return what the trials of a run are expected to cost, by what its earlier sessions took."""
    flops: dict[Kind, float] = {}
    for progress in run.progress.values():
        recipe = progress.trial.recipe
        if recipe.data_key in splits:
            images = splits[recipe.data_key]
            flops[kind_of(recipe)] = float(len(images.train)) * model_size(recipe, len(images.classes)).forward_flops
    costs = Costs(flops)
    for progress in run.progress.values():
        if (kind := kind_of(progress.trial.recipe)) in flops:
            costs.took(kind, progress.seconds, epochs=progress.epoch)
    return costs


def _resources(placement: Placement) -> dict[str, float]:
    if placement.workers > 1:
        return {"CPU": COORDINATOR_CPUS}
    return placement.per_worker()


def _id(trial: TuneTrial) -> str:
    return trial.config["job"]["trial_id"]


class _Recorder(tune.Callback):
    """Tells the run folder what Tune reports, in this process."""

    def __init__(self, run: RunFolder, scheduler: RecordedASHA | None, costs: Costs, *, workers: int) -> None:
        self._run = run
        self._scheduler = scheduler
        self._costs = costs
        self._asked = workers
        self._workers: dict[str, int] = {}
        self._hosts: dict[str, list[str]] = {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._hosts[_id(trial)] = [platform.node()]
        self._workers[_id(trial)] = self._asked
        self._run.started(_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        trial_id = _id(trial)
        decision = self._scheduler.take_decision(trial_id) if self._scheduler else None
        if result.get("hosts", self._hosts[trial_id]) != self._hosts[trial_id]:
            self._hosts[trial_id] = result["hosts"]
            self._run.note("elsewhere", trial=trial_id, hosts=result["hosts"])
        if result.get("workers", self._workers[trial_id]) != self._workers[trial_id]:
            self._workers[trial_id] = result["workers"]
            self._run.note("resized", trial=trial_id, workers=result["workers"])
        if "report" in result:
            report = Report.from_dict(result["report"])
            self._run.reported(trial_id, report)
            self._costs.took(kind_of(self._run.progress[trial_id].trial.recipe), report.metrics.seconds)
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
